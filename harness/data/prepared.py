"""Data sets as arrays, split and scaled: made once, kept in the cache, and read by every contender."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import paths
from harness.data import catalogue, files
from harness.data.data_set import DataSet, Scale, array_shapes
from harness.data.digest import Arrays, canonical_json, describe, fingerprint, text_sha256
from harness.data.disk import DataError, cache_writes, locked, sync
from harness.data.download import Progress
from harness.data.order import generator
from harness.errors import UsageError, unknown
from harness.spec.codec import SpecError, encode
from harness.spec.derivations import Derivation, with_derived

# Part of every cache key: raise it when the same request would give other arrays than before.
PREPARATION = 1

# Larger arrays are checked by their size alone when a cache entry is opened.
FULL_CHECK_BYTES = 1 << 30

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: a folder of `<split>_<array>.npy` and `meta.json`.

    Splits are train, validation and test. `data_set.array_shapes` says what their arrays are, and derived
    ones stand beside them. In `meta`, where there is anything to say, `counts` tells how often a stated rule
    changed the data, and `standardised` what was subtracted and divided by. `fingerprint` is the SHA-256 of
    the content: names, shapes, types and values, and nothing else.
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


@dataclass(frozen=True)
class _Moments:
    """Mean and standard deviation (channels,) of an array's last axis over the training part, in float64."""

    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]


def _to_unit(values: npt.NDArray[Any], bounds: tuple[float, float]) -> npt.NDArray[np.float32]:
    """[low, high] to [0, 1], each operation rounded once in float32."""
    low, high = (np.float32(bound) for bound in bounds)
    return (values.astype(np.float32) - low) / (high - low)


def _moments(values: npt.NDArray[Any]) -> _Moments:
    """Of each feature, or of each channel over all pixels; a deviation of 0 counts as 1."""
    axes = tuple(range(values.ndim - 1))
    mean = np.asarray(np.mean(values, axis=axes, dtype=np.float64))
    deviation = np.asarray(np.std(values, axis=axes, dtype=np.float64))
    return _Moments(mean, np.where(deviation == 0, 1.0, deviation))


def _standardised(values: npt.NDArray[Any], moments: _Moments) -> npt.NDArray[np.float32]:
    return ((values - moments.mean) / moments.deviation).astype(np.float32)


SCALES: tuple[Scale, ...] = ("unit", "standard", "none")


def prepare(
    name: str | DataSet,
    *,
    held_out: float = 0.0,
    seed: int = 0,
    scale: str | None = None,
    derive: Sequence[Derivation] = (),
    data_dir: Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """A data set, the named one or one from `catalogue.of`, from the cache or made now (downloading what is
    missing).

    `held_out` is the fraction of the training set that becomes the validation set: of n examples, the first
    round(held_out * n) of the permutation that `order.generator(seed, 0, 1)` draws (its own stream, no
    epoch's). Both parts keep the data set's order. With 0 there is no validation set and `seed` is without
    effect. A missing value becomes the median of its column in the training part that is left.

    Examples that follow each other in time are no matter of chance: the last ones of the training part are
    the validation set.

    `scale` is "unit" (x in [0, 1]), "standard" (x, by feature or channel, and a value to regress less their
    mean, over their standard deviation, both of the training part that is left) or "none" (the source's
    values); without it the data set's own. Classes become int32, other numbers float32.

    Last, `derive` adds arrays to every split, one derivation after the other; the one at `place` draws with
    `order.generator(its seed, 0, 2, split, place)`, the splits being 0 (train), 1 (validation) and 2 (test).

    A damaged cache entry is noticed and made again. Raises `UsageError` for wrong names and values,
    `DataError` where the data cannot be had or written.
    """
    dataset = catalogue.named(name) if isinstance(name, str) else name
    scale = scale or dataset.scale
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    if scale == "unit" and dataset.value_range is None:
        raise UsageError(f'{dataset.name} has no bounds that "unit" could scale: choose "standard" or "none"')
    if scale != "none" and "x" in dataset.integers:
        raise UsageError(f'{dataset.name} is made of tokens, which have no scale: leave it out or say "none"')
    if not 0 <= held_out < 1:
        raise UsageError(f"the held-out fraction must lie in 0 ... 1 (without 1), not {held_out}")
    with_derived(array_shapes(dataset), derive)
    drawn = {"fraction": float(held_out), "seed": int(seed)} if held_out else None
    preparation: dict[str, Any] = {
        "version": PREPARATION,
        "data_set": dataset.name,
        "held_out": drawn,
        "scale": scale,
    }
    if dataset.options:
        preparation["options"] = dict(dataset.options)
    if derive:
        preparation["derive"] = encode(tuple(derive))
    sources = dataset.checksums
    key = text_sha256(canonical_json({"preparation": preparation, "sources": sources}))[:16]
    folder = paths.cache() / "prepared" / f"{_file_name(dataset.name)}-{key}"
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
        raw = catalogue.load(dataset, files.obtain(dataset, data_dir, progress))
        parts = _split(dataset, raw.arrays, held_out, seed)
        filled = _fill(dataset, parts)
        moments = _scale(dataset, parts, scale)
        dropped = _derive(parts, derive)
        meta = {
            "schema": 1,
            "name": dataset.name,
            "title": dataset.title,
            "source": dataset.source,
            "licence": dataset.licence,
            "classes": list(dataset.classes),
            "preparation": preparation,
            "sources": sources,
        }
        counts = {**raw.counts, **filled, **dropped}
        further = {"counts": counts, "standardised": moments, "vocabulary": list(raw.vocabulary)}
        meta |= {key: told for key, told in further.items() if told}
        arrays = {
            f"{split}_{array}": values for split, part in parts.items() for array, values in part.items()
        }
        return _write(folder, arrays, meta)


Parts = dict[str, dict[str, npt.NDArray[Any]]]


def _file_name(name: str) -> str:
    """A user's name for data, made fit for a folder."""
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)


