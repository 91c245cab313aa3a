"""A user's own data: a table in a CSV file, or a folder of images with a subfolder for each class."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.data_set import DataSet, Raw
from harness.data.disk import DataError, file_sha256
from harness.data.split import drawn_for_test, split
from harness.errors import UsageError, unknown
from harness.spec.data import Data


def table(data: Data, path: Path) -> DataSet:
    """A CSV file: a header with the columns' names, then a row an example; `data.target` is the target's
    column, and every other column a feature, all numbers.

    The classes of a target of the kind "class" are its distinct texts, in the order of their numbers where
    all are numbers. The test set is `data.test` of the rows, stratified by class. Empty lines are left out.
    Raises `UsageError` or `DataError`, naming the file, the line and the column.
    """
    read = _read_table(path, str(data.target), sha256_of(path))
    arrays: dict[str, npt.NDArray[Any]] = {"x": read.features}
    if data.kind == "class":
        classes = distinct(read.target)
        if len(classes) < 2:
            raise DataError(
                f"{path}: the column {data.target!r} has one class, {classes[0]!r}; two are needed"
            )
        index = {name: number for number, name in enumerate(classes)}
        arrays["y"] = np.array([index[text] for text in read.target], np.int32)
    else:
        classes = ()
        values = [_number(path, line, str(data.target), text) for line, text in read.lines()]
        arrays["value"] = np.array(values, np.float64)[:, np.newaxis]
    test = test_rows(data, path, len(read.target), arrays.get("y"))
    return DataSet(
        name=data.name,
        title=f"{path.name}: {data.target}"
        + (" (in standard deviations of the training part)" if data.kind == "value" else ""),
        source=path.name,
        licence="the user's own",
        train_examples=int(np.sum(~test)),
        test_examples=int(np.sum(test)),
        shape=(read.features.shape[1],),
        classes=classes,
        value_range=None,
        load=lambda _: Raw(split(arrays, test)),
        target=data.kind or "class",
        scale="standard",
        sources=lambda: {"csv": read.sha256},
        options={"target": data.target, "kind": data.kind, "test": data.test},
    )


@dataclass(frozen=True)
class _Table:
    """A CSV file's features (rows, columns), the target's texts, and the line each row ended in."""

    features: npt.NDArray[np.float64]
    target: list[str]
    line_numbers: list[int]
    sha256: str

    def lines(self) -> zip[tuple[int, str]]:
        return zip(self.line_numbers, self.target, strict=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a user's file. Raises `UsageError` where there is none."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_table(path: Path, target: str, sha256: str) -> _Table:
    features: list[list[float]] = []
    targets: list[str] = []
    line_numbers: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = csv.reader(handle, strict=True)
            header = header_of(path, next(rows, []), target)
            place = header.index(target)
            for row in rows:
                if not row:
                    continue
                where = rows.line_num
                if len(row) != len(header):
                    raise DataError(f"{path}: line {where} has {len(row)} fields, the header {len(header)}")
                features.append(
                    [
                        _number(path, where, header[column], text)
                        for column, text in enumerate(row)
                        if column != place
                    ]
                )
                targets.append(present(path, where, target, row[place]))
                line_numbers.append(where)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not in UTF-8 ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num} is not CSV: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not targets:
        raise DataError(f"{path}: has a header and no rows")
    return _Table(np.array(features, np.float64), targets, line_numbers, sha256)


def header_of(path: Path, row: list[str], *needed: str) -> list[str]:
    """The columns' names. Raises `DataError` where they are not told apart, `UsageError` where one that is
    `needed` is not there.
    """
    header = [name.strip() for name in row]
    if not header:
        raise DataError(f"{path}: line 1 is empty; it should name the columns")
    for column, name in enumerate(header, 1):
        if not name or name in header[: column - 1]:
            raise DataError(f"{path}: line 1 names column {column} {name!r}; each needs a name of its own")
    for name in needed:
        if name not in header:
            raise UsageError(f"{path}: {unknown('column', name, header)}")
    if len(header) == 1:
        raise DataError(
            f"{path}: has only the column {header[0]!r}, and no feature (commas separate columns)"
        )
    return header


def present(path: Path, line: int, column: str, text: str) -> str:
    """A field without the white space around it. Raises `DataError` where nothing is left."""
    stripped = text.strip()
    if not stripped:
        raise DataError(
            f"{path}: line {line}, column {column!r}: the value is missing. "
            "Fill it in, or leave the row or the column out."
        )
    return stripped


def _number(path: Path, line: int, column: str, text: str) -> float:
    stripped = present(path, line, column, text)
    try:
        # Python reads 1_000 as a number, which no other program does.
        found = math.nan if "_" in stripped else float(stripped)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise DataError(
            f"{path}: line {line}, column {column!r}: {stripped!r} is not a number. "
            "Write categories as numbers, one column each, and leave out rows with missing values."
        )
    return found


def distinct(texts: list[str]) -> tuple[str, ...]:
    """The different ones, in the order of their numbers where all are numbers."""
    found = set(texts)
    try:
        return tuple(sorted(found, key=lambda text: (float(text), text)))
    except ValueError:
        return tuple(sorted(found))


def test_rows(
    data: Data, path: Path, examples: int, classes: npt.NDArray[np.int32] | None
) -> npt.NDArray[np.bool_]:
    """Which of a user's examples are the test set. Raises `DataError` where one of the parts is empty."""
    test = drawn_for_test(examples, data.test or 0.0, classes)
    if test.all() or not test.any():
        raise DataError(f"{path}: a test set of {data.test} of its {examples} examples leaves a part empty")
    return test


