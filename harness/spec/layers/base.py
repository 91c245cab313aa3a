"""What every layer of the language states: its fields, shape rule, parameters, FLOPs and NumPy meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from harness.spec import codec
from harness.spec.initializers import Initializer
from harness.spec.tape import Array

Shape = tuple[int, ...]
"""The shape of one example: without the batch axis, channels last."""


@dataclass(frozen=True)
class Parameter:
    """One tensor of a layer, in canonical layout.

    A tensor that is not `trainable` is state: no optimizer moves it, the layer's training pass updates it.
    `penalized` tensors are the ones that L1 and L2 penalties act on.
    """

    shape: Shape
    initializer: Initializer
    fan_in: int = 1
    fan_out: int = 1
    trainable: bool = True
    penalized: bool = False


@dataclass
class Pass:
    """One forward pass: what a layer may ask about it, and where it leaves its new state."""

    training: bool
    random: np.random.Generator | None = None
    state: dict[str, np.ndarray] = field(default_factory=dict)


@codec.family
@dataclass(frozen=True)
class Layer:
    """A function of tensors with parameters. Subclasses are the words of the language."""

    arity: ClassVar[int | None] = 1
    """How many inputs it takes. None: `output_shape` decides."""
    further: ClassVar[tuple[str, ...]] = ()
    """What it gives beside its output, by name: a recurrent layer's last `hidden` state."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """The shape of the output for these input shapes. Raises SpecError where they do not fit."""
        raise NotImplementedError

    def further_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """The shapes of `further`, in its order."""
        return ()

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """The layer's tensors by name."""
        return {}

    def flops(self, *inputs: Shape) -> int:
        """Floating-point operations of the forward pass for one example; a multiply-add counts two."""
        return 0

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array | tuple[Array, ...]:
        """The meaning: the output (batch, *shape) for inputs of shape (batch, *shape). Where there is more
        (`further`), a tuple with the output first.
        """
        raise NotImplementedError

    def without_randomness(self) -> Layer:
        """The same layer with its random part switched off, for the proof."""
        return self


def check_rank(shape: Shape, rank: int, what: str) -> None:
    """Raise SpecError unless an example has `rank` axes; `what` names them for the message."""
    if len(shape) != rank:
        raise codec.SpecError(f"needs {what}, got an example of shape {shape}")


def check_axes(shape: Shape) -> None:
    """Raise SpecError where an example is a single number: it has no last axis."""
    if not shape:
        raise codec.SpecError("needs at least one axis, got an example of shape ()")


def check_positive(**fields: float) -> None:
    """Raise SpecError for the first field that is not positive."""
    for name, value in fields.items():
        if not value > 0:
            raise codec.SpecError(f"must be positive, got {value}", (name,))


def check_inputs(inputs: tuple[Shape, ...], *names: str) -> None:
    """Raise SpecError unless there are as many inputs as `names`, which say what each is."""
    if len(inputs) != len(names):
        raise codec.SpecError(f"takes {len(names)} inputs ({', '.join(names)}), got {len(inputs)}")


def check_rate(**fields: float) -> None:
    """Raise SpecError for the first field outside [0, 1)."""
    for name, value in fields.items():
        if not 0 <= value < 1:
            raise codec.SpecError(f"must be at least 0 and below 1, got {value}", (name,))