def _split(dataset: DataSet, raw: Arrays, held_out: float, seed: int) -> Parts:
    """The raw arrays by split and name, with the validation part taken from the training part."""
    parts: Parts = {split: {} for split in SPLITS}
    for full_name, values in raw.items():
        split, _, array = full_name.partition("_")
        parts[split][array] = values
    train = parts["train"]
    total = len(train["x"])
    held, left = dataset.held(held_out, total)
    if held_out and not (0 < held < total and left > 0):
        raise UsageError(
            f"holding out {held_out} of the {total} training examples of {dataset.name} leaves a part empty"
        )
    if held:
        validation, kept = np.zeros(total, bool), np.zeros(total, bool)
        if dataset.overlap is None:
            validation[generator(seed, 0, 1).permutation(total)[:held]] = True
            kept = ~validation
        else:
            validation[total - held :] = True
            kept[:left] = True
        parts["validation"] = {array: values[validation] for array, values in train.items()}
        parts["train"] = {array: values[kept] for array, values in train.items()}
    return {split: part for split, part in parts.items() if part}


def _fill(dataset: DataSet, parts: Parts) -> dict[str, int]:
    """Put the training part's median of its column in every missing place of x, and count them."""
    if parts["train"]["x"].dtype.kind != "f":
        return {}
    missing = {split: np.isnan(part["x"]) for split, part in parts.items()}
    count = sum(int(np.sum(places)) for places in missing.values())
    if not count:
        return {}
    if dataset.missing is None:
        raise DataError(f"{dataset.name}: {count} values are missing, and it has no rule for them")
    empty = np.flatnonzero(missing["train"].all(axis=0))
    if len(empty):
        raise DataError(f"{dataset.name}: no training example has a value of feature {empty[0]}")
    medians = np.nanmedian(parts["train"]["x"], axis=0)
    for split, part in parts.items():
        part["x"] = np.where(missing[split], medians, part["x"])
    return {"missing values, each the training median of its column": count}


def _scale(dataset: DataSet, parts: Parts, scale: str) -> dict[str, dict[str, list[float]]]:
    """Scale every split and give every array its type; mean and deviation of what was standardised."""
    moments: dict[str, _Moments] = {}
    if scale == "standard":
        names = [name for name in ("x", "value") if name in parts["train"] and name not in dataset.like_x]
        moments = {name: _moments(parts["train"][name]) for name in names}
    for part in parts.values():
        for name, values in part.items():
            scaled_as = "x" if name in dataset.like_x else name
            if scaled_as in moments:
                part[name] = _standardised(values, moments[scaled_as])
            elif scaled_as == "x" and scale == "unit" and dataset.value_range is not None:
                part[name] = _to_unit(values, dataset.value_range)
            else:
                part[name] = values.astype(np.int32 if name in dataset.integers else np.float32)
    return {
        name: {"mean": found.mean.tolist(), "deviation": found.deviation.tolist()}
        for name, found in moments.items()
    }


def _derive(parts: Parts, derive: Sequence[Derivation]) -> dict[str, int]:
    """Add the derived arrays to every split; what their rules left out."""
    counts: dict[str, int] = {}
    for place, derivation in enumerate(derive):
        for split, part in parts.items():
            random = generator(derivation.seed, 0, 2, SPLITS.index(split), place)
            try:
                part.update(derivation.apply(part, split, random))
            except SpecError as error:
                raise error.under("derive", place) from None
            for rule, count in derivation.counts(part).items():
                counts[rule] = counts.get(rule, 0) + count
    return {rule: count for rule, count in counts.items() if count}


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
