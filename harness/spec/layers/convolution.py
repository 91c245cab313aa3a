"""Convolution (cross-correlation, as every framework means it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.spec.codec import SpecError, member
from harness.spec.initializers import Initializer
from harness.spec.layers import spatial
from harness.spec.layers.base import Layer, Parameter, Pass, Shape, check_positive, check_rank
from harness.spec.tape import Array, overlap_add, pad, reshape, total, transpose, windows


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


@member("depthwise_conv2d")
@dataclass(frozen=True)
class DepthwiseConv2D(Layer):
    """Each channel convolved by `multiplier` kernels of its own: (height, width, channels) to
    (rows, columns, channels * multiplier), where channel c gives c * multiplier to (c + 1) * multiplier - 1.

    The kernel is (height, width, channels, multiplier) and is not flipped.
    """

    size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: spatial.Padding = "valid"
    multiplier: int = 1
    bias: bool = True
    initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_positive(multiplier=self.multiplier)
        spatial.check_window(self.size, self.strides, self.padding)

    def pads(self, shape: Shape) -> spatial.Pads:
        """((top, bottom), (left, right)) for an example of `shape`."""
        return spatial.pads(self.padding, shape, self.size, self.strides)

    def output_shape(self, *inputs: Shape) -> Shape:
        """(rows, columns, channels * multiplier)."""
        window_shape = spatial.window_shape(self.padding, inputs[0], self.size, self.strides)
        return (*window_shape, inputs[0][2] * self.multiplier)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`kernel` (height, width, channels, multiplier), and `bias` (channels * multiplier,)."""
        channels = inputs[0][2]
        area = self.size[0] * self.size[1]
        kernel = Parameter(
            (*self.size, channels, self.multiplier),
            self.initializer,
            area,
            area * self.multiplier,
            penalized=True,
        )
        if not self.bias:
            return {"kernel": kernel}
        return {"kernel": kernel, "bias": Parameter((channels * self.multiplier,), "zeros")}

    def flops(self, *inputs: Shape) -> int:
        """Two for each weight at each place, one for each bias."""
        rows, columns, channels = self.output_shape(*inputs)
        return rows * columns * channels * (2 * self.size[0] * self.size[1] + self.bias)

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Sum over the window of input times kernel, plus bias."""
        (x,) = inputs
        padded = pad(x, ((0, 0), *self.pads(x.shape[1:]), (0, 0)))
        stacked = windows(padded, self.size, self.strides)
        n, rows, columns, area, channels = stacked.shape
        kernel = reshape(parameters["kernel"], (area, channels, self.multiplier))
        y = total(reshape(stacked, (n, rows, columns, area, channels, 1)) * kernel, 3)
        y = reshape(y, (n, rows, columns, channels * self.multiplier))
        return y + parameters["bias"] if self.bias else y


@member("conv2d_transpose")
@dataclass(frozen=True)
class Conv2DTranspose(Layer):
    """Transposed convolution: the gradient of a convolution with respect to its input. Pixel (i, j) of the
    input adds its product with the kernel to the output at rows i * strides[0] and on, columns
    j * strides[1] and on; `padding` then crops the edges.

    The kernel is (height, width, filters, channels). `valid` crops nothing: (length - 1) * stride + size.
    `same` crops to length * stride, the odd pixel at the bottom and the right (TensorFlow's SAME).
    """

    filters: int
    size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Literal["valid", "same"] = "valid"
    bias: bool = True
    initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_positive(filters=self.filters)
        spatial.check_window(self.size, self.strides, self.padding)
        if self.padding == "same" and any(k < s for k, s in zip(self.size, self.strides, strict=True)):
            raise SpecError("`same` needs a kernel no smaller than its strides", ("size",))

    def crops(self) -> spatial.Pads:
        """((top, bottom), (left, right)) in pixels."""
        if self.padding == "valid":
            return ((0, 0), (0, 0))
        high, wide = (k - s for k, s in zip(self.size, self.strides, strict=True))
        return ((high // 2, high - high // 2), (wide // 2, wide - wide // 2))

    def output_shape(self, *inputs: Shape) -> Shape:
        """(rows, columns, filters)."""
        check_rank(inputs[0], 3, "an image (height, width, channels)")
        rows, columns = (
            (length - 1) * stride + size - before - after
            for length, stride, size, (before, after) in zip(
                inputs[0], self.strides, self.size, self.crops(), strict=False
            )
        )
        return rows, columns, self.filters

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`kernel` (height, width, filters, channels) and, with `bias`, `bias` (filters,)."""
        channels = inputs[0][2]
        area = self.size[0] * self.size[1]
        kernel = Parameter(
            (*self.size, self.filters, channels),
            self.initializer,
            area * channels,
            area * self.filters,
            penalized=True,
        )
        if not self.bias:
            return {"kernel": kernel}
        return {"kernel": kernel, "bias": Parameter((self.filters,), "zeros")}

    def flops(self, *inputs: Shape) -> int:
        """Two for each weight at each pixel of the input, one for each bias."""
        height, width, channels = inputs[0]
        rows, columns, _ = self.output_shape(*inputs)
        weights = self.size[0] * self.size[1] * channels * self.filters
        return 2 * height * width * weights + rows * columns * self.filters * self.bias

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Every pixel times the kernel, added where it belongs, cropped, plus bias."""
        (x,) = inputs
        n, height, width, channels = x.shape
        area = self.size[0] * self.size[1]
        kernel = transpose(reshape(parameters["kernel"], (area * self.filters, channels)), (1, 0))
        scattered = reshape(x @ kernel, (n, height, width, area, self.filters))
        y = overlap_add(scattered, self.size, self.strides)
        (top, bottom), (left, right) = self.crops()
        y = y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]
        return y + parameters["bias"] if self.bias else y
