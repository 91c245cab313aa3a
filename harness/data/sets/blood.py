"""BCCD: cells in photographs of blood, with boxes in the form of Pascal VOC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import numpy.typing as npt
from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from harness.data.archives import Limits, tar_files
from harness.data.data_set import DataSet, File, Raw
from harness.data.disk import DataError
from harness.data.images import read_image

FILE = "BCCD.tar.gz"
SIDE = 208
MOST_OBJECTS = 30
CLASSES = ("RBC", "WBC", "Platelets")

ZERO_SIZE = "boxes of zero size, dropped"
CUT = "boxes across the image's edge, cut there"

_LIMITS = Limits(members=2_000, member_bytes=1 << 20, total_bytes=1 << 26)
_SPLITS = {"train": "trainval", "test": "test"}


@dataclass(frozen=True)
class _Box:
    """A class and edges in pixels."""

    kind: int
    left: float
    top: float
    right: float
    bottom: float


def load_bccd(paths: Mapping[str, Path], size: tuple[int, int] = (SIDE, SIDE)) -> Raw:
    """The package's own splits: its training and validation parts together for training (validation is held
    out by the spec's rule), and its test part. Images are resized to `size`.

    A box of zero width or height is dropped, a box across the image's edge is cut there, and both are
    counted. A box outside of its image or of an unknown class is an error, and so is a list that names what
    is not there.
    """
    path = paths[FILE]
    members = {name: body for name, body in tar_files(path, _LIMITS) if name.startswith("BCCD/")}
    counts = {ZERO_SIZE: 0, CUT: 0}
    arrays: dict[str, npt.NDArray[Any]] = {}
    for split, part in _SPLITS.items():
        names = _member(path, members, f"BCCD/ImageSets/Main/{part}.txt").decode("ascii", "replace").split()
        if not names:
            raise DataError(f"{path}: the part {part!r} names no image")
        images = np.empty((len(names), *size, 3), np.uint8)
        objects = np.zeros((len(names), MOST_OBJECTS, 5))
        objects[..., 0] = -1
        for place, name in enumerate(names):
            image = f"BCCD/JPEGImages/{name}.jpg"
            where = f"{path}: member {image!r}"
            images[place] = read_image(_member(path, members, image), where, 3, size)
            notes = f"BCCD/Annotations/{name}.xml"
            where = f"{path}: member {notes!r}"
            found = read_boxes(_member(path, members, notes), where, counts)
            if len(found) > MOST_OBJECTS:
                raise DataError(f"{where} has {len(found)} boxes, more than {MOST_OBJECTS}")
            objects[place, : len(found)] = found
        arrays[f"{split}_x"], arrays[f"{split}_objects"] = images, objects
    return Raw(arrays, {rule: count for rule, count in counts.items() if count})


def _member(path: Path, members: Mapping[str, bytes], name: str) -> bytes:
    if name not in members:
        raise DataError(f"{path}: has no member {name!r}")
    return members[name]


def read_boxes(body: bytes, where: str, counts: dict[str, int]) -> npt.NDArray[np.float64]:
    """The boxes of a Pascal VOC annotation: (boxes, 5) of class, centre x, centre y, width and height, in
    shares of the annotation's own image size. What its rules changed is added to `counts`.

    Raises `DataError`, beginning with `where`.
    """
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise DataError(f"{where}: no XML that is read here ({error})") from error
    width, height = (_number(root, f"size/{name}", where) for name in ("width", "height"))
    if width <= 0 or height <= 0:
        raise DataError(f"{where}: an image of {width:g} x {height:g} pixels")
    found = []
    for number, element in enumerate(root.iterfind("object"), 1):
        box = _box(element, f"{where}: object {number}")
        cut = _Box(
            box.kind, max(box.left, 0.0), max(box.top, 0.0), min(box.right, width), min(box.bottom, height)
        )
        if box.left == box.right or box.top == box.bottom:
            counts[ZERO_SIZE] += 1
            continue
        if cut.left >= cut.right or cut.top >= cut.bottom:
            raise DataError(f"{where}: object {number} lies outside of its image: {box}")
        counts[CUT] += cut != box
        found.append(
            (
                cut.kind,
                (cut.left + cut.right) / 2 / width,
                (cut.top + cut.bottom) / 2 / height,
                (cut.right - cut.left) / width,
                (cut.bottom - cut.top) / height,
            )
        )
    return np.array(found, np.float64).reshape(-1, 5)


def _box(element: Element, where: str) -> _Box:
    name = (element.findtext("name") or "").strip()
    if name not in CLASSES:
        raise DataError(f"{where}: unknown class {name!r}, there is {', '.join(CLASSES)}")
    left, top, right, bottom = (
        _number(element, f"bndbox/{edge}", where) for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    if left > right or top > bottom:
        raise DataError(f"{where}: a box from {left:g}, {top:g} to {right:g}, {bottom:g}")
    return _Box(CLASSES.index(name), left, top, right, bottom)


def _number(element: Element, name: str, where: str) -> float:
    text = element.findtext(name)
    try:
        found = float(text or "")
    except ValueError:
        found = np.nan
    if not np.isfinite(found):
        raise DataError(f"{where}: {name} is {text!r}, no number")
    return found


SETS = (
    DataSet(
        name="bccd",
        title="BCCD: red cells, white cells and platelets in photographs of blood, resized to 208x208",
        source="Shenggan/BCCD_Dataset at d272fb1, after cosmicad/dataset",
        licence="MIT",
        train_examples=292,
        test_examples=72,
        shape=(SIDE, SIDE, 3),
        classes=CLASSES,
        value_range=(0, 255),
        load=load_bccd,
        load_at=load_bccd,
        files=(
            File(FILE, 7_368_892, "eee8c776b6c1e924e1c33a03d7c06df09f2ffd9e53f626ffe074e2d70e773a8d", ()),
        ),
        target="objects",
        most_objects=MOST_OBJECTS,
        packing=("BCCD", "from github.com/Shenggan/BCCD_Dataset at d272fb1"),
    ),
)
