"""Variants of a workload in a suite file: its sizes, and sweeps that change one factor at a time.

    [workload.sizes.tiny]                # chosen by --size tiny, in place of what stands above
    recipe.epochs = 1

    [workload.sweep.activation]          # one workload more for each level: mlp.activation.tanh
    relu = {}                            # the workload as it stands
    tanh = { model.activation = "tanh" }

Changes are laid over the workload's table field by field. A table that names another `type`, and whatever
is no table, takes the place of what was there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import unknown
from harness.plan.lines import FieldPath
from harness.spec.codec import SpecError

AS_WRITTEN = "cpu"
"""The size of a workload as it is written."""

_ITS_OWN = ("title", "target")
"""What a level does not take over from the workload it varies."""


@dataclass(frozen=True)
class Sweep:
    """One factor of a workload: the name of the workload that each level is, in the file's order."""

    workload: str
    factor: str
    levels: Mapping[str, str]


@dataclass(frozen=True)
class Origin:
    """Where in the file a workload comes from: the path of its table, and of the changes laid over it."""

    table: FieldPath
    changes: tuple[FieldPath, ...] = ()

    def place(self, data: Mapping[str, Any], field: FieldPath) -> FieldPath:
        """Where in the file's `data` a field of the workload stands: where most of its path is, of such the
        last laid over. What is wrong with a variant as a whole is said of its changes, not of its name.
        """
        if field == ("name",) and self.changes:
            return self.changes[-1]
        table = max(
            (*reversed(self.changes), self.table), key=lambda path: _depth(data, (*path, *field)) - len(path)
        )
        return (*table, *field)


def _depth(data: Any, path: FieldPath) -> int:
    """How many steps of the path there are."""
    for depth, step in enumerate(path):
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(path)


@dataclass(frozen=True)
class Expanded:
    """A suite's tables with a table for each variant, where each comes from, and the sweeps they make."""

    data: dict[str, Any]
    origins: tuple[Origin, ...]
    sweeps: tuple[Sweep, ...]


def expand(data: Mapping[str, Any], size: str) -> Expanded:
    """The suite at a size, its sweeps spelt out.

    Raises SpecError, with its path in the file, for a workload that has no such size and for sizes or sweeps
    that are no tables of changes.
    """
    tables: list[Any] = []
    origins: list[Origin] = []
    sweeps: list[Sweep] = []
    written = data.get("workload")
    if not isinstance(written, list):
        return Expanded(dict(data), (), ())
    for index, table in enumerate(written):
        origin = Origin(("workload", index))
        if not isinstance(table, Mapping):
            tables.append(table)
            origins.append(origin)
            continue
        try:
            base, origin = _sized(table, origin, size)
            levels = list(_levels(table, base, origin))
        except SpecError as error:
            raise error.under("workload", index) from None
        tables += [base, *(level.table for level in levels if level.table is not None)]
        origins += [origin, *(level.origin for level in levels if level.table is not None)]
        for factor in dict.fromkeys(level.factor for level in levels):
            named = {level.name: level.workload for level in levels if level.factor == factor}
            sweeps.append(Sweep(str(base.get("name")), factor, named))
    return Expanded({**data, "workload": tables}, tuple(origins), tuple(sweeps))


def sizes(table: Mapping[str, Any]) -> list[str]:
    """The sizes that a workload's table offers."""
    offered = table.get("sizes")
    return [AS_WRITTEN, *(offered if isinstance(offered, Mapping) else ())]


def _sized(table: Mapping[str, Any], origin: Origin, size: str) -> tuple[dict[str, Any], Origin]:
    base = {key: value for key, value in table.items() if key not in ("sizes", "sweep")}
    offered = _tables(table, "sizes")
    if AS_WRITTEN in offered:
        raise SpecError("is the size of the workload as it is written", ("sizes", AS_WRITTEN))
    if size == AS_WRITTEN:
        return base, origin
    if size not in offered:
        raise SpecError(f"{base.get('name')}: {unknown('size', size, sizes(table))}", ("name",))
    changes: FieldPath = (*origin.table, "sizes", size)
    return laid_over(base, offered[size]), Origin(origin.table, (changes,))


@dataclass(frozen=True)
class _Level:
    """A level of a factor; without a `table` it is the workload itself."""

    factor: str
    name: str
    workload: str
    table: dict[str, Any] | None
    origin: Origin


def _levels(written: Mapping[str, Any], base: Mapping[str, Any], origin: Origin) -> Iterator[_Level]:
    name, title = str(base.get("name")), base.get("title")
    for factor, changes_by_level in _tables(written, "sweep").items():
        levels = _tables({"sweep": changes_by_level}, "sweep", factor)
        if sum(not changes for changes in levels.values()) > 1:
            raise SpecError("only one level can be the workload as it stands", ("sweep", factor))
        for level, changes in levels.items():
            here = Origin(origin.table, (*origin.changes, (*origin.table, "sweep", factor, level)))
            if not changes:
                yield _Level(factor, level, name, None, here)
                continue
            full_name = f"{name}.{factor}.{level}"
            inherited = {key: value for key, value in base.items() if key not in _ITS_OWN}
            named = {"name": full_name, "title": f"{title or name}; {factor}: {level}"}
            yield _Level(factor, level, full_name, laid_over({**inherited, **named}, changes), here)


def _tables(parent: Mapping[str, Any], key: str, *inside: str) -> dict[str, dict[str, Any]]:
    """A table whose every value is a table."""
    found = parent.get(key, {})
    if not isinstance(found, Mapping):
        raise SpecError("must be a table", (key, *inside))
    for name, value in found.items():
        if not isinstance(value, Mapping):
            raise SpecError(f"must be a table of changes, got {value!r}", (key, *inside, name))
    return {name: dict(value) for name, value in found.items()}


def laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the changes laid over it, table by table."""
    result = dict(base)
    for key, value in changes.items():
        there = result.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping) and _same_type(value, there):
            result[key] = laid_over(there, value)
        else:
            result[key] = value
    return result


def _same_type(changes: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    return "type" not in changes or changes["type"] == there.get("type")
