"""The data sets there are, and the ones a user names: by name, and as raw arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.data import own
from harness.data.data_set import DataSet, File, Raw, array_shapes
from harness.data.digest import describe, fingerprint
from harness.data.disk import DataError
from harness.data.sets import blood, classified, nuclei, scenes, tables
from harness.errors import UsageError, unknown
from harness.spec.spec import Data

__all__ = ["CATALOGUE", "DataSet", "File", "Raw", "array_shapes", "load", "named", "of"]

CATALOGUE: dict[str, DataSet] = {
    data_set.name: data_set
    for family in (classified, tables, scenes, blood, nuclei)
    for data_set in family.SETS
}


def named(name: str) -> DataSet:
    """The data set of that name; raises `UsageError` with the nearest right name."""
    if name not in CATALOGUE:
        raise unknown("data set", name, CATALOGUE)
    return CATALOGUE[name]


def of(data: Data, beside: Path) -> DataSet:
    """The data set that a spec's data name: one of the catalogue, or the user's own file or folder, with a
    path seen from the folder `beside`; images at the size that the spec asks for. A table is read for it, and
    a folder of images listed.

    Raises `UsageError` for a wrong name or column, `DataError` for what cannot be read.
    """
    if data.csv is not None:
        return own.table(data, beside / data.csv)
    if data.images is not None:
        return own.folder(data, beside / data.images)
    found = named(data.name)
    return found if data.size is None else _resized(found, data.size)


def _resized(data_set: DataSet, size: tuple[int, int]) -> DataSet:
    """The data set with its images, and their masks, at another size."""
    if len(data_set.shape) != 3:
        raise UsageError(f"{data_set.name} has no images to resize: leave out `size`")

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
    """The raw arrays from verified files; the content of an embedded set is verified here."""
    raw = dataset.load(paths)
    if dataset.content_sha256 is not None:
        found = fingerprint({name: describe(array) for name, array in raw.arrays.items()})
        if found != dataset.content_sha256:
            raise DataError(
                f"{dataset.name}: the installed package gives other data than expected "
                f"(checksum {found}, expected {dataset.content_sha256}). "
                "Install the dependencies in the versions this project pins."
            )
    return raw
