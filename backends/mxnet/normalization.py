"""Batch normalization, and its running statistics followed from call to call."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mxnet.gluon import nn

from harness.spec import layers as spec
from harness.worker.protocol import Layout, Unsupported

from .lowering import Lowered, Place, last_axis, lower


class Normalization(nn.BatchNorm):
    """Batch normalization whose running statistics can be followed from call to call.

    MXNet's own moves them in the backward pass: not at all where nothing is recorded, and of two calls the
    second's first.
    """

    followed: dict[str, tuple[Any, ...]] | None = None
    """While followed: what running mean and variance have become, by the mean's name; nothing before the
    first call. Blocks that share their statistics share this."""

    def hybrid_forward(
        self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any
    ) -> Any:
        """The normalized tensor."""
        if self.followed is None:
            return super().hybrid_forward(F, x, gamma, beta, running_mean, running_var)
        settings = {**self._kwargs, "momentum": 1.0, "output_mean_var": True}
        y, mean, inverse = F.BatchNorm(x, gamma, beta, running_mean, running_var, **settings)
        variance = 1 / F.square(inverse) - self._kwargs["eps"]
        kept = self._kwargs["momentum"]
        before = self.followed.get(self.running_mean.name, (running_mean, running_var))
        self.followed[self.running_mean.name] = tuple(
            old * kept + new * (1 - kept) for old, new in zip(before, (mean, variance), strict=True)
        )
        return y


@contextmanager
def following(blocks: Iterable[Normalization]) -> Iterator[list[Any]]:
    """Within, batch normalizations leave their running statistics alone; at the end the list has what these
    become: mean and variance of each.
    """
    blocks = list(blocks)
    followed: dict[str, tuple[Any, ...]] = {}
    for block in blocks:
        block.followed = followed
    found: list[Any] = []
    yield found
    for block in blocks:
        found.extend(followed.pop(block.running_mean.name, ()))
        block.followed = None


def statistics(blocks: Iterable[Normalization]) -> list[Any]:
    """The parameters whose new values `following` gives."""
    means = {block.running_mean.name: block for block in blocks}
    return [parameter for block in means.values() for parameter in (block.running_mean, block.running_var)]


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
