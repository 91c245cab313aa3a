"""Recurrent layers as `keras.layers.SimpleRNN`, `LSTM` and `GRU`, both ways by `Bidirectional`.

Keras's cells have one bias, but for the GRU that resets after the product, which has two in one variable.
Where the spec has another number of them, or two tensors, the native layer has a cell of ours.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.spec.layers.recurrent import Recurrent
from harness.worker.protocol import Layout, Unsupported

from .cells import LSTM, GRUAfter, GRUAfterCell, GRUBefore, SecondBias, SimpleRNN
from .lowering import Home, Lowered, Memory, Place, lower
from .sequence import Real


@dataclass(frozen=True)
class UpdateFirst(Layout):
    """The GRU's gates: update, reset, candidate in Keras; reset, update, candidate in the spec."""

    def to_native(self, tensor: np.ndarray) -> np.ndarray:
        """Exchange the first two."""
        reset, update, candidate = np.split(tensor, 3, -1)
        return np.concatenate([update, reset, candidate], -1)

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """Exchange them back."""
        return self.to_native(tensor)


@dataclass(frozen=True)
class LoweredRecurrent(Lowered):
    """A layer that gives its output and its states, or two of them in a `Bidirectional`."""

    lengths: bool = False
    bidirectional: bool = False

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """The output and the last states, for a sequence, perhaps lengths, perhaps first states."""
        (native,) = self.layers
        x, *rest = values
        mask = Real(x.shape[1])(rest.pop(0)) if self.lengths else None
        first = _sides(rest) if self.bidirectional else rest
        output, *last = native(x, mask=mask, initial_state=first or None)
        if not self.bidirectional:
            return output, *last
        count = len(last) // 2
        return output, *[ops.concatenate([last[i], last[count + i]], -1) for i in range(count)]

    def first(self, capacity: int, *values: Any) -> tuple[Any, Memory]:
        """Keep the states."""
        output, *states = self(*values)
        return (output, *states), tuple(states)

    def following(self, memory: Memory, place: Any, *values: Any) -> tuple[Any, Memory]:
        """Go on from the states, by the cell alone."""
        (native,) = self.layers
        hidden, states = native.cell(values[0][:, 0], [*memory])
        return (hidden[:, None], *states), tuple(states)


def _sides(states: Sequence[Any]) -> list[Any]:
    """States of both nets side by side as all of the one's, then all of the other's."""
    halves = [ops.split(state, 2, -1) for state in states]
    return [*[forwards for forwards, _ in halves], *[backwards for _, backwards in halves]]


@lower.register
def _(layer: Recurrent, place: Place) -> Lowered:
    native = native_of(layer, return_sequences=True, return_state=True, zero_output_for_mask=layer.lengths)
    sides = {"": native}
    if layer.bidirectional:
        native = keras.layers.Bidirectional(native)
        sides = {"": native.forward_layer, "reverse_": native.backward_layer}
    # A layer that is given a mask marks its output as masked, and the layers and the loss after it would heed
    # that too.
    native.compute_mask = _no_mask
    layout = UpdateFirst() if isinstance(layer, spec.GRU) else Layout()
    tensors: dict[str, Home] = {}
    for prefix, side in sides.items():
        side.cell.kernel_regularizer = side.cell.recurrent_regularizer = place.regularizer
        tensors |= {prefix + name: Home(side, f"cell.{name}", layout) for name in layer.names}
        if isinstance(side.cell, (SecondBias, GRUAfterCell)):
            tensors[f"{prefix}bias"] = Home(side, "cell.input_bias", layout)
    return LoweredRecurrent((native,), tensors, lengths=layer.lengths, bidirectional=layer.bidirectional)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


@functools.singledispatch
def native_of(layer: Recurrent, **options: Any) -> keras.layers.RNN:
    """The layer that reads forwards."""
    raise Unsupported(f"the keras backend has no lowering for the layer {name_of(layer)!r}")


@native_of.register
def _(layer: spec.RNN, **options: Any) -> keras.layers.RNN:
    native = keras.layers.SimpleRNN if layer.biases == "one" else SimpleRNN
    return native(layer.units, activation=layer.activation, **options)


@native_of.register
def _(layer: spec.LSTM, **options: Any) -> keras.layers.RNN:
    return (keras.layers.LSTM if layer.biases == "one" else LSTM)(layer.units, **options)


@native_of.register
def _(layer: spec.GRU, **options: Any) -> keras.layers.RNN:
    if layer.reset == "after":
        return GRUAfter(layer.units, layer.biases, **options)
    if layer.biases == "two":
        return GRUBefore(layer.units, **options)
    return keras.layers.GRU(layer.units, reset_after=False, **options)
