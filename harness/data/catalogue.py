"""The data sets there are, and the ones a user names: by name, and as raw arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.data import own, own_sequences
from harness.data.data_set import DataSet, File, Raw, array_shapes
from harness.data.digest import describe, fingerprint
from harness.data.disk import DataError
from harness.data.sets import (
    blood,
    classified,
    languages,
    markets,
    messages,
    nuclei,
    recordings,
    scenes,
    series,
    tables,
    translations,
)
from harness.errors import UsageError, unknown
from harness.spec.data import Data

__all__ = ["CATALOGUE", "DataSet", "File", "Raw", "array_shapes", "load", "named", "of"]

CATALOGUE: dict[str, DataSet] = {
    data_set.name: data_set
    for family in (
        classified,
        tables,
        scenes,
        blood,
        nuclei,
        series,
        messages,
        languages,
        translations,
        recordings,
        markets,
    )
    for data_set in family.SETS
}

FORMS = ("size", "length", "horizon", "tokens", "vocabulary", "seconds")
"""The fields of a spec's data that say how arrays are made; which ones a data set heeds, it tells itself."""


def named(name: str) -> DataSet:
    """The data set of that name; raises `UsageError` with the nearest right name."""
    if name not in CATALOGUE:
        raise unknown("data set", name, CATALOGUE)
    return CATALOGUE[name]


def of(data: Data, beside: Path) -> DataSet:
    """The data set that a spec's data name: one of the catalogue, or the user's own file or folder, with a
    path seen from the folder `beside`; its arrays made as the spec asks for. A table and a text are read for
    it, and a folder is listed.

    Raises `UsageError` for a wrong name, column or field, `DataError` for what cannot be read.
    """
    found = _own(data, beside) or _of_catalogue(data)
    return found if data.test_examples is None else _shortened(found, data.test_examples)


def _own(data: Data, beside: Path) -> DataSet | None:
    if data.csv is not None and data.column is not None:
        return own_sequences.labelled(data, beside / data.csv)
    if data.csv is not None:
        return own.table(data, beside / data.csv)
    if data.images is not None:
        return own.folder(data, beside / data.images)
    if data.text is not None:
        return own_sequences.text(data, beside / data.text)
    return None if data.wav is None else own_sequences.recordings(data, beside / data.wav)


def _of_catalogue(data: Data) -> DataSet:
    found = named(data.name)
    takes = ("size",) if len(found.shape) == 3 else found.takes
    for field in FORMS:
        if getattr(data, field) is not None and field not in takes:
            told = f" (it takes {', '.join(takes)})" if takes else ""
            raise UsageError(f"{found.name} has no {field} to choose{told}: leave it out")
    if found.at is not None:
        found = found.at(data)
    return found if data.size is None else _resized(found, data.size)


def _shortened(data_set: DataSet, most: int) -> DataSet:
    """The data set with the first so many examples of its test part."""

    def load_shortened(paths: Mapping[str, Path]) -> Raw:
        raw = load(data_set, paths)
        arrays = {
            name: values[:most] if name.startswith("test_") else values for name, values in raw.arrays.items()
        }
        return replace(raw, arrays=arrays)

    return replace(
        data_set,
        test_examples=min(most, data_set.test_examples),
        load=load_shortened,
        finish=None,
        content_sha256=None,
        sources=lambda: data_set.checksums,
        options={**data_set.options, "test_examples": most},
    )


def _resized(data_set: DataSet, size: tuple[int, int]) -> DataSet:
    """The data set with its images, and their masks, at another size."""

    def load_resized(paths: Mapping[str, Path]) -> Raw:
        from harness.data.images import resize

        if data_set.load_at is not None:
            return data_set.load_at(paths, size)
        raw = load(data_set, paths)
        arrays = dict(raw.arrays)
        for name, values in raw.arrays.items():
            if name.endswith(("_x", "_mask")):
                arrays[name] = resize(values, size, nearest=name.endswith("_mask"))
        return Raw(arrays, raw.counts)

    return replace(
        data_set,
        shape=(*size, data_set.shape[2]),
        load=load_resized,
        content_sha256=None,
        sources=lambda: data_set.checksums,
        options={**data_set.options, "size": list(size)},
    )


def load(dataset: DataSet, paths: Mapping[str, Path]) -> Raw:
    """The raw arrays from verified files; the source of an embedded set is verified here."""
    raw = dataset.load(paths)
    if dataset.content_sha256 is not None:
        found = fingerprint({name: describe(array) for name, array in raw.arrays.items()})
        if found != dataset.content_sha256:
            raise DataError(
                f"{dataset.name}: the installed package gives other data than expected "
                f"(checksum {found}, expected {dataset.content_sha256}). "
                "Install the dependencies in the versions this project pins."
            )
    return raw if dataset.finish is None else dataset.finish(raw)
