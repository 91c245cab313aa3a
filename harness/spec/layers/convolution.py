"""Convolution (cross-correlation, as every framework means it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.spec.codec import member
from harness.spec.initializers import Initializer
from harness.spec.layers import spatial
from harness.spec.layers.base import Layer, Parameter, Pass, Shape, check_positive
from harness.spec.tape import Array, pad, reshape, windows


@member("conv2d")
@dataclass(frozen=True)
class Conv2D(Layer):
    """Two-dimensional convolution: (height, width, channels) to (rows, columns, filters).

    The kernel is (height, width, channels, filters) and is not flipped.
    """

    filters: int
    size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: spatial.Padding = "valid"
    bias: bool = True
    initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_positive(filters=self.filters)
        spatial.check_window(self.size, self.strides, self.padding)

    def pads(self, shape: Shape) -> spatial.Pads:
        """((top, bottom), (left, right)) for an example of `shape`."""
        return spatial.pads(self.padding, shape, self.size, self.strides)

    def output_shape(self, *inputs: Shape) -> Shape:
        """(rows, columns, filters)."""
        return (*spatial.window_shape(self.padding, inputs[0], self.size, self.strides), self.filters)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`kernel` (height, width, channels, filters) and, with `bias`, `bias` (filters,)."""
        channels = inputs[0][2]
        area = self.size[0] * self.size[1]
        kernel = Parameter(
            (*self.size, channels, self.filters),
            self.initializer,
            area * channels,
            area * self.filters,
            penalized=True,
        )
        if not self.bias:
            return {"kernel": kernel}
        return {"kernel": kernel, "bias": Parameter((self.filters,), "zeros")}

    def flops(self, *inputs: Shape) -> int:
        """Two for each weight at each place, one for each bias."""
        rows, columns, filters = self.output_shape(*inputs)
        return rows * columns * filters * (2 * self.size[0] * self.size[1] * inputs[0][2] + self.bias)

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Sum over window and channels of input times kernel, plus bias."""
        (x,) = inputs
        padded = pad(x, ((0, 0), *self.pads(x.shape[1:]), (0, 0)))
        stacked = windows(padded, self.size, self.strides)
        n, rows, columns, area, channels = stacked.shape
        columns_of_windows = reshape(stacked, (n, rows, columns, area * channels))
        y = columns_of_windows @ reshape(parameters["kernel"], (area * channels, self.filters))
        return y + parameters["bias"] if self.bias else y
