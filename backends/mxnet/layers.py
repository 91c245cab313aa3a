"""Each layer of the spec as a Gluon block.

Images travel as (N, C, H, W), the layout of MXNet's kernels on the CPU: of a tensor whose example has three
axes or more, the first two come last.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock, nn

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.spec.layers.spatial import Pads
from harness.spec.model import Model
from harness.worker.protocol import Layout, Unsupported

Slot = tuple[Any, Layout]
"""A Gluon parameter and the way to it from the spec's layout."""


@dataclass(frozen=True)
class Lowered:
    """A block, and where the spec's tensors live: name to (parameter, layout)."""

    block: Any
    tensors: dict[str, Slot] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """What a lowering may ask about the layer's place: the example's shape, of several inputs the first's,
    and the training batch.
    """

    shape: spec.Shape
    batch_size: int


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


def pixels_last(rank: int) -> tuple[int, ...]:
    """The order in which the axes of (batch, *example) travel, for an example of `rank` axes."""
    return (0, *range(3, rank + 1), 1, 2) if rank >= 3 else tuple(range(rank + 1))


def pixels_first(rank: int) -> tuple[int, ...]:
    """The way back from `pixels_last`."""
    return tuple(int(axis) for axis in np.argsort(pixels_last(rank)))


def last_axis(shape: spec.Shape) -> int:
    """Which axis of the tensor that travels is the last one of an example of `shape`."""
    return pixels_last(len(shape)).index(len(shape))


