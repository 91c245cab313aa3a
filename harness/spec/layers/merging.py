"""Layers of several inputs, and layers that only move numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.spec.codec import SpecError, member
from harness.spec.layers.base import Layer, Pass, Shape, check_axes, check_positive, check_rank
from harness.spec.tape import Array, concatenate, constant, reshape


@member("add")
@dataclass(frozen=True)
class Add(Layer):
    """The sum of two or more tensors of one shape: a residual connection."""

    arity: ClassVar[int | None] = None

    def output_shape(self, *inputs: Shape) -> Shape:
        """As each input."""
        if len(inputs) < 2 or len(set(inputs)) != 1:
            raise SpecError(f"needs at least two inputs of one shape, got {list(inputs)}")
        return inputs[0]

    def flops(self, *inputs: Shape) -> int:
        """One for each element of each input but the first."""
        return (len(inputs) - 1) * math.prod(inputs[0])

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """The sum, from the left."""
        total = inputs[0]
        for each in inputs[1:]:
            total = total + each
        return total


@member("concatenate")
@dataclass(frozen=True)
class Concatenate(Layer):
    """Two or more tensors joined along the last axis, in their order."""

    arity: ClassVar[int | None] = None

    def output_shape(self, *inputs: Shape) -> Shape:
        """The inputs' shape with the sum of their last axes."""
        for shape in inputs:
            check_axes(shape)
        if len(inputs) < 2 or len({shape[:-1] for shape in inputs}) != 1:
            raise SpecError(f"needs inputs alike but for the last axis, got {list(inputs)}")
        return (*inputs[0][:-1], sum(shape[-1] for shape in inputs))

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Joined along the last axis."""
        return concatenate(inputs, axis=-1)


@member("reshape")
@dataclass(frozen=True)
class Reshape(Layer):
    """The same numbers in another shape, row-major with channels last."""

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.shape:
            raise SpecError("needs at least one axis", ("shape",))
        for size in self.shape:
            check_positive(shape=size)

    def output_shape(self, *inputs: Shape) -> Shape:
        """`shape`."""
        if math.prod(inputs[0]) != math.prod(self.shape):
            raise SpecError(
                f"has {math.prod(self.shape)} elements, an example of {inputs[0]} has not", ("shape",)
            )
        return self.shape

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Reshape each example."""
        return reshape(inputs[0], (inputs[0].shape[0], *self.shape))


@member("upsample2d")
@dataclass(frozen=True)
class Upsample2D(Layer):
    """Each pixel repeated `size` times: nearest-neighbour interpolation."""

    size: tuple[int, int] = (2, 2)

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise SpecError(f"must be positive, got {list(self.size)}", ("size",))

    def output_shape(self, *inputs: Shape) -> Shape:
        """(height * size[0], width * size[1], channels)."""
        check_rank(inputs[0], 3, "an image (height, width, channels)")
        height, width, channels = inputs[0]
        return height * self.size[0], width * self.size[1], channels

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Repeat rows and columns."""
        (x,) = inputs
        n, h, w, c = x.shape
        repeated = reshape(x, (n, h, 1, w, 1, c)) * constant(
            np.ones((1, 1, self.size[0], 1, self.size[1], 1)), x
        )
        return reshape(repeated, (n, h * self.size[0], w * self.size[1], c))