def folder(data: Data, path: Path) -> DataSet:
    """A folder with one subfolder for each class, in which every file is an image; classes and files in the
    order of their names. Names that begin with a dot are passed over. The test set is `data.test` of the
    files, stratified by class. Images are read when they are loaded, and resized to `data.size`.

    Raises `UsageError` or `DataError`, naming the file.
    """
    by_class = listed(path)
    classes = tuple(by_class)
    files = [file for found in by_class.values() for file in found]
    y = np.repeat(np.arange(len(classes), dtype=np.int32), [len(found) for found in by_class.values()])
    test = test_rows(data, path, len(files), y)
    height, width = data.size or (0, 0)
    channels = data.channels or 3

    def load(_: Mapping[str, Path]) -> Raw:
        from harness.data.images import read_image

        x = np.empty((len(files), height, width, channels), np.uint8)
        for place, file in enumerate(files):
            x[place] = read_image(bytes_of(file), str(file), channels, (height, width))
        return Raw(split({"x": x, "y": y}, test))

    def sources() -> dict[str, str]:
        digest = hashlib.sha256()
        for file in files:
            content = hashlib.sha256(bytes_of(file)).hexdigest()
            digest.update(f"{file.relative_to(path).as_posix()}\0{content}\n".encode())
        return {"images": digest.hexdigest()}

    return DataSet(
        name=data.name,
        title=f"images of {path.name}, {height}x{width}",
        source=path.name,
        licence="the user's own",
        train_examples=int(np.sum(~test)),
        test_examples=int(np.sum(test)),
        shape=(height, width, channels),
        classes=classes,
        value_range=(0, 255),
        load=load,
        sources=sources,
        options={"size": [height, width], "channels": channels, "test": data.test},
    )


def listed(path: Path, things: str = "images") -> dict[str, list[Path]]:
    """The files of a folder's subfolders, by class. Raises `UsageError` or `DataError`, naming the file."""
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such folder")
    found: dict[str, list[Path]] = {}
    try:
        for entry in _visible(path):
            if not entry.is_dir():
                raise DataError(f"{entry}: lies outside of the classes' folders; move it away or into one")
            found[entry.name] = _visible(entry)
            for file in found[entry.name]:
                if not file.is_file():
                    raise DataError(f"{file}: is no file; a class's folder holds {things} only")
            if not found[entry.name]:
                raise DataError(f"{entry}: the class has no {things}")
    except OSError as error:
        raise DataError(f"{path}: cannot be listed: {error.strerror or error}") from error
    if len(found) < 2:
        raise DataError(f"{path}: has {len(found)} classes; two folders of {things} are needed at least")
    return found


def _visible(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))


def bytes_of(file: Path) -> bytes:
    """A user's file's content. Raises `DataError` where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
