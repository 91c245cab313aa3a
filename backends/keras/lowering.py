"""What a layer of the spec becomes: layers of `keras.layers`, and where the spec's tensors are in them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import keras

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.worker.protocol import Layout, Unsupported

from .framework import framework

Slot = tuple[keras.Variable, Layout]
"""A native variable and the way to it from the spec's layout."""

ACTIVATIONS: dict[type[spec.Layer], str] = {
    spec.ReLU: "relu",
    spec.Sigmoid: "sigmoid",
    spec.Tanh: "tanh",
    spec.Softmax: "softmax",
}


@functools.singledispatch
def activation_of(layer: spec.Layer) -> Any:
    """What Keras takes as `activation`; None for a layer that is none."""
    return ACTIVATIONS.get(type(layer))


@activation_of.register
def _(layer: spec.LeakyReLU) -> Any:
    return functools.partial(framework.leaky_relu, negative_slope=layer.slope)


@activation_of.register
def _(layer: spec.GELU) -> Any:
    return functools.partial(framework.gelu, approximate=layer.form == "tanh")


@dataclass(frozen=True)
class Home:
    """Where a tensor is: an attribute (`cell.kernel`) of a layer, in a layout."""

    layer: keras.Layer
    attribute: str
    layout: Layout = Layout()  # noqa: RUF009

    @property
    def slot(self) -> Slot:
        """The variable, once the layer is built, and its layout."""
        return attrgetter(self.attribute)(self.layer), self.layout

    def become(self, other: Home) -> None:
        """Have the variable of `other` in place of the layer's own."""
        own, shared = self.slot[0], other.slot[0]
        if own is shared:
            return
        if own.shape != shared.shape or self.layout != other.layout:
            raise Unsupported(
                f"keras {keras.__version__}: {self.layer.name} and {other.layer.name} cannot share a "
                f"variable, which is {tuple(own.shape)} in one and {tuple(shared.shape)} in the other"
            )
        path, _, _ = self.attribute.rpartition(".")
        owner = attrgetter(path)(self.layer) if path else self.layer
        owner._untrack_variable(own)
        # A layer that is built takes no more variables. Some have theirs under a name of their own.
        owner._tracker.unlock()
        for name in [name for name, value in vars(owner).items() if value is own]:
            setattr(owner, name, shared)
        owner._tracker.lock()
        assert self.slot[0] is shared


Memory = Any
"""What a layer keeps from token to token while tokens are generated: tensors, nested or none."""


@dataclass(frozen=True)
class Lowered:
    """Layers called one after the other, and where the spec's tensors are in them.

    A layer that looks at more than one step of a sequence says in `first` and `following` how it goes on from
    token to token; to others each step is alone.
    """

    layers: tuple[keras.Layer, ...] = ()
    tensors: Mapping[str, Home] = field(default_factory=dict)
    takes_activation: bool = False

    def __call__(self, *values: Any) -> Any:
        """The output, or a tuple of all that the spec's layer gives."""
        x = values[0] if len(values) == 1 else [*values]
        for layer in self.layers:
            x = layer(x)
        return x

    def first(self, capacity: int, *values: Any) -> tuple[Any, Memory]:
        """The output for the first steps of at most `capacity`, and what to keep of them."""
        return self(*values), ()

    def following(self, memory: Memory, place: Any, *values: Any) -> tuple[Any, Memory]:
        """The output for the one step at `place`, and what to keep. A value that does not depend on the
        generated tokens is None: it was there at `first`.
        """
        return self(*values), memory


@dataclass(frozen=True)
class Place:
    """What a lowering may ask about the layer's place: the examples' shapes that come in, the training batch,
    and the regularizer of penalized tensors.
    """

    shapes: tuple[spec.Shape, ...]
    batch_size: int
    regularizer: keras.Regularizer | None

    @property
    def shape(self) -> spec.Shape:
        """The shape of the first input."""
        return self.shapes[0]


@functools.singledispatch
def lower(layer: spec.Layer, place: Place) -> Lowered:
    """The layers for a layer."""
    raise Unsupported(f"the keras backend has no lowering for the layer {name_of(layer)!r}")


def homes(native: keras.Layer, **attributes: str) -> dict[str, Home]:
    """Tensors that have the spec's own layout, by name."""
    return {name: Home(native, attribute) for name, attribute in attributes.items()}


def kernel_and_bias(native: keras.Layer, bias: bool) -> dict[str, Home]:
    """A kernel and, with `bias`, a bias."""
    return homes(native, kernel="kernel", bias="bias") if bias else homes(native, kernel="kernel")
