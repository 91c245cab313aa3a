"""What every lowering needs: how a layer becomes a block, where its tensors are, and how tensors travel.

Images travel as (N, C, H, W), the layout of MXNet's kernels on the CPU: of a tensor whose example has three
axes or more, the first two come last. Sequences travel as they are, (N, T, C).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mxnet.gluon import nn

from harness.spec import layers as spec
from harness.spec.codec import name_of
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
    """What a lowering may ask about the layer's place: the examples' shapes that come in, the training batch,
    and which of the layer's further outputs are used.
    """

    shapes: tuple[spec.Shape, ...]
    batch_size: int
    used: frozenset[str] = frozenset()

    @property
    def shape(self) -> spec.Shape:
        """The shape of the first input."""
        return self.shapes[0]


@functools.singledispatch
def lower(layer: spec.Layer, place: Place) -> Lowered:
    """The block for a layer."""
    raise Unsupported(f"the mxnet backend has no lowering for the layer {name_of(layer)!r}")


def pixels_last(rank: int) -> tuple[int, ...]:
    """The order in which the axes of (batch, *example) travel, for an example of `rank` axes."""
    return (0, *range(3, rank + 1), 1, 2) if rank >= 3 else tuple(range(rank + 1))


def pixels_first(rank: int) -> tuple[int, ...]:
    """The way back from `pixels_last`."""
    return tuple(int(axis) for axis in np.argsort(pixels_last(rank)))


def last_axis(shape: spec.Shape) -> int:
    """Which axis of the tensor that travels is the last one of an example of `shape`."""
    return pixels_last(len(shape)).index(len(shape))


def turned(order: Callable[[int], tuple[int, ...]], shape: spec.Shape) -> Any:
    """The axes of an example of `shape` in another order, as a block."""
    axes = order(len(shape))
    return nn.HybridLambda(lambda F, x: F.transpose(x, axes=axes))


def after(*blocks: Any) -> Any:
    """Blocks one after the other."""
    chain = nn.HybridSequential()
    chain.add(*blocks)
    return chain


def tie(block: Any, own: Any, shared: Any) -> None:
    """Put `shared` in the place of the parameter `own` of a block.

    Gluon's own way, `params=` at construction, shares by name: between layers of one kind.
    """
    for part in _with_children(block):
        for attribute, parameter in part._reg_params.items():
            if parameter is own:
                part._reg_params[attribute] = part.__dict__[attribute] = shared
        if part.params._params.pop(own.name, None) is not None:
            part.params._params[shared.name] = shared


def _with_children(block: Any) -> Iterator[Any]:
    yield block
    for child in block._children.values():
        yield from _with_children(child)
