"""Layers of sequences and tokens as modules. A sequence travels as in the spec: (batch, time, features)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harness.spec import layers as spec
from harness.worker.protocol import Layout

from .blocks import TimeFirstEmbedding, TimeFirstLinear, channels_first, channels_last
from .layers import Lowered, Native, Place, lower, weighted


class Embedding(nn.Embedding):
    """`nn.Embedding`, its rows times a number."""

    def __init__(self, layer: spec.Embedding) -> None:
        super().__init__(layer.tokens, layer.width)
        self.scale = layer.scale

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(*shape) to (*shape, width)."""
        return super().forward(tokens) * self.scale


class Positions(nn.Module):
    """The first rows of a table added."""

    table: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, width)."""
        table = self.table
        # A view of the whole would still cost a copy in the backward pass.
        return x + (table if len(table) == x.shape[1] else table[: x.shape[1]])


class Learned(Positions):
    """A table that is a parameter."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(places, width))


class Waves(Positions):
    """A table of sines and cosines."""

    def __init__(self, layer: spec.Positions, shape: spec.Shape) -> None:
        super().__init__()
        self.register_buffer("table", torch.from_numpy(layer.waves(shape)), persistent=False)


class Select(nn.Module):
    """One step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, features) to (batch, features)."""
        return x[:, self.step]


class GlobalAvgPool1d(nn.Module):
    """The mean over all steps, or over the first ones."""

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, time, features) to (batch, features)."""
        if lengths is None:
            return x.mean(1)
        real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        return torch.bmm((real.to(x.dtype) / lengths[:, None])[:, None], x)[:, 0]


class Conv1d(nn.Conv2d):
    """`nn.Conv2d` on a sequence as an image of one row, channels last as all images here: `nn.Conv1d` has no
    such memory format.
    """

    def __init__(self, layer: spec.Conv1D, shape: spec.Shape) -> None:
        before, after = layer.pads(shape)
        self.uneven = None if before == after else (before, after)
        padding = 0 if self.uneven else (0, before)
        size, stride = (1, layer.size), (1, layer.stride)
        super().__init__(shape[1], layer.filters, size, stride, padding, bias=layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, steps, filters)."""
        image = _as_row(x)
        if self.uneven:
            image = functional.pad(image, self.uneven)
        return _as_steps(super().forward(image))


class MaxPool1d(nn.MaxPool2d):
    """`nn.MaxPool2d` on a sequence as an image of one row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, steps, channels)."""
        return _as_steps(super().forward(_as_row(x)))


def _as_row(x: torch.Tensor) -> torch.Tensor:
    """(batch, time, channels) as (batch, channels, 1, time): a view."""
    return x.transpose(1, 2).unsqueeze(2)


def _as_steps(image: torch.Tensor) -> torch.Tensor:
    return image.squeeze(2).transpose(1, 2)


@dataclass(frozen=True)
class KernelLayout(Layout):
    """(size, channels, filters) as (filters, channels, 1, size)."""

    axes: tuple[int, ...] | None = (2, 1, 0)

    def to_native(self, tensor: np.ndarray) -> np.ndarray:
        """From the spec's layout."""
        return super().to_native(tensor)[:, :, np.newaxis]

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """Back to the spec's layout."""
        return super().to_canonical(tensor[:, :, 0])


@lower.register
def _(layer: spec.Embedding, place: Place) -> Lowered:
    plain = TimeFirstEmbedding if place.time_first else nn.Embedding
    module = Embedding(layer) if layer.scaled else plain(layer.tokens, layer.width)
    if place.image:
        module.register_forward_pre_hook(lambda _, inputs: channels_last(inputs[0]))
    if len(place.shape) == 2:
        # With its width a grid of tokens is an image.
        module.register_forward_hook(lambda _, __, y: channels_first(y))
    return Lowered(module, {"table": Native("weight")})


@lower.register
def _(layer: spec.Unembedding, place: Place) -> Lowered:
    kind = TimeFirstLinear if place.time_first else nn.Linear
    tied = weighted(kind(place.shape[-1], layer.tokens, bias=False), Layout())
    return Lowered(tied.module, {"table": tied.tensors["kernel"]})


@lower.register
def _(layer: spec.Positions, place: Place) -> Lowered:
    if layer.form == "sinusoidal":
        return Lowered(Waves(layer, place.shape))
    return Lowered(Learned(layer.most or place.shape[0], place.shape[1]), {"table": Native("table")})


@lower.register
def _(layer: spec.Select, place: Place) -> Lowered:
    return Lowered(Select(layer.step))


@lower.register
def _(layer: spec.GlobalAvgPool1D, place: Place) -> Lowered:
    return Lowered(GlobalAvgPool1d())


@lower.register
def _(layer: spec.Conv1D, place: Place) -> Lowered:
    return weighted(Conv1d(layer, place.shape), KernelLayout())


@lower.register
def _(layer: spec.MaxPool1D, place: Place) -> Lowered:
    return Lowered(MaxPool1d((1, layer.size), (1, layer.step)))
