"""The test split of data that come without one: drawn once, with NumPy, stratified by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.digest import Arrays
from harness.data.order import generator

TEST_FRACTION = 0.2


def drawn_for_test(
    examples: int, fraction: float, classes: npt.NDArray[Any] | None = None
) -> npt.NDArray[np.bool_]:
    """Which of the `examples` are the test set: bool (examples,).

    Of n examples, the first round(fraction * n) of the permutation that `order.generator(0, 0, 3)` draws.
    With `classes` (examples,) that is done within each class in rising order, with one generator for all, so
    that each class has the same share; but one example of each class stays for training.
    """
    random = generator(0, 0, 3)
    chosen = np.zeros(examples, bool)
    if classes is None:
        chosen[random.permutation(examples)[: round(fraction * examples)]] = True
        return chosen
    for each in np.unique(classes):
        places = np.flatnonzero(classes == each)
        count = min(round(fraction * len(places)), len(places) - 1)
        chosen[places[random.permutation(len(places))[:count]]] = True
    return chosen


def split(arrays: Arrays, test: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[Any]]:
    """Arrays by name as `train_<name>` and `test_<name>`, both in the order they had."""
    parts = (("train", ~test), ("test", test))
    return {f"{part}_{name}": values[rows] for part, rows in parts for name, values in arrays.items()}
