"""Layers of vectors and images, and those of any tensor, as Gluon blocks."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock, nn

from harness.spec import layers as spec
from harness.spec.layers.spatial import Pads
from harness.worker.protocol import Layout

from .lowering import Lowered, Place, Slot, after, last_axis, lower, pixels_first, pixels_last, turned


@dataclass(frozen=True)
class DepthwiseLayout(Layout):
    """(height, width, channels, multiplier) as (channels * multiplier, 1, height, width)."""

    multiplier: int = 1

    def to_native(self, tensor: np.ndarray) -> np.ndarray:
        """From the spec's layout."""
        height, width, _, _ = tensor.shape
        return np.ascontiguousarray(tensor.transpose(2, 3, 0, 1).reshape(-1, 1, height, width))

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """Back to the spec's layout."""
        _, _, height, width = tensor.shape
        split = tensor.reshape(-1, self.multiplier, height, width)
        return np.ascontiguousarray(split.transpose(2, 3, 0, 1))


@dataclass(frozen=True)
class ZeroBeside(Layout):
    """A native tensor with zeros behind the only element of its `axis`."""

    axis: int = 0

    def to_native(self, tensor: np.ndarray) -> np.ndarray:
        """From the spec's layout."""
        native = super().to_native(tensor)
        return np.concatenate([native, np.zeros_like(native)], self.axis)

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """Back to the spec's layout."""
        return super().to_canonical(np.take(tensor, [0], self.axis))


@lower.register
def _(layer: spec.Dense, place: Place) -> Lowered:
    # Of a sequence each step alone.
    flatten = len(place.shape) == 1
    block = nn.Dense(layer.units, use_bias=layer.bias, flatten=flatten, in_units=place.shape[-1])
    return Lowered(block, {"kernel": (block.weight, Layout((1, 0))), **_bias(layer, block)})


@lower.register
def _(layer: spec.Conv2D, place: Place) -> Lowered:
    pads = layer.pads(place.shape)
    block = nn.Conv2D(
        layer.filters,
        layer.size,
        layer.strides,
        padding=_before(pads) if _even(pads) else 0,
        use_bias=layer.bias,
        in_channels=place.shape[2],
    )
    tensors = {"kernel": (block.weight, Layout((3, 2, 0, 1))), **_bias(layer, block)}
    return Lowered(block if _even(pads) else after(_padding(pads, 0.0), block), tensors)


@lower.register
def _(layer: spec.DepthwiseConv2D, place: Place) -> Lowered:
    pads = layer.pads(place.shape)
    block = nn.Conv2D(
        place.shape[2] * layer.multiplier,
        layer.size,
        layer.strides,
        padding=_before(pads) if _even(pads) else 0,
        groups=place.shape[2],
        use_bias=layer.bias,
        in_channels=place.shape[2],
    )
    layout = DepthwiseLayout(multiplier=layer.multiplier)
    tensors = {"kernel": (block.weight, layout), **_bias(layer, block)}
    return Lowered(block if _even(pads) else after(_padding(pads, 0.0), block), tensors)


@lower.register
def _(layer: spec.Conv2DTranspose, place: Place) -> Lowered:
    crops = layer.crops()
    # oneDNN's gradient of a single filter fails where the channels are a multiple of its block: "could not
    # create a primitive descriptor for a reorder primitive". Beside a second, zero and dropped, it does not.
    filters = max(layer.filters, 2)
    block = nn.Conv2DTranspose(
        filters,
        layer.size,
        layer.strides,
        padding=_before(crops),
        use_bias=layer.bias,
        in_channels=place.shape[2],
    )
    tensors = {"kernel": (block.weight, Layout((3, 2, 0, 1))), **_bias(layer, block)}
    if filters != layer.filters:
        tensors["kernel"] = (block.weight, ZeroBeside((3, 2, 0, 1), axis=1))
        if layer.bias:
            tensors["bias"] = (block.bias, ZeroBeside())
    if filters == layer.filters and _even(crops):
        return Lowered(block, tensors)
    return Lowered(after(block, _cut((layer.filters, *layer.output_shape(place.shape)[:2]))), tensors)


@lower.register
def _(layer: spec.MaxPool2D, place: Place) -> Lowered:
    pads = layer.pads(place.shape)
    if _even(pads):
        return Lowered(nn.MaxPool2D(layer.size, layer.steps, _before(pads)))
    return Lowered(after(_padding(pads, -math.inf), nn.MaxPool2D(layer.size, layer.steps)))


@lower.register
def _(layer: spec.AvgPool2D, place: Place) -> Lowered:
    pads = layer.pads(place.shape)
    if _even(pads):
        return Lowered(nn.AvgPool2D(layer.size, layer.steps, _before(pads), count_include_pad=False))
    pool = after(_padding(pads, 0.0), nn.AvgPool2D(layer.size, layer.steps))
    return Lowered(after(pool, _Recount(layer, place)))


@lower.register
def _(layer: spec.GlobalAvgPool2D, place: Place) -> Lowered:
    return Lowered(after(nn.GlobalAvgPool2D(), nn.Flatten()))


@lower.register
def _(layer: spec.Dropout, place: Place) -> Lowered:
    return Lowered(nn.Dropout(layer.rate))


