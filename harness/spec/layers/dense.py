"""Fully connected layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from harness.spec.codec import SpecError, member
from harness.spec.initializers import Initializer
from harness.spec.layers.base import Layer, Parameter, Pass, Shape, check_positive
from harness.spec.tape import Array, reshape


@member("dense")
@dataclass(frozen=True)
class Dense(Layer):
    """y = x W + b: (features,) to (units,), or (time, features) to (time, units), each step alike. Kernel W
    is (features, units), bias b is (units,).
    """

    units: int
    bias: bool = True
    initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_positive(units=self.units)

    def output_shape(self, *inputs: Shape) -> Shape:
        """(units,) or (time, units)."""
        (shape,) = inputs
        if len(shape) not in (1, 2):
            wanted = "a vector or a sequence of vectors (put a flatten layer before it)"
            raise SpecError(f"needs {wanted}, got an example of shape {shape}")
        return (*shape[:-1], self.units)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`kernel` (features, units) and, with `bias`, `bias` (units,)."""
        features = inputs[0][-1]
        kernel = Parameter((features, self.units), self.initializer, features, self.units, penalized=True)
        if not self.bias:
            return {"kernel": kernel}
        return {"kernel": kernel, "bias": Parameter((self.units,), "zeros")}

    def flops(self, *inputs: Shape) -> int:
        """Two for each weight, one for each bias, at each step."""
        steps, features = math.prod(inputs[0][:-1]), inputs[0][-1]
        return steps * (2 * features * self.units + self.units * self.bias)

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """x W + b."""
        product = inputs[0] @ parameters["kernel"]
        return product + parameters["bias"] if self.bias else product


@member("flatten")
@dataclass(frozen=True)
class Flatten(Layer):
    """Every axis of the example into one, row-major over (height, width, channels)."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """(product of the axes,)."""
        return (math.prod(inputs[0]),)

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Reshape to (batch, -1)."""
        return reshape(inputs[0], (inputs[0].shape[0], math.prod(inputs[0].shape[1:])))
