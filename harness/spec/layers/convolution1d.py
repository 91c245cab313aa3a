"""Convolution and pooling along a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.spec.codec import SpecError, member
from harness.spec.initializers import Initializer
from harness.spec.layers import spatial
from harness.spec.layers.base import Layer, Parameter, Pass, Shape, check_positive, check_rank
from harness.spec.tape import Array, maximum, pad, reshape, windows


@member("conv1d")
@dataclass(frozen=True)
class Conv1D(Layer):
    """One-dimensional convolution: (time, channels) to (steps, filters). The kernel is (size, channels,
    filters) and is not flipped. `same` pads as in two dimensions; `causal` pads the beginning alone, so that
    a step sees none after it.
    """

    filters: int
    size: int
    stride: int = 1
    padding: Literal["valid", "same", "causal"] = "valid"
    bias: bool = True
    initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_positive(filters=self.filters, size=self.size, stride=self.stride)

    def pads(self, shape: Shape) -> tuple[int, int]:
        """(before, after) in steps for an example of `shape`."""
        if self.padding == "causal":
            return self.size - 1, 0
        return spatial.pads(self.padding, _image(shape), (1, self.size), (1, self.stride))[1]

    def output_shape(self, *inputs: Shape) -> Shape:
        """(steps, filters)."""
        return _steps(inputs[0], self.size, self.stride, self.pads(inputs[0])), self.filters

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`kernel` (size, channels, filters) and, with `bias`, `bias` (filters,)."""
        channels = inputs[0][1]
        kernel = Parameter(
            (self.size, channels, self.filters),
            self.initializer,
            self.size * channels,
            self.size * self.filters,
            penalized=True,
        )
        if not self.bias:
            return {"kernel": kernel}
        return {"kernel": kernel, "bias": Parameter((self.filters,), "zeros")}

    def flops(self, *inputs: Shape) -> int:
        """Two for each weight at each step, one for each bias."""
        steps, filters = self.output_shape(*inputs)
        return steps * filters * (2 * self.size * inputs[0][1] + self.bias)

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Sum over window and channels of input times kernel, plus bias."""
        (x,) = inputs
        stacked = _windows(x, self.size, self.stride, self.pads(x.shape[1:]), 0.0)
        batch, steps, _, channels = stacked.shape
        kernel = reshape(parameters["kernel"], (self.size * channels, self.filters))
        y = reshape(stacked, (batch, steps, self.size * channels)) @ kernel
        return y + parameters["bias"] if self.bias else y


@member("max_pool1d")
@dataclass(frozen=True)
class MaxPool1D(Layer):
    """The largest of each window of `size` steps, windows `stride` apart (their own size where that is not
    given), without padding: what does not fill a window is left out.
    """

    size: int = 2
    stride: int | None = None

    def __post_init__(self) -> None:
        check_positive(size=self.size, stride=self.step)

    @property
    def step(self) -> int:
        """The stride; where none is given, the window's own size."""
        return self.size if self.stride is None else self.stride

    def output_shape(self, *inputs: Shape) -> Shape:
        """(steps, channels)."""
        return _steps(inputs[0], self.size, self.step, (0, 0)), inputs[0][1]

    def flops(self, *inputs: Shape) -> int:
        """One for each element of each window."""
        return int(np.prod(self.output_shape(*inputs))) * self.size

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Maximum over the window."""
        return maximum(_windows(inputs[0], self.size, self.step, (0, 0), -np.inf), axis=2)


def _image(shape: Shape) -> Shape:
    check_rank(shape, 2, "a sequence (time, channels)")
    return 1, *shape


def _steps(shape: Shape, size: int, stride: int, pads: tuple[int, int]) -> int:
    """How many windows there are. SpecError where none fits."""
    length = _image(shape)[1] + sum(pads)
    if length < size:
        raise SpecError(f"a window of {size} does not fit in a sequence of {shape[0]}")
    return (length - size) // stride + 1


def _windows(x: Array, size: int, stride: int, pads: tuple[int, int], fill: float) -> Array:
    """(batch, steps, size, channels)."""
    batch, time, channels = x.shape
    padded = pad(reshape(x, (batch, 1, time, channels)), ((0, 0), (0, 0), pads, (0, 0)), fill)
    found = windows(padded, (1, size), (1, stride))
    return reshape(found, (batch, *found.shape[2:]))
