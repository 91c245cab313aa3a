"""The data sets there are: what each holds, who made it, under which licence, and how its files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.digest import Arrays, describe, fingerprint
from harness.data.disk import DataError
from harness.data.idx import read_idx
from harness.errors import unknown


@dataclass(frozen=True)
class File:
    """One source file: its size and SHA-256, and the addresses it can be had from, tried in turn."""

    name: str
    bytes: int
    sha256: str
    mirrors: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """A data set.

    `load` maps the paths of the verified `files` (by name; none for an embedded set) to raw arrays named
    `<split>_<array>`, as in `train_x`; the arrays of one split have equal first axes. `shape` is that of one
    example of `x` (images: height, width, channels), and `value_range` what its values can be, which scaling
    maps to [0, 1]. An embedded set comes inside a dependency; `content_sha256` then pins its arrays
    (`digest.fingerprint`), as the files' checksums pin the others'.
    """

    name: str
    title: str
    source: str
    licence: str
    train_examples: int
    test_examples: int
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    value_range: tuple[float, float]
    load: Callable[[Mapping[str, Path]], Arrays]
    files: tuple[File, ...] = ()
    content_sha256: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether it comes with a dependency, so that nothing needs to be downloaded."""
        return not self.files

    @property
    def checksums(self) -> dict[str, str]:
        """What pins the content: SHA-256 by file name, or of the arrays of an embedded set."""
        if self.content_sha256 is not None:
            return {"arrays": self.content_sha256}
        return {file.name: file.sha256 for file in self.files}


DIGITS_SPLIT_SEED = 0
DIGITS_TEST_FRACTION = 0.2


def _load_digits(_: Mapping[str, Path]) -> Arrays:
    """scikit-learn's digits, with a test set of 20 %, stratified by class, by its own `train_test_split`."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, test = train_test_split(
        np.arange(len(digits.target)),
        test_size=DIGITS_TEST_FRACTION,
        stratify=digits.target,
        random_state=DIGITS_SPLIT_SEED,
    )
    x = digits.images.astype(np.uint8)[..., np.newaxis]
    y = digits.target.astype(np.uint8)
    return {"train_x": x[train], "train_y": y[train], "test_x": x[test], "test_y": y[test]}


def load_idx_images(paths: Mapping[str, Path]) -> Arrays:
    """The four files of MNIST and of everything that took over its form: grey images and their classes."""
    arrays = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images_path = paths[f"{prefix}-images-idx3-ubyte.gz"]
        labels_path = paths[f"{prefix}-labels-idx1-ubyte.gz"]
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 3:
            raise DataError(f"{images_path}: holds the shape {images.shape}, not (images, height, width)")
        if labels.shape != (len(images),):
            raise DataError(f"{labels_path}: holds the shape {labels.shape} for {len(images)} images")
        arrays[f"{split}_x"], arrays[f"{split}_y"] = images[..., np.newaxis], labels
    return arrays


def _files(mirrors: tuple[str, ...], *files: tuple[str, int, str]) -> tuple[File, ...]:
    return tuple(
        File(name, size, sha256, tuple(mirror + name for mirror in mirrors)) for name, size, sha256 in files
    )


_TEN_DIGITS = tuple("0123456789")

_ALL = (
    DataSet(
        name="digits",
        title="Optical recognition of handwritten digits, 8x8",
        source="UCI 80, E. Alpaydin and C. Kaynak, as scikit-learn's load_digits",
        licence="CC BY 4.0",
        train_examples=1437,
        test_examples=360,
        shape=(8, 8, 1),
        classes=_TEN_DIGITS,
        value_range=(0, 16),
        load=_load_digits,
        content_sha256="43533612fca734b55d155e3b47f33166867b49efc8cc016ad80bc759e68f874a",
    ),
    DataSet(
        name="mnist",
        title="MNIST, handwritten digits, 28x28",
        source="Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits",
        licence="CC BY-SA 3.0",
        train_examples=60_000,
        test_examples=10_000,
        shape=(28, 28, 1),
        classes=_TEN_DIGITS,
        value_range=(0, 255),
        load=load_idx_images,
        files=_files(
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
                "http://yann.lecun.com/exdb/mnist/",
            ),
            (
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            (
                "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            (
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            (
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    DataSet(
        name="fashion-mnist",
        title="Fashion-MNIST, articles of clothing, 28x28",
        source="H. Xiao, K. Rasul, R. Vollgraf, Zalando Research, arXiv:1708.07747",
        licence="MIT",
        train_examples=60_000,
        test_examples=10_000,
        shape=(28, 28, 1),
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        value_range=(0, 255),
        load=load_idx_images,
        files=_files(
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            ),
            (
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            (
                "train-labels-idx1-ubyte.gz",
                29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            (
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            (
                "t10k-labels-idx1-ubyte.gz",
                5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
)

CATALOGUE: dict[str, DataSet] = {dataset.name: dataset for dataset in _ALL}


def named(name: str) -> DataSet:
    """The data set of that name; raises `UsageError` with the nearest right name."""
    if name not in CATALOGUE:
        raise unknown("data set", name, CATALOGUE)
    return CATALOGUE[name]


def load(dataset: DataSet, paths: Mapping[str, Path]) -> Arrays:
    """The raw arrays from verified files; the content of an embedded set is verified here."""
    arrays = dataset.load(paths)
    if dataset.content_sha256 is not None:
        found = fingerprint({name: describe(array) for name, array in arrays.items()})
        if found != dataset.content_sha256:
            raise DataError(
                f"{dataset.name}: the installed package gives other data than expected "
                f"(checksum {found}, expected {dataset.content_sha256}). "
                "Install the dependencies in the versions this project pins."
            )
    return arrays
