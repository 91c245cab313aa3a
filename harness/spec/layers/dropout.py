"""Dropout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.spec.codec import member
from harness.spec.layers.base import Layer, Pass, Shape, check_rate
from harness.spec.tape import Array


@member("dropout")
@dataclass(frozen=True)
class Dropout(Layer):
    """Inverted dropout (Srivastava et al. 2014): in training each element is zero with probability `rate` and
    divided by 1 - rate otherwise; in evaluation it is left alone.

    Masks cannot be shared between frameworks, so the proof runs training with the rate at zero.
    """

    rate: float

    def __post_init__(self) -> None:
        check_rate(rate=self.rate)

    def output_shape(self, *inputs: Shape) -> Shape:
        """As the input."""
        return inputs[0]

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Drop and rescale in training, nothing in evaluation."""
        (x,) = inputs
        if not this.training or self.rate == 0:
            return x
        if this.random is None:
            raise ValueError("dropout in training needs a random generator")
        kept = this.random.random(x.shape) >= self.rate
        return x * (kept / (1 - self.rate)).astype(x.dtype)

    def without_randomness(self) -> Dropout:
        """Rate zero."""
        return replace(self, rate=0.0)
