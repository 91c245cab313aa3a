"""Each layer of the spec as a `torch.nn` module.

Images travel as (N, C, H, W) tensors with channels-last memory, which is a view of the spec's (N, H, W, C);
all else as in the spec. Layers of sequences are in `sequences.py`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.worker.protocol import Layout, Unsupported

from . import blocks


@dataclass(frozen=True)
class Native:
    """Where a tensor of the spec lives in a module: in an attribute, which may be that of a module in it
    (`net.weight`), or, where that holds several of them, in some of its rows (begin, end).
    """

    attribute: str
    layout: Layout = field(default_factory=Layout)
    rows: tuple[int, int] | None = None

    def get(self, module: nn.Module) -> torch.Tensor:
        """The attribute."""
        return operator.attrgetter(self.attribute)(module)

    def set(self, module: nn.Module, tensor: torch.Tensor) -> None:
        """Put another tensor there."""
        path, _, name = self.attribute.rpartition(".")
        setattr(module.get_submodule(path), name, tensor)

    def part(self, whole: Any) -> Any:
        """The tensor's part of the attribute, or of its gradient: a view, or a symbol for one."""
        return whole if self.rows is None else whole[slice(*self.rows)]


@dataclass(frozen=True)
class Lowered:
    """A module, and where the spec's tensors live in it."""

    module: nn.Module
    tensors: dict[str, Native] = field(default_factory=dict)


Called = tuple[spec.Layer, tuple[spec.Shape, ...]]
"""A layer and the example shapes of its inputs."""


@dataclass(frozen=True)
class Place:
    """What a lowering may ask about the layer's place: its inputs' example shapes, whether an image comes
    channels last, as the model's inputs do, the training batch, the layers that it shares tensors with,
    what is wanted of it beside its output (`Layer.further`), and whether the sequence that it gives is best
    laid out with its time first, as a view (batch, time, features) of that (`harness.spec.time_first`).
    """

    shapes: tuple[spec.Shape, ...]
    channels_last: bool
    batch_size: int
    kin: tuple[Called, ...] = ()
    wanted: frozenset[str] = frozenset()
    time_first: bool = False

    @property
    def shape(self) -> spec.Shape:
        """The first input's."""
        return self.shapes[0]

    @property
    def image(self) -> bool:
        """Whether the input comes as (N, C, H, W)."""
        return len(self.shape) == 3 and not self.channels_last

    @property
    def last_axis(self) -> int:
        """The native axis that the spec's last one is."""
        return 1 if self.image else -1


@dataclass(frozen=True)
class DepthwiseLayout(Layout):
    """(height, width, channels, multiplier) as (channels * multiplier, 1, height, width)."""

    axes: tuple[int, ...] | None = (2, 3, 0, 1)
    multiplier: int = 1

    def to_native(self, tensor: np.ndarray) -> np.ndarray:
        """From the spec's layout."""
        return super().to_native(tensor).reshape(-1, 1, *tensor.shape[:2])

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """Back to the spec's layout."""
        return super().to_canonical(tensor.reshape(-1, self.multiplier, *tensor.shape[2:]))


@functools.singledispatch
def lower(layer: spec.Layer, place: Place) -> Lowered:
    """The module for a layer."""
    raise Unsupported(f"the torch backend has no lowering for the layer {name_of(layer)!r}")


@lower.register
def _(layer: spec.Dense, place: Place) -> Lowered:
    kind = blocks.TimeFirstLinear if place.time_first else nn.Linear
    return weighted(kind(place.shape[-1], layer.units, bias=layer.bias), Layout((1, 0)))


@lower.register
def _(layer: spec.Conv2D, place: Place) -> Lowered:
    return weighted(_convolution(layer, place, layer.filters), Layout((3, 2, 0, 1)))


@lower.register
def _(layer: spec.DepthwiseConv2D, place: Place) -> Lowered:
    channels = place.shape[2]
    module = _convolution(layer, place, channels * layer.multiplier, groups=channels)
    return weighted(module, DepthwiseLayout(multiplier=layer.multiplier))


@lower.register
def _(layer: spec.Conv2DTranspose, place: Place) -> Lowered:
    (top, bottom), (left, right) = layer.crops()
    module = nn.ConvTranspose2d(
        place.shape[2], layer.filters, layer.size, layer.strides, padding=(top, left), bias=layer.bias
    )
    if (top, left) != (bottom, right):
        # `padding` crops both sides alike; negative padding cuts off the odd pixel, faster than slices do.
        module.register_forward_hook(
            lambda _, __, y: nn.functional.pad(y, (0, left - right, 0, top - bottom))
        )
    return weighted(module, Layout((3, 2, 0, 1)))


