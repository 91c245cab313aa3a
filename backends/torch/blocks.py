"""Modules that `torch.nn` lacks, or has for another order of axes.

Images come and go as (N, C, H, W); their memory is channels last, so that (N, H, W, C) is a view of it.
"""

from __future__ import annotations

import torch
from torch import nn

from harness.spec import layers as spec


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """(N, H, W, C) as (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) as (N, H, W, C)."""
    return x.permute(0, 2, 3, 1)


class TimeFirst:
    """Before a module that treats each step of (batch, time, *shape) alone: the result's memory has its time
    first, as torch's recurrent layers read and give their sequences. Where it lies so already nothing is
    copied.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The module's own, on (time, batch, *shape)."""
        y: torch.Tensor = super().forward(x.transpose(0, 1))  # type: ignore[misc]
        return y.transpose(0, 1)


class TimeFirstLinear(TimeFirst, nn.Linear):
    """`nn.Linear`. On a sequence whose memory is not in order it would copy it."""


class TimeFirstEmbedding(TimeFirst, nn.Embedding):
    """`nn.Embedding`: it is the tokens that are turned."""


class FlattenImage(nn.Module):
    """Row-major over (height, width, channels)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, H * W * C)."""
        return channels_last(x).flatten(1)


class Reshape(nn.Module):
    """Row-major over the spec's axes, whichever of both sides is an image; `image` tells of the input."""

    def __init__(self, shape: spec.Shape, image: bool) -> None:
        super().__init__()
        self.shape = shape
        self.image = image

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reshape each example."""
        y = (channels_last(x) if self.image else x).reshape(-1, *self.shape)
        return channels_first(y) if len(self.shape) == 3 else y


class Add(nn.Module):
    """The sum of two or more tensors."""

    def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """From the left."""
        for other in others:
            first = first + other
        return first


class Concatenate(nn.Module):
    """Two or more tensors joined along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """In their order."""
        return torch.cat(inputs, self.axis)


class GlobalAvgPool2d(nn.Module):
    """The mean over all pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C)."""
        return x.mean((2, 3))


class LayerNormImage(nn.LayerNorm):
    """`nn.LayerNorm` over an image's channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each pixel normalized."""
        return channels_first(super().forward(channels_last(x)))


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """`nn.BatchNorm1d` and `nn.BatchNorm2d` in one; evaluation divides out the factor that the running
    variance carries.
    """

    def __init__(self, layer: spec.BatchNorm, channels: int, variance_factor: float) -> None:
        super().__init__(channels, eps=layer.epsilon, momentum=1 - layer.momentum)
        self.variance_factor = variance_factor

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """The spec has checked the shapes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Over axis 1."""
        if self.training or self.variance_factor == 1.0:
            return super().forward(x)
        variance = self.running_var / self.variance_factor
        return nn.functional.batch_norm(
            x, self.running_mean, variance, self.weight, self.bias, False, 0.0, self.eps
        )


class UnevenAvgPool2d(nn.Module):
    """The mean of real elements under uneven padding, which `nn.AvgPool2d` does not take."""

    def __init__(self, layer: spec.AvgPool2D, shape: spec.Shape) -> None:
        super().__init__()
        (top, bottom), (left, right) = layer.pads(shape)
        self.sum = nn.Sequential(
            nn.ConstantPad2d((left, right, top, bottom), 0.0),
            nn.AvgPool2d(layer.size, layer.steps, divisor_override=1),
        )
        counts = torch.tensor(layer.counts(shape)).permute(2, 0, 1)
        self.register_buffer("counts", counts, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum over count."""
        return self.sum(x) / self.counts
