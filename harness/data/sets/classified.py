"""Small images, each of one class: digits, MNIST and its like, CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.archives import Limits, tar_files
from harness.data.data_set import DataSet, Raw, mirrored
from harness.data.disk import DataError
from harness.data.idx import read_idx

DIGITS_SPLIT_SEED = 0
DIGITS_TEST_FRACTION = 0.2


def _load_digits(_: Mapping[str, Path]) -> Raw:
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
    return Raw({"train_x": x[train], "train_y": y[train], "test_x": x[test], "test_y": y[test]})


def load_idx_images(paths: Mapping[str, Path]) -> Raw:
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
    return Raw(arrays)


CIFAR_FILE = "cifar-10-binary.tar.gz"
_CIFAR_LIMITS = Limits(members=20, member_bytes=1 << 25, total_bytes=1 << 28)
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_CIFAR_TEST = "test_batch.bin"


def load_cifar10(paths: Mapping[str, Path]) -> Raw:
    """The binary version: five files of training examples and one of test examples, each example a byte for
    its class and 32 x 32 bytes for each of red, green and blue (https://www.cs.toronto.edu/~kriz/cifar.html).
    """
    path = paths[CIFAR_FILE]
    found: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}
    for name, body in tar_files(path, _CIFAR_LIMITS):
        file = name.rpartition("/")[2]
        if file in (*_CIFAR_TRAIN, _CIFAR_TEST):
            found[file] = _cifar_batch(f"{path}: member {name!r}", body)
    missing = [file for file in (*_CIFAR_TRAIN, _CIFAR_TEST) if file not in found]
    if missing:
        raise DataError(f"{path}: has no {', '.join(missing)}")
    return Raw(
        {
            "train_x": np.concatenate([found[file][0] for file in _CIFAR_TRAIN]),
            "train_y": np.concatenate([found[file][1] for file in _CIFAR_TRAIN]),
            "test_x": found[_CIFAR_TEST][0],
            "test_y": found[_CIFAR_TEST][1],
        }
    )


def _cifar_batch(where: str, body: bytes) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    record_bytes = 1 + int(np.prod(_CIFAR_SHAPE))
    if not body or len(body) % record_bytes:
        raise DataError(f"{where} has {len(body)} bytes, no whole number of examples of {record_bytes}")
    records = np.frombuffer(body, np.uint8).reshape(-1, record_bytes)
    labels = records[:, 0]
    if labels.max() >= len(_CIFAR_CLASSES):
        place = int(np.argmax(labels >= len(_CIFAR_CLASSES)))
        raise DataError(f"{where}: example {place} has the class {labels[place]}, there are 0 to 9")
    return records[:, 1:].reshape(-1, *_CIFAR_SHAPE).transpose(0, 2, 3, 1), labels


_TEN_DIGITS = tuple("0123456789")
_CIFAR_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

SETS = (
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
        files=mirrored(
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
        files=mirrored(
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
    DataSet(
        name="cifar-10",
        title="CIFAR-10, photographs of ten kinds of things, 32x32",
        source="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        licence="none stated",
        train_examples=50_000,
        test_examples=10_000,
        shape=(32, 32, 3),
        classes=_CIFAR_CLASSES,
        value_range=(0, 255),
        load=load_cifar10,
        files=mirrored(
            ("https://www.cs.toronto.edu/~kriz/",),
            (CIFAR_FILE, 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        ),
    ),
)
