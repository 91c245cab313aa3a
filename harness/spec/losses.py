"""Losses: each a number for a batch, with one meaning in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.spec.codec import SpecError, family, member
from harness.spec.layers.base import Shape
from harness.spec.tape import Array, log_softmax, mean, pick, total

Reduction = Literal["mean", "sum"]
"""Over the examples of the batch: their mean, or their sum."""


@family
@dataclass(frozen=True)
class Loss:
    """A function of tensors that gives one number."""

    arity: ClassVar[int | None] = 2
    """How many inputs it takes. None: `check` decides."""

    def check(self, *inputs: Shape) -> None:
        """Raise SpecError where these example shapes do not fit."""

    def apply(self, *inputs: Array) -> Array:
        """The meaning: a scalar for inputs of shape (batch, *shape)."""
        raise NotImplementedError


def _reduce(per_example: Array, reduction: Reduction) -> Array:
    return mean(per_example) if reduction == "mean" else total(per_example)


@member("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy of logits (batch, classes) against integer labels (batch,):
    -log softmax(logits)[label].
    """

    reduction: Reduction = "mean"

    def check(self, *inputs: Shape) -> None:
        """Logits (classes,) and a scalar label."""
        logits, labels = inputs
        if len(logits) != 1 or labels != ():
            wanted = "logits (classes,) and integer labels ()"
            raise SpecError(f"cross_entropy needs {wanted}, got {logits} and {labels}")

    def apply(self, *inputs: Array) -> Array:
        """Negative log-likelihood of the labels."""
        logits, labels = inputs
        return _reduce(-pick(log_softmax(logits), labels.value), self.reduction)


@member("mean_squared_error")
@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Squared difference of prediction and target (batch, *shape), averaged over an example's elements."""

    reduction: Reduction = "mean"

    def check(self, *inputs: Shape) -> None:
        """Two tensors of one shape."""
        prediction, target = inputs
        if prediction != target:
            raise SpecError(f"mean_squared_error needs one shape twice, got {prediction} and {target}")

    def apply(self, *inputs: Array) -> Array:
        """Mean of squares over each example, then the reduction."""
        difference = inputs[0] - inputs[1]
        squares = difference * difference
        axes = tuple(range(1, len(squares.shape)))
        return _reduce(mean(squares, axes) if axes else squares, self.reduction)
