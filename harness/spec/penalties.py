"""Penalties on the size of the weights. They are part of the loss, so every optimizer sees their gradient."""

from __future__ import annotations

from dataclasses import dataclass

from harness.spec.codec import family, member
from harness.spec.layers.base import check_positive
from harness.spec.tape import Array, absolute, total


@family
@dataclass(frozen=True)
class Penalty:
    """A term of the loss for each penalized tensor (the kernels; biases and scales are left alone)."""

    rate: float

    def __post_init__(self) -> None:
        check_positive(rate=self.rate)

    def apply(self, kernel: Array) -> Array:
        """The meaning: a scalar for one tensor."""
        raise NotImplementedError


@member("l1")
@dataclass(frozen=True)
class L1(Penalty):
    """rate * sum |w|, with gradient zero at zero."""

    def apply(self, kernel: Array) -> Array:
        """rate * sum |w|."""
        return total(absolute(kernel)) * self.rate


@member("l2")
@dataclass(frozen=True)
class L2(Penalty):
    """rate * sum w^2 (no half)."""

    def apply(self, kernel: Array) -> Array:
        """rate * sum w^2."""
        return total(kernel * kernel) * self.rate