@lower.register
def _(layer: spec.LayerNorm, place: Place) -> Lowered:
    block = nn.LayerNorm(epsilon=layer.epsilon, in_channels=place.shape[-1])
    tensors = {"scale": (block.gamma, Layout()), "shift": (block.beta, Layout())}
    if len(place.shape) < 3:
        return Lowered(block, tensors)
    # MXNet's kernel for any other axis than the last takes longer than turning there and back.
    there, back = turned(pixels_first, place.shape), turned(pixels_last, place.shape)
    return Lowered(after(there, block, back), tensors)


@lower.register
def _(layer: spec.Flatten, place: Place) -> Lowered:
    if _in_order(place.shape):
        return Lowered(nn.Flatten())
    return Lowered(after(turned(pixels_first, place.shape), nn.Flatten()))


@lower.register
def _(layer: spec.Reshape, place: Place) -> Lowered:
    blocks = [] if _in_order(place.shape) else [turned(pixels_first, place.shape)]
    if _in_order(layer.shape):
        native = tuple((0, *layer.shape)[axis] for axis in pixels_last(len(layer.shape)))
        blocks.append(nn.HybridLambda(lambda F, x: F.reshape(x, shape=native)))
    else:
        blocks.append(nn.HybridLambda(lambda F, x: F.reshape(x, shape=(0, *layer.shape))))
        blocks.append(turned(pixels_last, layer.shape))
    return Lowered(after(*blocks))


@lower.register
def _(layer: spec.Upsample2D, place: Place) -> Lowered:
    rows, columns = layer.size
    if rows == columns:
        return Lowered(nn.HybridLambda(lambda F, x: F.UpSampling(x, scale=rows, sample_type="nearest")))
    return Lowered(nn.HybridLambda(lambda F, x: F.repeat(F.repeat(x, rows, axis=2), columns, axis=3)))


@lower.register
def _(layer: spec.Add, place: Place) -> Lowered:
    return Lowered(nn.HybridLambda(lambda F, *inputs: F.add_n(*inputs)))


@lower.register
def _(layer: spec.Concatenate, place: Place) -> Lowered:
    axis = last_axis(place.shape)
    return Lowered(nn.HybridLambda(lambda F, *inputs: F.concat(*inputs, dim=axis)))


@lower.register
def _(layer: spec.Softmax, place: Place) -> Lowered:
    axis = last_axis(place.shape)
    return Lowered(nn.HybridLambda(lambda F, x: F.softmax(x, axis=axis)))


@lower.register
def _(layer: spec.LeakyReLU, place: Place) -> Lowered:
    return Lowered(nn.LeakyReLU(layer.slope))


@lower.register
def _(layer: spec.GELU, place: Place) -> Lowered:
    return Lowered(nn.GELU() if layer.form == "exact" else nn.HybridLambda(_tanh_gelu))


def _tanh_gelu(F: Any, x: Any) -> Any:
    """(1 + tanh(u)) / 2 is sigmoid(2 u)."""
    twice = math.sqrt(8 / math.pi)
    return x * F.Activation(x * (F.square(x) * (0.044715 * twice) + twice), act_type="sigmoid")


def _activation(kind: str, layer: spec.Layer, place: Place) -> Lowered:
    return Lowered(nn.Activation(kind))


for _layer, _kind in ((spec.ReLU, "relu"), (spec.Sigmoid, "sigmoid"), (spec.Tanh, "tanh")):
    lower.register(_layer, functools.partial(_activation, _kind))


def _bias(
    layer: spec.Dense | spec.Conv2D | spec.DepthwiseConv2D | spec.Conv2DTranspose, block: Any
) -> dict[str, Slot]:
    return {"bias": (block.bias, Layout())} if layer.bias else {}


def _even(pads: Pads) -> bool:
    return all(before == after for before, after in pads)


def _before(pads: Pads) -> tuple[int, int]:
    return pads[0][0], pads[1][0]


def _padding(pads: Pads, fill: float) -> Any:
    """Uneven padding as a block of its own: MXNet's convolution and pooling take one width a side."""
    width = (0, 0, 0, 0, *pads[0], *pads[1])
    return nn.HybridLambda(lambda F, x: F.pad(x, mode="constant", pad_width=width, constant_value=fill))


def _cut(shape: spec.Shape) -> Any:
    """The first (channels, height, width) of an image: MXNet crops one width a side."""
    begin, end = (None, 0, 0, 0), (None, *shape)
    return nn.HybridLambda(lambda F, x: F.slice(x, begin=begin, end=end))


def _in_order(shape: spec.Shape) -> bool:
    """Whether an example's numbers are in the spec's order as they travel."""
    return len(shape) < 3 or math.prod(shape[:2]) == 1 or math.prod(shape[2:]) == 1


class _Recount(HybridBlock):
    """Means over whole windows turned into means over their real elements."""

    def __init__(self, layer: spec.AvgPool2D, place: Place) -> None:
        super().__init__()
        ratio = (math.prod(layer.size) / layer.counts(place.shape)).transpose(2, 0, 1)
        self.ratio = self.params.get_constant("ratio", nd.array(ratio[None], dtype="float64"))

    def hybrid_forward(self, F: Any, x: Any, ratio: Any) -> Any:
        return F.broadcast_mul(x, ratio)
