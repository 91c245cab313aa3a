"""Each layer of the spec as a Gluon block.

Images travel as (N, C, H, W), the layout of MXNet's kernels on the CPU.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

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
    """What a lowering may ask about the layer's place: the example's shape, and the training batch."""

    shape: spec.Shape
    batch_size: int


class Graph(HybridBlock):
    """A model: an `nn.HybridSequential` where its graph is a chain, the graph itself where it is not."""

    def __init__(self, model: Model, batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.tensors: dict[str, Slot] = {}
        self.places: dict[str, int] = {}
        self.nodes = nn.HybridSequential()
        for index, (node, incoming, _) in enumerate(model.walk()):
            lowered = lower(node.layer, Place(incoming[0], batch_size))
            self.nodes.add(lowered.block)
            self.places[node.name] = index
            self.tensors.update((f"{node.name}/{name}", slot) for name, slot in lowered.tensors.items())

    def hybrid_forward(self, F: Any, *inputs: Any) -> tuple[Any, ...]:
        """The outputs; images are channels first on both sides."""
        if self.model.is_chain():
            return (self.nodes(*inputs),)
        return self.model.evaluate(inputs, lambda node, *values: self.nodes[self.places[node.name]](*values))

    def slots(self) -> dict[str, Slot]:
        """Every tensor of the model by the name `node/tensor`."""
        return self.tensors


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
def _(layer: spec.BatchNorm, place: Place) -> Lowered:
    channels = place.shape[-1]
    block = nn.BatchNorm(momentum=layer.momentum, epsilon=layer.epsilon, in_channels=channels)
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
def _(layer: spec.Flatten, place: Place) -> Lowered:
    if len(place.shape) < 3 or place.shape[2] == 1 or place.shape[:2] == (1, 1):
        return Lowered(nn.Flatten())
    return Lowered(nn.HybridLambda(lambda F, x: F.flatten(F.transpose(x, axes=(0, 2, 3, 1)))))


@lower.register
def _(layer: spec.Softmax, place: Place) -> Lowered:
    axis = 1 if len(place.shape) == 3 else -1
    return Lowered(nn.HybridLambda(lambda F, x: F.softmax(x, axis=axis)))


def _activation(kind: str, layer: spec.Layer, place: Place) -> Lowered:
    return Lowered(nn.Activation(kind))


for _layer, _kind in ((spec.ReLU, "relu"), (spec.Sigmoid, "sigmoid"), (spec.Tanh, "tanh")):
    lower.register(_layer, functools.partial(_activation, _kind))


def _bias(layer: spec.Dense | spec.Conv2D, block: Any) -> dict[str, Slot]:
    return {"bias": (block.bias, Layout())} if layer.bias else {}


def _even(pads: Pads) -> bool:
    return all(before == after for before, after in pads)


def _before(pads: Pads) -> tuple[int, int]:
    return pads[0][0], pads[1][0]


def _padding(pads: Pads, fill: float) -> Any:
    """Uneven padding as a block of its own: MXNet's convolution and pooling take one width a side."""
    width = (0, 0, 0, 0, *pads[0], *pads[1])
    return nn.HybridLambda(lambda F, x: F.pad(x, mode="constant", pad_width=width, constant_value=fill))


def _after(first: Any, second: Any) -> Any:
    chain = nn.HybridSequential()
    chain.add(first, second)
    return chain


class _Recount(HybridBlock):
    """Means over whole windows turned into means over their real elements."""

    def __init__(self, layer: spec.AvgPool2D, place: Place) -> None:
        super().__init__()
        ratio = (math.prod(layer.size) / layer.counts(place.shape)).transpose(2, 0, 1)
        self.ratio = self.params.get_constant("ratio", nd.array(ratio[None], dtype="float64"))

    def hybrid_forward(self, F: Any, x: Any, ratio: Any) -> Any:
        return F.broadcast_mul(x, ratio)
