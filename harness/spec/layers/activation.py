"""Activations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.spec import tape
from harness.spec.codec import member
from harness.spec.layers.base import Layer, Pass, Shape, check_axes, check_rate
from harness.spec.tape import Array


@dataclass(frozen=True)
class Activation(Layer):
    """A function of each element."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """As the input."""
        return inputs[0]

    def flops(self, *inputs: Shape) -> int:
        """One for each element."""
        return math.prod(inputs[0])


@member("relu")
@dataclass(frozen=True)
class ReLU(Activation):
    """max(x, 0), with gradient zero at zero."""

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """max(x, 0)."""
        return tape.relu(inputs[0])


@member("sigmoid")
@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """1 / (1 + exp(-x))."""
        return tape.sigmoid(inputs[0])


@member("tanh")
@dataclass(frozen=True)
class Tanh(Activation):
    """Hyperbolic tangent."""

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """tanh(x)."""
        return tape.tanh(inputs[0])


@member("softmax")
@dataclass(frozen=True)
class Softmax(Layer):
    """exp(x) / sum(exp(x)) over the last axis."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """As the input."""
        check_axes(inputs[0])
        return inputs[0]

    def flops(self, *inputs: Shape) -> int:
        """One for each element."""
        return math.prod(inputs[0])

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """The exponential of log-softmax."""
        return tape.exp(tape.log_softmax(inputs[0]))


@member("leaky_relu")
@dataclass(frozen=True)
class LeakyReLU(Activation):
    """x where it is positive, slope * x elsewhere; the gradient at zero is `slope` (Maas et al. 2013)."""

    slope: float = 0.2

    def __post_init__(self) -> None:
        check_rate(slope=self.slope)

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """slope * x + (1 - slope) * max(x, 0)."""
        return tape.relu(inputs[0]) * (1.0 - self.slope) + inputs[0] * self.slope


@member("gelu")
@dataclass(frozen=True)
class GELU(Activation):
    """x * Phi(x) with the normal distribution function (Hendrycks and Gimpel 2016): `exact` by the error
    function, `tanh` by 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    """

    form: Literal["exact", "tanh"] = "exact"

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """As `form` says."""
        (x,) = inputs
        if self.form == "exact":
            return x * 0.5 * (tape.erf(x * math.sqrt(0.5)) + 1.0)
        return x * 0.5 * (tape.tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) + 1.0)


ActivationName = Literal["relu", "sigmoid", "tanh", "gelu"]
"""An activation by the name that architectures take."""

ACTIVATIONS: dict[ActivationName, Layer] = {
    "relu": ReLU(),
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "gelu": GELU(),
}
