"""Metrics: what a trained model is judged by, computed from its outputs in NumPy, alike for everyone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Metric:
    """`compute(outputs, arrays)` for outputs (examples, *shape) and the split's own arrays."""

    compute: Callable[[Arrays, Arrays], float]
    higher_is_better: bool


def _accuracy(outputs: Arrays, arrays: Arrays) -> float:
    (scores,) = outputs.values()
    return float(np.mean(np.argmax(scores, -1) == arrays["y"]))


def _reconstruction_error(outputs: Arrays, arrays: Arrays) -> float:
    (images,) = outputs.values()
    return float(np.mean((images.astype(np.float64) - arrays["x"]) ** 2))


METRICS = {
    "accuracy": Metric(_accuracy, higher_is_better=True),
    "reconstruction_mse": Metric(_reconstruction_error, higher_is_better=False),
}
