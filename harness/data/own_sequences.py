"""A user's own sequences: a text, a table with a column of texts, or a folder of recordings."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.data.data_set import DataSet, Raw
from harness.data.disk import DataError, file_sha256
from harness.data.own import bytes_of, distinct, header_of, listed, present, sha256_of, test_rows
from harness.data.speech import BANDS, LogMel, read_wav
from harness.data.split import split
from harness.data.text import Language, decoded, drawn_by_text, read_text
from harness.data.text import labelled as labelled_arrays
from harness.data.tokens import Kind
from harness.spec.data import Data


def text(data: Data, path: Path) -> DataSet:
    """A file of text, to learn its language: windows of `data.length` tokens (`harness.data.text.windows`).
    The last share `data.test` of its characters is the test part; tokens are learnt from the rest.

    Raises `UsageError` or `DataError`, naming the file: no such one, not in UTF-8, empty, or too short.
    """
    sha256 = sha256_of(path)
    length, kind = data.length or 0, _kind(data)
    language = Language.of(read_text(path), kind, data.vocabulary, length, path, data.test or 0.0)
    tokens = len(language.vocabulary)
    return DataSet(
        name=data.name,
        title=f"{path.name}, by {_NAMES[kind]}",
        source=path.name,
        licence="the user's own",
        train_examples=len(language.parts["train"]["x"]),
        test_examples=len(language.parts["test"]["x"]),
        shape=(length,),
        classes=(),
        value_range=None,
        load=lambda _: language.raw(),
        target="none",
        scale="none",
        sources=lambda: {"text": sha256},
        options={"length": length, "tokens": kind, "vocabulary": data.vocabulary, "test": data.test},
        beside={"y": (length,), "characters": ()},
        integers=("x", "y"),
        tokens=tokens,
        numbers=tokens,
        overlap=0,
    )


def labelled(data: Data, path: Path) -> DataSet:
    """A CSV file with a header, of which the column `data.column` holds texts and `data.target` each one's
    class (`harness.data.text.labelled`). The test set is `data.test` of the different texts.

    Raises `UsageError` or `DataError`, naming the file, the line and the column.
    """
    sha256 = sha256_of(path)
    column, target = str(data.column), str(data.target)
    texts, labels = _columns(path, column, target)
    classes = distinct(labels)
    if len(classes) < 2:
        raise DataError(f"{path}: the column {target!r} has one class, {classes[0]!r}; two are needed")
    y = np.array([classes.index(label) for label in labels], np.int32)
    test = drawn_by_text(texts, data.test or 0.0)
    if test.all() or not test.any():
        raise DataError(
            f"{path}: a test set of {data.test} of its {len(set(texts))} different texts leaves a part empty"
        )
    length, kind = data.length or 0, _kind(data)
    made = labelled_arrays(texts, y, test, kind, data.vocabulary, length, path)
    return DataSet(
        name=data.name,
        title=f"{path.name}: {target} of {column}, by {_NAMES[kind]}",
        source=path.name,
        licence="the user's own",
        train_examples=int(np.sum(~test)),
        test_examples=int(np.sum(test)),
        shape=(length,),
        classes=classes,
        value_range=None,
        load=lambda _: made,
        scale="none",
        sources=lambda: {"csv": sha256},
        options={
            "column": column,
            "target": target,
            "length": length,
            "tokens": kind,
            "vocabulary": data.vocabulary,
            "test": data.test,
        },
        beside={"lengths": ()},
        integers=("x", "y", "lengths"),
        tokens=len(made.vocabulary),
    )


def recordings(data: Data, path: Path) -> DataSet:
    """A folder with one subfolder for each class, in which every file is a WAV file; classes and files in the
    order of their names. The test set is `data.test` of the files, stratified by class. Features are
    log-mel energies (`harness.data.speech.LogMel`) at `data.rate` over `data.seconds`: other rates are
    resampled, channels averaged and longer recordings cut, and all three are counted.

    Raises `UsageError` or `DataError`, naming the file.
    """
    found = listed(path, "recordings")
    classes = tuple(found)
    files = [file for each in found.values() for file in each]
    y = np.repeat(np.arange(len(classes), dtype=np.int32), [len(each) for each in found.values()])
    test = test_rows(data, path, len(files), y)
    rate, seconds = data.rate or 0, data.seconds or 0.0

    def load(_: Mapping[str, Path]) -> Raw:
        features = LogMel(rate, seconds)
        x, lengths = features.of([read_wav(bytes_of(file), str(file)) for file in files])
        return Raw(split({"x": x, "lengths": lengths, "y": y}, test), features.counts)

    def sources() -> dict[str, str]:
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\n".encode())
        return {"wav": digest.hexdigest()}

    return DataSet(
        name=data.name,
        title=f"recordings of {path.name}, {seconds:g} s",
        source=path.name,
        licence="the user's own",
        train_examples=int(np.sum(~test)),
        test_examples=int(np.sum(test)),
        shape=(LogMel(rate, seconds).steps, BANDS),
        classes=classes,
        value_range=None,
        load=load,
        scale="standard",
        sources=sources,
        options={"rate": rate, "seconds": seconds, "test": data.test},
        beside={"lengths": ()},
        integers=("y", "lengths"),
    )


_NAMES: dict[Kind, str] = {"characters": "characters", "words": "words", "bpe": "byte pairs"}


def _kind(data: Data) -> Kind:
    return data.tokens or "characters"


def _columns(path: Path, column: str, target: str) -> tuple[list[str], list[str]]:
    """The texts and the labels of a CSV file's rows."""
    texts, labels = [], []
    rows = csv.reader(io.StringIO(decoded(bytes_of(path), path)), strict=True)
    try:
        header = header_of(path, next(rows, []), target, column)
        for row in rows:
            if not row:
                continue
            where = rows.line_num
            if len(row) != len(header):
                raise DataError(f"{path}: line {where} has {len(row)} fields, the header {len(header)}")
            texts.append(present(path, where, column, row[header.index(column)]))
            labels.append(present(path, where, target, row[header.index(target)]))
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num} is not CSV: {error}") from error
    if not texts:
        raise DataError(f"{path}: has a header and no rows")
    return texts, labels
