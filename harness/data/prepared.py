"""Data sets as arrays, split and scaled: made once, kept in the cache, and read by every contender."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import paths
from harness.data import catalogue, files
from harness.data.catalogue import DataSet
from harness.data.digest import Arrays, canonical_json, describe, fingerprint, text_sha256
from harness.data.disk import cache_writes, locked, sync
from harness.data.download import Progress
from harness.data.order import generator
from harness.errors import UsageError, unknown

# Part of every cache key: raise it when the same request would give other arrays than before.
PREPARATION = 1

# Larger arrays are checked by their size alone when a cache entry is opened.
FULL_CHECK_BYTES = 1 << 30


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: a folder of `<split>_<array>.npy` and `meta.json`.

    Splits are train, validation and test; a classifier's arrays are x (float32, NHWC for images) and
    y (int32). `fingerprint` is the SHA-256 of the content: names, shapes, types and values, and nothing else.
    """

    folder: Path
    fingerprint: str
    meta: Mapping[str, Any]

    def path(self, name: str) -> Path:
        """The .npy file of one array, such as `train_x`."""
        return self.folder / f"{name}.npy"

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Every array by name, mapped from the disk and read-only."""
        return {
            name: np.load(self.path(name), mmap_mode="r", allow_pickle=False) for name in self.meta["arrays"]
        }


def _to_unit(values: npt.NDArray[Any], dataset: DataSet) -> npt.NDArray[np.float32]:
    """[low, high] to [0, 1], each operation rounded once in float32."""
    low, high = (np.float32(bound) for bound in dataset.value_range)
    return (values.astype(np.float32) - low) / (high - low)


def _as_stored(values: npt.NDArray[Any], _: DataSet) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)


SCALES: dict[str, Callable[[npt.NDArray[Any], DataSet], npt.NDArray[np.float32]]] = {
    "unit": _to_unit,
    "none": _as_stored,
}


def prepare(
    name: str,
    *,
    held_out: float = 0.0,
    seed: int = 0,
    scale: str = "unit",
    data_dir: Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """The named data set, from the cache or made now (downloading what is missing).

    `held_out` is the fraction of the training set that becomes the validation set: of n examples, the first
    round(held_out * n) of the permutation that `order.generator(seed, 0, 1)` draws (its own stream, no
    epoch's). Both parts keep the data set's order. With 0 there is no validation set and `seed` is without
    effect. `scale` is "unit" (x in [0, 1]) or "none" (the source's values). Integers become int32, other
    numbers float32.

    A damaged cache entry is noticed and made again. Raises `UsageError` for wrong names and values,
    `DataError` where the data cannot be had or written.
    """
    dataset = catalogue.named(name)
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    if not 0 <= held_out < 1:
        raise UsageError(f"the held-out fraction must lie in 0 ... 1 (without 1), not {held_out}")
    drawn = {"fraction": float(held_out), "seed": int(seed)} if held_out else None
    preparation = {"version": PREPARATION, "data_set": name, "held_out": drawn, "scale": scale}
    sources = dataset.checksums
    key = text_sha256(canonical_json({"preparation": preparation, "sources": sources}))[:16]
    folder = paths.cache() / "prepared" / f"{name}-{key}"
    found = _open(folder)
    if found is not None:
        return found
    with cache_writes(folder.parent), locked(folder.parent / f".{folder.name}.lock"):
        # Another process may have made it while this one waited for the lock.
        found = _open(folder)
        if found is not None:
            return found
        if folder.exists():
            logging.getLogger(__name__).warning("%s was damaged and is made again", folder)
        arrays = _prepared_arrays(dataset, held_out, seed, scale, files.obtain(dataset, data_dir, progress))
        meta = {
            "schema": 1,
            "name": name,
            "title": dataset.title,
            "source": dataset.source,
            "licence": dataset.licence,
            "classes": list(dataset.classes),
            "preparation": preparation,
            "sources": sources,
        }
        return _write(folder, arrays, meta)


def _prepared_arrays(
    dataset: DataSet, held_out: float, seed: int, scale: str, source_paths: Mapping[str, Path]
) -> Arrays:
    raw = catalogue.load(dataset, source_paths)
    total = len(raw["train_x"])
    held = round(held_out * total)
    if held_out and not 0 < held < total:
        raise UsageError(
            f"holding out {held_out} of the {total} training examples of {dataset.name} leaves a part empty"
        )
    chosen = np.zeros(total, bool)
    if held:
        chosen[generator(seed, 0, 1).permutation(total)[:held]] = True
    arrays: dict[str, npt.NDArray[Any]] = {}
    for full_name, values in raw.items():
        split, _, array = full_name.partition("_")
        ready = SCALES[scale](values, dataset) if array == "x" else values.astype(_kept_type(values))
        if split == "train" and held:
            arrays[full_name], arrays[f"validation_{array}"] = ready[~chosen], ready[chosen]
        else:
            arrays[full_name] = ready
    return arrays


def _kept_type(values: npt.NDArray[Any]) -> type[np.generic]:
    return np.int32 if values.dtype.kind in "iub" else np.float32


def _write(folder: Path, arrays: Arrays, meta: dict[str, Any]) -> Prepared:
    """Write into a folder beside the final one and rename it: the entry is whole or not there."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        described = {}
        for name, array in arrays.items():
            path = partial / f"{name}.npy"
            np.save(path, array, allow_pickle=False)
            sync(path)
            described[name] = describe(array) | {"bytes": path.stat().st_size}
        content = fingerprint(described)
        meta = meta | {"arrays": described, "fingerprint": content}
        (partial / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
        sync(partial / "meta.json")
        sync(partial)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Prepared(folder, content, meta)


def _open(folder: Path) -> Prepared | None:
    """A cache entry whose files are what its meta.json says, or None where it is absent or damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        prepared = Prepared(folder, meta["fingerprint"], meta)
        described = meta["arrays"]
        sound = fingerprint(described) == prepared.fingerprint and all(
            prepared.path(name).stat().st_size == expected["bytes"] for name, expected in described.items()
        )
        if not sound:
            return None
        for name, array in prepared.arrays().items():
            expected = described[name]
            if expected["bytes"] <= FULL_CHECK_BYTES and describe(array)["sha256"] != expected["sha256"]:
                return None
            if list(array.shape) != expected["shape"] or array.dtype.name != expected["dtype"]:
                return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return prepared
