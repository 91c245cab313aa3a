"""What a metric is, and what all are computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A metric's name for people, its unit (empty: none) and what it is.

    `arrays` names what it reads of a split besides the outputs. `compute(outputs, arrays)` gives its value
    from outputs (examples, *shape) in the program's order, of which the first is the prediction; None: see
    `harness.score`.
    """

    title: str
    unit: str
    higher_is_better: bool
    definition: str
    arrays: tuple[str, ...]
    compute: Callable[[Arrays, Arrays], float] | None = None

    def check(self, arrays: Iterable[str]) -> None:
        """Raise ValueError where a split with these arrays lacks one."""
        missing = sorted(set(self.arrays) - set(arrays))
        if missing:
            raise ValueError(f"{self.title} needs the array {missing[0]!r}, which the data do not have")


def prediction(outputs: Arrays) -> np.ndarray:
    """The first output."""
    return next(iter(outputs.values()))


def pair(outputs: Arrays, arrays: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The prediction and the array `name` in float64. Raises ValueError where their shapes differ."""
    found, true = prediction(outputs), arrays[name]
    if found.shape != true.shape:
        raise ValueError(f"the prediction is {found.shape}, the array {name!r} is {true.shape}")
    return found.astype(np.float64), true.astype(np.float64)


def choices(outputs: Arrays, arrays: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The classes with the largest logits and the array `name`. Raises ValueError where shapes differ."""
    found, true = np.argmax(prediction(outputs), -1), arrays[name]
    if found.shape != true.shape:
        raise ValueError(f"the predicted classes are {found.shape}, the array {name!r} is {true.shape}")
    return found, true