def _convolution(
    layer: spec.Conv2D | spec.DepthwiseConv2D, place: Place, filters: int, groups: int = 1
) -> nn.Module:
    (top, bottom), (left, right) = layer.pads(place.shape)
    symmetric = top == bottom and left == right
    module = nn.Conv2d(
        place.shape[2],
        filters,
        layer.size,
        layer.strides,
        padding=(top, left) if symmetric else 0,
        groups=groups,
        bias=layer.bias,
    )
    if not symmetric:
        # `padding_mode` takes no uneven padding; a hook keeps the module and its names as they are.
        module.register_forward_pre_hook(
            lambda _, inputs: nn.functional.pad(inputs[0], (left, right, top, bottom))
        )
    return module


def weighted(module: nn.Module, kernel: Layout) -> Lowered:
    """A module of torch's with a `weight` and perhaps a `bias`."""
    bias = {} if module.bias is None else {"bias": Native("bias")}
    return Lowered(module, {"kernel": Native("weight", kernel), **bias})


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
    return Lowered(blocks.UnevenAvgPool2d(layer, place.shape))


@lower.register
def _(layer: spec.BatchNorm, place: Place) -> Lowered:
    count = place.batch_size * int(np.prod(place.shape[:-1]))
    if count < 2:
        raise Unsupported("torch.nn.BatchNorm: expected more than 1 value per channel when training")
    # torch's running variance is the unbiased one. Where the spec's is biased, the buffer holds it times
    # n / (n - 1), a constant as every batch has the same size, and evaluation divides it out.
    factor = 1.0 if layer.running_variance == "unbiased" else count / (count - 1)
    module = blocks.BatchNorm(layer, place.shape[-1], factor)
    if len(place.shape) > 1 and not place.image:
        # torch's channels are axis 1: all that comes before them is one batch.
        module.register_forward_pre_hook(lambda _, inputs: inputs[0].flatten(0, -2))
        module.register_forward_hook(lambda _, __, y: y.view(-1, *place.shape))
    return Lowered(
        module,
        {
            "scale": Native("weight"),
            "shift": Native("bias"),
            "running_mean": Native("running_mean"),
            "running_variance": Native("running_var", Layout(factor=factor)),
        },
    )


@lower.register
def _(layer: spec.LayerNorm, place: Place) -> Lowered:
    kind = blocks.LayerNormImage if place.image else nn.LayerNorm
    module = kind(place.shape[-1], eps=layer.epsilon)
    return Lowered(module, {"scale": Native("weight"), "shift": Native("bias")})


@lower.register
def _(layer: spec.Dropout, place: Place) -> Lowered:
    return Lowered(nn.Dropout(layer.rate))


@lower.register
def _(layer: spec.Flatten, place: Place) -> Lowered:
    return Lowered(blocks.FlattenImage() if place.image else nn.Flatten())


@lower.register
def _(layer: spec.Reshape, place: Place) -> Lowered:
    return Lowered(blocks.Reshape(layer.shape, place.image))


@lower.register
def _(layer: spec.Upsample2D, place: Place) -> Lowered:
    return Lowered(nn.Upsample(scale_factor=layer.size, mode="nearest"))


@lower.register
def _(layer: spec.Concatenate, place: Place) -> Lowered:
    return Lowered(blocks.Concatenate(place.last_axis))


@lower.register
def _(layer: spec.Softmax, place: Place) -> Lowered:
    return Lowered(nn.Softmax(place.last_axis))


@lower.register
def _(layer: spec.LeakyReLU, place: Place) -> Lowered:
    return Lowered(nn.LeakyReLU(layer.slope))


@lower.register
def _(layer: spec.GELU, place: Place) -> Lowered:
    return Lowered(nn.GELU("tanh" if layer.form == "tanh" else "none"))


def _plain(module: Callable[[], nn.Module], layer: spec.Layer, place: Place) -> Lowered:
    return Lowered(module())


for _layer, _module in (
    (spec.ReLU, nn.ReLU),
    (spec.Sigmoid, nn.Sigmoid),
    (spec.Tanh, nn.Tanh),
    (spec.GlobalAvgPool2D, blocks.GlobalAvgPool2d),
    (spec.Add, blocks.Add),
):
    lower.register(_layer, functools.partial(_plain, _module))
