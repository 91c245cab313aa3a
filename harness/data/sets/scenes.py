"""Generated scenes: discs, squares and triangles on a textured, noisy background.

Everything is drawn with integers from NumPy's PCG64, so that no platform's rounding enters the checksum.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.data_set import DataSet, Raw
from harness.data.order import generator

SIDE = 64
TRAIN, TEST = 1000, 200
KINDS = ("disc", "square", "triangle")
MOST_OBJECTS = 4

SCENES_SEED = 0
SMALLEST_RADIUS, LARGEST_RADIUS = 4, 14
TEXTURE_STEP = 8
NOISE = 24
TRIES = 8

Ints = npt.NDArray[np.integer[Any]]


def scenes(count: int, random: np.random.Generator) -> tuple[Ints, npt.NDArray[np.float64], Ints]:
    """Images uint8 (count, 64, 64, 3), their objects (count, 4, 5) and masks uint8 (count, 64, 64, 1).

    Each scene is to have 1 to 4 objects, each of one kind, bright colour and half width of 4 to 14 pixels. An
    object is whole and overlaps no other: it is dropped where 8 places drawn for it are all taken, which
    never happens to the first. The mask is 1 where there is any object.
    """
    images = _textures(count, random)
    masks = np.zeros((count, SIDE, SIDE), bool)
    objects = np.zeros((count, MOST_OBJECTS, 5))
    objects[..., 0] = -1
    wanted = random.integers(1, MOST_OBJECTS + 1, count)
    placed = np.zeros((count, 0, 3), np.int64)
    for slot in range(MOST_OBJECTS):
        kind = random.integers(0, len(KINDS), count)
        colour = random.integers(96, 256, (count, 3), np.int32)
        there, disc = _places(placed, random)
        there &= slot < wanted
        shape = _inside(kind, disc) & there[:, np.newaxis, np.newaxis]
        images = np.where(shape[..., np.newaxis], colour[:, np.newaxis, np.newaxis], images)
        masks |= shape
        column, row, radius = disc[there].T
        box = (kind[there], column / SIDE, row / SIDE, 2 * radius / SIDE, 2 * radius / SIDE)
        # Rows in use come first: an object that finds no place leaves none empty before the next.
        objects[there, np.sum(objects[there, :, 0] >= 0, axis=1)] = np.stack(box, axis=1)
        disc[~there] = -4 * SIDE
        placed = np.concatenate([placed, disc[:, np.newaxis]], axis=1)
    images = np.clip(images + random.integers(-NOISE, NOISE + 1, images.shape, np.int32), 0, 255)
    return images.astype(np.uint8), objects, masks[..., np.newaxis].astype(np.uint8)


def _textures(count: int, random: np.random.Generator) -> Ints:
    """Colours drawn on a coarse lattice, and between its points by bilinear interpolation in integers."""
    step, points = TEXTURE_STEP, SIDE // TEXTURE_STEP + 1
    lattice: npt.NDArray[np.int32] = random.integers(0, 144, (count, points, points, 3), np.int32)
    weight = (np.arange(SIDE) % step).astype(np.int32)
    low = np.arange(SIDE) // step
    down = weight[:, np.newaxis, np.newaxis]
    rows: Ints = lattice[:, low] * (step - down) + lattice[:, low + 1] * down
    right = weight[:, np.newaxis]
    return (rows[:, :, low] * (step - right) + rows[:, :, low + 1] * right) // (step * step)


def _places(placed: Ints, random: np.random.Generator) -> tuple[npt.NDArray[np.bool_], Ints]:
    """For each scene whether a free place was found, and column, row and radius of the first one."""
    count = len(placed)
    radius = random.integers(SMALLEST_RADIUS, LARGEST_RADIUS + 1, (count, TRIES))
    column, row = (random.integers(radius, SIDE - radius + 1) for _ in range(2))
    tried = np.stack([column, row, radius], axis=2)
    between = np.abs(tried[:, :, np.newaxis, :2] - placed[:, np.newaxis, :, :2]).max(axis=3)
    free = np.all(between >= tried[:, :, np.newaxis, 2] + placed[:, np.newaxis, :, 2], axis=2)
    return free.any(axis=1), tried[np.arange(count), np.argmax(free, axis=1)]


def _inside(kind: Ints, disc: Ints) -> npt.NDArray[np.bool_]:
    """Which pixels of each scene lie in its shape, counted in half pixels from the shape's centre."""
    halves = 2 * np.arange(SIDE) + 1
    across = np.abs(halves - 2 * disc[:, :1])[:, np.newaxis, :]
    down = (halves - 2 * disc[:, 1:2])[:, :, np.newaxis]
    extent = 2 * disc[:, 2, np.newaxis, np.newaxis]
    square = (across <= extent) & (np.abs(down) <= extent)
    by_kind = (
        across * across + down * down <= extent * extent,
        square,
        square & (2 * across <= down + extent + 1),
    )
    return np.choose(kind[:, np.newaxis, np.newaxis], by_kind).astype(bool)


def _load_detect(_: Mapping[str, Path]) -> Raw:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for stream, (split, count) in enumerate((("train", TRAIN), ("test", TEST))):
        images, objects, _masks = scenes(count, generator(SCENES_SEED, stream, 1))
        arrays |= {f"{split}_x": images, f"{split}_objects": objects}
    return Raw(arrays)


def _load_segment(_: Mapping[str, Path]) -> Raw:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for stream, (split, count) in enumerate((("train", TRAIN), ("test", TEST))):
        images, _objects, masks = scenes(count, generator(SCENES_SEED, stream, 2))
        arrays |= {f"{split}_x": images, f"{split}_mask": masks}
    return Raw(arrays)


SETS = (
    DataSet(
        name="shapes-detect",
        title="Discs, squares and triangles in scenes, to be found, 64x64",
        source="generated (harness/data/sets/scenes.py)",
        licence="none needed: generated",
        train_examples=TRAIN,
        test_examples=TEST,
        shape=(SIDE, SIDE, 3),
        classes=KINDS,
        value_range=(0, 255),
        load=_load_detect,
        content_sha256="56b6df7443e1f6bec30839a464f6d4faf831f6437e8091ab12433a12d8e9aaf2",
        target="objects",
        most_objects=MOST_OBJECTS,
    ),
    DataSet(
        name="shapes-segment",
        title="Discs, squares and triangles in scenes, to be told from the background, 64x64",
        source="generated (harness/data/sets/scenes.py)",
        licence="none needed: generated",
        train_examples=TRAIN,
        test_examples=TEST,
        shape=(SIDE, SIDE, 3),
        classes=("shape",),
        value_range=(0, 255),
        load=_load_segment,
        content_sha256="a1020f20607680fbd0f296314b77aa92e3d6d97268406ca9337631d5c7b6d79c",
        target="mask",
    ),
)
