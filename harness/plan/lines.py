"""In which line of a TOML file a field stands: `tomllib` tells only of syntax errors."""

from __future__ import annotations

import re

FieldPath = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+?)\s*=")


def line_of(text: str, path: FieldPath) -> int | None:
    """The line, from 1, of the field at `path`, or of the nearest enclosing one that has a line."""
    places = _places(text)
    for length in range(len(path), 0, -1):
        if path[:length] in places:
            return places[path[:length]]
    return None


def _places(text: str) -> dict[FieldPath, int]:
    places: dict[FieldPath, int] = {}
    counts: dict[FieldPath, int] = {}
    table: FieldPath = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _resolve(_parts(header[2]), header[1] == "[[", counts)
            places.setdefault(table, number)
        elif key := _KEY.match(line):
            parts = _parts(key[1])
            for length in range(1, len(parts) + 1):
                places.setdefault((*table, *parts[:length]), number)
    return places


def _resolve(parts: FieldPath, opens_item: bool, counts: dict[FieldPath, int]) -> FieldPath:
    """`workload.data` as the path through the latest item of each array of tables."""
    path: FieldPath = ()
    for index, part in enumerate(parts):
        path = (*path, part)
        if opens_item and index == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _parts(dotted: str) -> FieldPath:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