class Graph(HybridBlock):
    """A model: an `nn.HybridSequential` where its graph is a chain, the graph itself where it is not."""

    def __init__(self, model: Model, batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.tensors: dict[str, Slot] = {}
        self.chain = nn.HybridSequential() if model.is_chain() else None
        for node, incoming, _ in model.walk():
            lowered = lower(node.layer, Place(incoming[0], batch_size))
            if self.chain is not None:
                self.chain.add(lowered.block)
            else:
                self.register_child(lowered.block, node.name)
            self.tensors.update((f"{node.name}/{name}", slot) for name, slot in lowered.tensors.items())

    def hybrid_forward(self, F: Any, *inputs: Any) -> tuple[Any, ...]:
        """The outputs; images are channels first on both sides."""
        if self.chain is not None:
            return (self.chain(*inputs),)
        return self.model.evaluate(inputs, lambda node, *values: self._children[node.name](*values))

    def slots(self) -> dict[str, Slot]:
        """Every tensor of the model by the name `node/tensor`."""
        return self.tensors

    def normalizations(self) -> list[Normalization]:
        """Its batch normalizations."""
        nodes = self if self.chain is None else self.chain
        return [block for block in nodes._children.values() if isinstance(block, Normalization)]


@functools.singledispatch
def lower(layer: spec.Layer, place: Place) -> Lowered:
    """The block for a layer."""
    raise Unsupported(f"the mxnet backend has no lowering for the layer {name_of(layer)!r}")


@lower.register
def _(layer: spec.Dense, place: Place) -> Lowered:
    block = nn.Dense(layer.units, use_bias=layer.bias, in_units=place.shape[0])
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
    return Lowered(block if _even(pads) else _after(_padding(pads, 0.0), block), tensors)


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
    return Lowered(block if _even(pads) else _after(_padding(pads, 0.0), block), tensors)


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
    return Lowered(_after(block, _cut((layer.filters, *layer.output_shape(place.shape)[:2]))), tensors)


@lower.register
def _(layer: spec.MaxPool2D, place: Place) -> Lowered:
    pads = layer.pads(place.shape)
    if _even(pads):
        return Lowered(nn.MaxPool2D(layer.size, layer.steps, _before(pads)))
    return Lowered(_after(_padding(pads, -math.inf), nn.MaxPool2D(layer.size, layer.steps)))


@lower.register
def _(layer: spec.AvgPool2D, place: Place) -> Lowered:
    pads = layer.pads(place.shape)
    if _even(pads):
        return Lowered(nn.AvgPool2D(layer.size, layer.steps, _before(pads), count_include_pad=False))
    pool = _after(_padding(pads, 0.0), nn.AvgPool2D(layer.size, layer.steps))
    return Lowered(_after(pool, _Recount(layer, place)))


@lower.register
def _(layer: spec.GlobalAvgPool2D, place: Place) -> Lowered:
    return Lowered(_after(nn.GlobalAvgPool2D(), nn.Flatten()))


@lower.register
def _(layer: spec.BatchNorm, place: Place) -> Lowered:
    block = Normalization(
        axis=last_axis(place.shape),
        momentum=layer.momentum,
        epsilon=layer.epsilon,
        in_channels=place.shape[-1],
    )
    # MXNet's running variance is the biased one. Where the spec's is not, the parameter holds it over
    # n / (n - 1), a constant as every batch has the same size, and evaluation multiplies by it.
    count = place.batch_size * math.prod(place.shape[:-1])
    if count < 2 and layer.running_variance == "unbiased":
        raise Unsupported("the unbiased running variance needs more than 1 value per channel when training")
    return Lowered(
        block,
        {
            "scale": (block.gamma, Layout()),
            "shift": (block.beta, Layout()),
            "running_mean": (block.running_mean, Layout()),
            "running_variance": (block.running_var, Layout(factor=1 / layer.variance_factor(count))),
        },
    )


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
    turned = _after(_turned(pixels_first, place.shape), block, _turned(pixels_last, place.shape))
    return Lowered(turned, tensors)


@lower.register
def _(layer: spec.Flatten, place: Place) -> Lowered:
    if _in_order(place.shape):
        return Lowered(nn.Flatten())
    return Lowered(_after(_turned(pixels_first, place.shape), nn.Flatten()))


@lower.register
def _(layer: spec.Reshape, place: Place) -> Lowered:
    blocks = [] if _in_order(place.shape) else [_turned(pixels_first, place.shape)]
    if _in_order(layer.shape):
        native = tuple((0, *layer.shape)[axis] for axis in pixels_last(len(layer.shape)))
        blocks.append(nn.HybridLambda(lambda F, x: F.reshape(x, shape=native)))
    else:
        blocks.append(nn.HybridLambda(lambda F, x: F.reshape(x, shape=(0, *layer.shape))))
        blocks.append(_turned(pixels_last, layer.shape))
    return Lowered(_after(*blocks))


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


def _turned(order: Callable[[int], tuple[int, ...]], shape: spec.Shape) -> Any:
    axes = order(len(shape))
    return nn.HybridLambda(lambda F, x: F.transpose(x, axes=axes))


def _after(*blocks: Any) -> Any:
    chain = nn.HybridSequential()
    chain.add(*blocks)
    return chain


class Normalization(nn.BatchNorm):
    """Batch normalization whose running statistics can be followed from call to call.

    MXNet's own moves them in the backward pass: not at all where nothing is recorded, and of two calls the
    second's first.
    """

    statistics: tuple[Any, ...] | None = None
    """While followed: what running mean and variance have become, nothing before the first call."""

    def hybrid_forward(
        self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any
    ) -> Any:
        """The normalized tensor."""
        if self.statistics is None:
            return super().hybrid_forward(F, x, gamma, beta, running_mean, running_var)
        settings = {**self._kwargs, "momentum": 1.0, "output_mean_var": True}
        y, mean, inverse = F.BatchNorm(x, gamma, beta, running_mean, running_var, **settings)
        variance = 1 / F.square(inverse) - self._kwargs["eps"]
        kept = self._kwargs["momentum"]
        before = self.statistics or (running_mean, running_var)
        self.statistics = tuple(
            old * kept + new * (1 - kept) for old, new in zip(before, (mean, variance), strict=True)
        )
        return y


@contextmanager
def following(graphs: Iterable[Graph]) -> Iterator[list[Any]]:
    """Within, batch normalizations leave their running statistics alone; at the end the list has what these
    become: mean and variance of each.
    """
    blocks = [block for graph in graphs for block in graph.normalizations()]
    for block in blocks:
        block.statistics = ()
    found: list[Any] = []
    yield found
    for block in blocks:
        found.extend(block.statistics or ())
        block.statistics = None


class _Recount(HybridBlock):
    """Means over whole windows turned into means over their real elements."""

    def __init__(self, layer: spec.AvgPool2D, place: Place) -> None:
        super().__init__()
        ratio = (math.prod(layer.size) / layer.counts(place.shape)).transpose(2, 0, 1)
        self.ratio = self.params.get_constant("ratio", nd.array(ratio[None], dtype="float64"))

    def hybrid_forward(self, F: Any, x: Any, ratio: Any) -> Any:
        return F.broadcast_mul(x, ratio)
