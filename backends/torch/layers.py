"""Each layer of the spec as a `torch.nn` module.

Images travel as (N, C, H, W) tensors with channels-last memory, which is a view of the spec's (N, H, W, C).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import fx, nn

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.spec.model import Model
from harness.worker.protocol import Layout, Unsupported

Slot = tuple[torch.Tensor, Layout]
"""A native tensor and the way to it from the spec's layout."""


@dataclass(frozen=True)
class Lowered:
    """A module, and where the spec's tensors live in it: name to (attribute, layout)."""

    module: nn.Module
    tensors: dict[str, tuple[str, Layout]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """What a lowering may ask about the layer's place: an example's shape, whether an image comes channels
    last, as the model's inputs do, and the training batch.
    """

    shape: spec.Shape
    channels_last: bool
    batch_size: int


class Graph:
    """A model: a module for each node, by the node's name."""

    def __init__(self, model: Model, batch_size: int) -> None:
        # An image that is only flattened needs no other view of itself.
        self.flattened = {
            name
            for name in model.inputs
            if all(isinstance(node.layer, spec.Flatten) for node in model.nodes if name in node.inputs)
        }
        self.model = model
        self.lowered = {
            node.name: lower(node.layer, Place(incoming[0], node.inputs[0] in self.flattened, batch_size))
            for node, incoming, _ in model.walk()
        }

    def trace(self, inputs: Sequence[fx.Proxy], call_node: Callable[..., fx.Proxy]) -> tuple[fx.Proxy, ...]:
        """The outputs for symbolic inputs, images channels last; `call_node(name, *values)` runs a module."""
        shapes = self.model.shapes()
        given = [
            _channels_first(x) if len(shapes[name]) == 3 and name not in self.flattened else x
            for name, x in zip(self.model.inputs, inputs, strict=True)
        ]
        outputs = self.model.evaluate(given, lambda node, *values: call_node(node.name, *values))
        return tuple(
            _channels_last(y) if len(shapes[name]) == 3 else y
            for name, y in zip(self.model.outputs, outputs, strict=True)
        )

    def slots(self) -> dict[str, Slot]:
        """Every tensor of the model by the name `node/tensor`."""
        return {
            f"{node}/{name}": (getattr(lowered.module, attribute), layout)
            for node, lowered in self.lowered.items()
            for name, (attribute, layout) in lowered.tensors.items()
        }


def _channels_first(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1)


@functools.singledispatch
def lower(layer: spec.Layer, place: Place) -> Lowered:
    """The module for a layer."""
    raise Unsupported(f"the torch backend has no lowering for the layer {name_of(layer)!r}")


@lower.register
def _(layer: spec.Dense, place: Place) -> Lowered:
    module = nn.Linear(place.shape[0], layer.units, bias=layer.bias)
    bias = {"bias": ("bias", Layout())} if layer.bias else {}
    return Lowered(module, {"kernel": ("weight", Layout((1, 0))), **bias})


@lower.register
def _(layer: spec.Conv2D, place: Place) -> Lowered:
    (top, bottom), (left, right) = layer.pads(place.shape)
    symmetric = top == bottom and left == right
    module = nn.Conv2d(
        place.shape[2],
        layer.filters,
        layer.size,
        layer.strides,
        padding=(top, left) if symmetric else 0,
        bias=layer.bias,
    )
    if not symmetric:
        # `padding_mode` takes no uneven padding; a hook keeps the module and its names as they are.
        module.register_forward_pre_hook(
            lambda _, inputs: nn.functional.pad(inputs[0], (left, right, top, bottom))
        )
    bias = {"bias": ("bias", Layout())} if layer.bias else {}
    return Lowered(module, {"kernel": ("weight", Layout((3, 2, 0, 1))), **bias})


@lower.register
def _(layer: spec.MaxPool2D, place: Place) -> Lowered:
    (top, bottom), (left, right) = layer.pads(place.shape)
    pool = nn.MaxPool2d(layer.size, layer.steps)
    if not any((top, bottom, left, right)):
        return Lowered(pool)
    return Lowered(nn.Sequential(nn.ConstantPad2d((left, right, top, bottom), -torch.inf), pool))


@lower.register
def _(layer: spec.AvgPool2D, place: Place) -> Lowered:
    (top, bottom), (left, right) = layer.pads(place.shape)
    if top == bottom and left == right:
        return Lowered(nn.AvgPool2d(layer.size, layer.steps, (top, left), count_include_pad=False))
    return Lowered(_UnevenAvgPool2d(layer, place))


@lower.register
def _(layer: spec.BatchNorm, place: Place) -> Lowered:
    count = place.batch_size * int(np.prod(place.shape[:-1]))
    if count < 2:
        raise Unsupported("torch.nn.BatchNorm: expected more than 1 value per channel when training")
    # torch's running variance is the unbiased one. Where the spec's is biased, the buffer holds it times
    # n / (n - 1), a constant as every batch has the same size, and evaluation divides it out.
    factor = 1.0 if layer.running_variance == "unbiased" else count / (count - 1)
    module = _BatchNorm(layer, place.shape[-1], factor)
    return Lowered(
        module,
        {
            "scale": ("weight", Layout()),
            "shift": ("bias", Layout()),
            "running_mean": ("running_mean", Layout()),
            "running_variance": ("running_var", Layout(factor=factor)),
        },
    )


@lower.register
def _(layer: spec.Dropout, place: Place) -> Lowered:
    return Lowered(nn.Dropout(layer.rate))


@lower.register
def _(layer: spec.Flatten, place: Place) -> Lowered:
    channels_first = len(place.shape) == 3 and not place.channels_last
    return Lowered(_FlattenImage() if channels_first else nn.Flatten())


def _activation(module: Callable[[], nn.Module], layer: spec.Layer, place: Place) -> Lowered:
    return Lowered(module())


for _layer, _module in (
    (spec.ReLU, nn.ReLU),
    (spec.Sigmoid, nn.Sigmoid),
    (spec.Tanh, nn.Tanh),
    (spec.Softmax, lambda: nn.Softmax(dim=-1)),
):
    lower.register(_layer, functools.partial(_activation, _module))


class _FlattenImage(nn.Module):
    """Row-major over (height, width, channels); a view, as the memory is channels last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _channels_last(x).flatten(1)


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """`nn.BatchNorm1d` and `nn.BatchNorm2d` in one; evaluation divides out the factor that the running
    variance carries.
    """

    def __init__(self, layer: spec.BatchNorm, channels: int, variance_factor: float) -> None:
        super().__init__(channels, eps=layer.epsilon, momentum=1 - layer.momentum)
        self.variance_factor = variance_factor

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """The spec has checked the shapes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training or self.variance_factor == 1.0:
            return super().forward(x)
        variance = self.running_var / self.variance_factor
        return nn.functional.batch_norm(
            x, self.running_mean, variance, self.weight, self.bias, False, 0.0, self.eps
        )


class _UnevenAvgPool2d(nn.Module):
    """The mean of real elements under uneven padding, which `nn.AvgPool2d` does not take."""

    def __init__(self, layer: spec.AvgPool2D, place: Place) -> None:
        super().__init__()
        (top, bottom), (left, right) = layer.pads(place.shape)
        self.sum = nn.Sequential(
            nn.ConstantPad2d((left, right, top, bottom), 0.0),
            nn.AvgPool2d(layer.size, layer.steps, divisor_override=1),
        )
        counts = torch.tensor(layer.counts(place.shape)).permute(2, 0, 1)
        self.register_buffer("counts", counts, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sum(x) / self.counts
