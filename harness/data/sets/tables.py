"""Tables: medicine and finance; each row an example, its features numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.data_set import DataSet, Raw, mirrored
from harness.data.disk import DataError
from harness.data.split import TEST_FRACTION, drawn_for_test, split

HEART_FILE = "processed.cleveland.data"
HEART_FEATURES = 13
GERMAN_FILE = "german.data-numeric"
GERMAN_FEATURES = 24


def _load_breast_cancer(_: Mapping[str, Path]) -> Raw:
    """scikit-learn's table, with a test set of 20 %, stratified by class."""
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    return _classified(table.data, table.target)


def _load_diabetes(_: Mapping[str, Path]) -> Raw:
    """scikit-learn's table in its raw units, with a test set of 20 %."""
    from sklearn.datasets import load_diabetes

    table = load_diabetes(scaled=False)
    arrays = {"x": table.data, "value": table.target[:, np.newaxis]}
    return Raw(split(arrays, drawn_for_test(len(table.data), TEST_FRACTION)))


def load_heart_disease(paths: Mapping[str, Path]) -> Raw:
    """Comma-separated numbers, the last one 0 (no disease) or 1 to 4 (its degrees), which are one class here;
    `?` is a missing feature. Test set of 20 %, stratified by class.
    """
    path = paths[HEART_FILE]
    table = _numbers(path, ",", HEART_FEATURES + 1)
    degrees = table[:, -1]
    _check_classes(path, degrees, (0, 1, 2, 3, 4))
    return _classified(table[:, :-1], degrees > 0)


def load_german_credit(paths: Mapping[str, Path]) -> Raw:
    """The numeric form: integers between spaces, the last one 1 (good) or 2 (bad). Test set of 20 %,
    stratified by class.
    """
    path = paths[GERMAN_FILE]
    table = _numbers(path, None, GERMAN_FEATURES + 1)
    _check_classes(path, table[:, -1], (1, 2))
    return _classified(table[:, :-1], table[:, -1] == 2)


def _classified(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Raw:
    classes = y.astype(np.uint8)
    return Raw(split({"x": x, "y": classes}, drawn_for_test(len(x), TEST_FRACTION, classes)))


def _numbers(path: Path, separator: str | None, columns: int) -> npt.NDArray[np.float64]:
    """The rows of a text file as float64 (rows, columns); `?` becomes NaN, empty lines are left out."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        fields = [field.strip() for field in line.split(separator)]
        if fields in ([], [""]):
            continue
        if len(fields) != columns:
            raise DataError(f"{path}: line {number} has {len(fields)} fields, not {columns}")
        rows.append([_number(path, number, field) for field in fields])
    if not rows:
        raise DataError(f"{path}: has no rows")
    return np.array(rows, np.float64)


def _number(path: Path, line: int, field: str) -> float:
    if field == "?":
        return np.nan
    try:
        found = float(field)
    except ValueError:
        found = np.nan
    if not np.isfinite(found):
        raise DataError(f"{path}: line {line} holds {field!r}, which is no number")
    return found


def _check_classes(path: Path, found: npt.NDArray[np.float64], known: tuple[int, ...]) -> None:
    wrong = ~np.isin(found, known)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DataError(f"{path}: row {place + 1} has the class {found[place]:g}, not one of {known}")


SETS = (
    DataSet(
        name="breast-cancer",
        title="Breast cancer Wisconsin (diagnostic): malignant or benign, from 30 measures of cell nuclei",
        source="UCI 17, W. Wolberg, O. Mangasarian, N. and W. Street, as scikit-learn's load_breast_cancer",
        licence="CC BY 4.0",
        train_examples=456,
        test_examples=113,
        shape=(30,),
        classes=("malignant", "benign"),
        value_range=None,
        load=_load_breast_cancer,
        content_sha256="3e75b4ea8077212d1ad77b6605ee55d5434508e7a3d1401fe08134ef6b1bcae1",
        scale="standard",
    ),
    DataSet(
        name="diabetes",
        title="Diabetes: progression in a year (raw: 25 to 346), in standard deviations of the training part",
        source="B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, Least Angle Regression, 2004, "
        "as scikit-learn's load_diabetes",
        licence="none stated",
        train_examples=354,
        test_examples=88,
        shape=(10,),
        classes=(),
        value_range=None,
        load=_load_diabetes,
        content_sha256="45e8fe452aa7fbad946b36ae6b22dd2e172bbab6925d61682f256297087f38d6",
        target="value",
        scale="standard",
    ),
    DataSet(
        name="heart-disease",
        title="Heart disease, Cleveland: none (0) or some (1 to 4); 6 missing values are training medians",
        source="UCI 45, A. Janosi, W. Steinbrunn, M. Pfisterer, R. Detrano",
        licence="CC BY 4.0",
        train_examples=242,
        test_examples=61,
        shape=(HEART_FEATURES,),
        classes=("none", "some"),
        value_range=None,
        load=load_heart_disease,
        files=mirrored(
            ("https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/",),
            (HEART_FILE, 18_461, "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8"),
        ),
        scale="standard",
        missing="median",
    ),
    DataSet(
        name="german-credit",
        title="German credit: good or bad risk, from 24 numbers",
        source="UCI 144, H. Hofmann; the numeric form by Strathclyde University",
        licence="CC BY 4.0",
        train_examples=800,
        test_examples=200,
        shape=(GERMAN_FEATURES,),
        classes=("good", "bad"),
        value_range=None,
        load=load_german_credit,
        files=mirrored(
            ("https://archive.ics.uci.edu/ml/machine-learning-databases/statlog/german/",),
            (GERMAN_FILE, 102_000, "2752b044394958ab6dd193a0b56ca0f0b3a2d8bc7cb8c008e35a5e84bbec02f8"),
        ),
        scale="standard",
    ),
)
