"""Pooling over windows of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.spec.codec import SpecError, member
from harness.spec.layers import spatial
from harness.spec.layers.base import Layer, Pass, Shape, check_rank
from harness.spec.tape import Array, maximum, mean, pad, total, windows


@dataclass(frozen=True)
class _Pool2D(Layer):
    size: tuple[int, int] = (2, 2)
    strides: tuple[int, int] | None = None
    padding: spatial.Padding = "valid"

    def __post_init__(self) -> None:
        spatial.check_window(self.size, self.steps, self.padding)

    @property
    def steps(self) -> tuple[int, int]:
        """The strides; where none are given, the window's own size."""
        return self.strides or self.size

    def pads(self, shape: Shape) -> spatial.Pads:
        """((top, bottom), (left, right)) for an example of `shape`. SpecError where a window could lie
        wholly in the padding.
        """
        found = spatial.pads(self.padding, shape, self.size, self.steps)
        for axis, edges in enumerate(found):
            if max(edges) >= self.size[axis]:
                message = f"must be smaller than the window {list(self.size)}, got {found}"
                raise SpecError(message, ("padding",))
        return found

    def output_shape(self, *inputs: Shape) -> Shape:
        """(rows, columns, channels)."""
        rows, columns = spatial.window_shape(self.padding, inputs[0], self.size, self.steps)
        self.pads(inputs[0])
        return rows, columns, inputs[0][2]

    def flops(self, *inputs: Shape) -> int:
        """One for each element of each window."""
        rows, columns, channels = self.output_shape(*inputs)
        return rows * columns * channels * self.size[0] * self.size[1]

    def _windows(self, x: Array, fill: float) -> Array:
        return windows(pad(x, ((0, 0), *self.pads(x.shape[1:]), (0, 0)), fill), self.size, self.steps)


@member("max_pool2d")
@dataclass(frozen=True)
class MaxPool2D(_Pool2D):
    """The largest element of each window; padding never wins."""

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Maximum over the window."""
        return maximum(self._windows(inputs[0], -np.inf), axis=3)


@member("avg_pool2d")
@dataclass(frozen=True)
class AvgPool2D(_Pool2D):
    """The mean of each window's real elements; padding is not counted."""

    def counts(self, shape: Shape) -> np.ndarray:
        """How many real elements each window holds: (rows, columns, 1), for an example of `shape`."""
        ones = Array(np.ones((1, *shape[:2], 1)))
        return total(self._windows(ones, 0.0)[0], axis=2).value

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Sum over the window divided by the number of real elements."""
        return total(self._windows(inputs[0], 0.0), axis=3) / self.counts(inputs[0].shape[1:])


@member("global_avg_pool2d")
@dataclass(frozen=True)
class GlobalAvgPool2D(Layer):
    """The mean over all pixels: (height, width, channels) to (channels,)."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """(channels,)."""
        check_rank(inputs[0], 3, "an image (height, width, channels)")
        return (inputs[0][2],)

    def flops(self, *inputs: Shape) -> int:
        """One for each element."""
        return int(np.prod(inputs[0]))

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Mean over height and width."""
        return mean(inputs[0], (1, 2))
