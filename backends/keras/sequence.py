"""Layers of sequences and tokens that are neither recurrent nor attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from harness.spec import layers as spec

from .framework import framework
from .layers import Multiply
from .lowering import Lowered, Memory, Place, homes, kernel_and_bias, lower


@lower.register
def _(layer: spec.Embedding, place: Place) -> Lowered:
    native = framework.Embedding(layer.tokens, layer.width, embeddings_regularizer=place.regularizer)
    scaled = (Multiply(np.asarray(layer.scale)),) if layer.scaled else ()
    return Lowered((native, *scaled), homes(native, table="embeddings"))


@dataclass(frozen=True)
class LoweredUnembedding(Lowered):
    """An embedding called in reverse."""

    def __call__(self, *values: Any) -> Any:
        """A logit for each token."""
        return self.layers[0](*values, reverse=True)


@lower.register
def _(layer: spec.Unembedding, place: Place) -> Lowered:
    width = place.shape[-1]
    native = keras.layers.ReversibleEmbedding(layer.tokens, width, embeddings_regularizer=place.regularizer)
    return LoweredUnembedding((native,), homes(native, table="embeddings"))


@dataclass(frozen=True)
class LoweredPositions(Lowered):
    """A table's row for each step."""

    def following(self, memory: Memory, place: Any, *values: Any) -> tuple[Any, Memory]:
        """The row of that step."""
        (x,) = values
        return x + self.layers[0].row(place), memory


@lower.register
def _(layer: spec.Positions, place: Place) -> Lowered:
    time, width = place.shape
    if layer.form == "sinusoidal":
        return LoweredPositions((Waves(layer.waves(place.shape)),))
    native = Positions(layer.most or time, width, place.regularizer)
    return LoweredPositions((native,), homes(native, table="table"))


@lower.register
def _(layer: spec.Select, place: Place) -> Lowered:
    return Lowered((Select(layer.step),))


@dataclass(frozen=True)
class LoweredPool(Lowered):
    """The mean over the real steps."""

    def __call__(self, *values: Any) -> Any:
        """Of a sequence and its lengths."""
        x, lengths = values
        return self.layers[-1](x, mask=Real(x.shape[1])(lengths))


@lower.register
def _(layer: spec.GlobalAvgPool1D, place: Place) -> Lowered:
    native = keras.layers.GlobalAveragePooling1D(data_format="channels_last")
    return (LoweredPool if layer.lengths else Lowered)((native,))


@lower.register
def _(layer: spec.Conv1D, place: Place) -> Lowered:
    native = keras.layers.Conv1D(
        layer.filters,
        layer.size,
        layer.stride,
        layer.padding,
        data_format="channels_last",
        use_bias=layer.bias,
        kernel_regularizer=place.regularizer,
    )
    return Lowered((native,), kernel_and_bias(native, layer.bias), takes_activation=True)


@lower.register
def _(layer: spec.MaxPool1D, place: Place) -> Lowered:
    return Lowered((keras.layers.MaxPooling1D(layer.size, layer.step, data_format="channels_last"),))


class Real(keras.layers.Layer):
    """Lengths (N,) as a mask (N, steps): true where there is no padding."""

    def __init__(self, steps: int, **options: Any) -> None:
        super().__init__(**options)
        self.steps = steps

    def call(self, lengths: Any) -> Any:
        """The first so many of the steps."""
        return ops.arange(self.steps, dtype="int32") < ops.expand_dims(lengths, -1)


class Select(keras.layers.Layer):
    """One step of a sequence."""

    def __init__(self, step: int, **options: Any) -> None:
        super().__init__(**options)
        self.step = step

    def call(self, x: Any) -> Any:
        """(N, time, features) to (N, features)."""
        return x[:, self.step]


class Positions(keras.layers.Layer):
    """The first rows of a table added to a sequence."""

    def __init__(
        self, places: int, width: int, regularizer: keras.Regularizer | None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.places, self.width, self.regularizer = places, width, regularizer

    def build(self, input_shape: Any) -> None:
        """The table."""
        shape = (self.places, self.width)
        self.table = self.add_weight(shape=shape, name="table", regularizer=self.regularizer)

    def call(self, x: Any) -> Any:
        """x + the table's first rows."""
        return x + self.table[: x.shape[1]]

    def row(self, place: Any) -> Any:
        """(1, width), of one place."""
        return ops.slice(self.table.value, (place, 0), (1, self.width))


class Waves(keras.layers.Layer):
    """The same with a table (time, width) that does not learn."""

    def __init__(self, table: np.ndarray, **options: Any) -> None:
        super().__init__(**options)
        self.table = table

    def call(self, x: Any) -> Any:
        """x + the table's first rows."""
        return x + ops.convert_to_tensor(self.table[: x.shape[1]], dtype=x.dtype)

    def row(self, place: Any) -> Any:
        """(1, width), of one place."""
        table = ops.convert_to_tensor(self.table, dtype=self.compute_dtype)
        return ops.slice(table, (place, 0), (1, table.shape[1]))
