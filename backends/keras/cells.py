"""Recurrent layers whose biases are not those of Keras's cells."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops


class SecondBias:
    """A cell with a bias beside each kernel, where Keras has one for both: its `bias` is their sum."""

    def build(self, input_shape: Any) -> None:
        """The native variables and one more."""
        super().build(input_shape)  # type: ignore[misc]
        self.recurrent_bias = self.add_weight(shape=self.input_bias.shape, name="recurrent_bias")  # type: ignore[attr-defined]

    @property
    def bias(self) -> Any:
        """What the native cell adds."""
        return self.input_bias + self.recurrent_bias

    @bias.setter
    def bias(self, variable: keras.Variable) -> None:
        self.input_bias = variable


class SimpleRNNCell(SecondBias, keras.layers.SimpleRNNCell):
    """With two biases."""


class LSTMCell(SecondBias, keras.layers.LSTMCell):
    """With two biases."""


class GRUBeforeCell(SecondBias, keras.layers.GRUCell):
    """With two biases where Keras has one: the reset gate stands before the product."""


class GRUAfterCell(keras.layers.GRUCell):
    """The reset gate stands behind the product. Keras has two biases there, in one variable; here one or two
    variables.
    """

    def __init__(self, units: int, biases: Literal["one", "two"], **options: Any) -> None:
        super().__init__(units, **options)
        self.biases = biases

    def build(self, input_shape: Any) -> None:
        """The kernels as in the native cell."""
        width = 3 * self.units
        self.kernel = self.add_weight(
            shape=(input_shape[-1], width), name="kernel", regularizer=self.kernel_regularizer
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, width), name="recurrent_kernel", regularizer=self.recurrent_regularizer
        )
        self.input_bias = self.add_weight(shape=(width,), name="bias")
        self.recurrent_bias = None
        if self.biases == "two":
            self.recurrent_bias = self.add_weight(shape=(width,), name="recurrent_bias")

    @property
    def bias(self) -> Any:
        """Both as Keras has them, for its kernels that read a whole sequence."""
        first, second = self.input_bias.value, self.recurrent_bias
        return ops.stack([first, ops.zeros_like(first) if second is None else second.value])

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """One step."""
        hidden = states[0]
        given = ops.matmul(inputs, self.kernel) + self.input_bias
        share = ops.matmul(hidden, self.recurrent_kernel)
        if self.recurrent_bias is not None:
            share = share + self.recurrent_bias
        (gates, candidate), (gates_share, candidate_share) = (
            ops.split(each, [2 * self.units], -1) for each in (given, share)
        )
        update, reset = ops.split(self.recurrent_activation(gates + gates_share), 2, -1)
        candidate = self.activation(candidate + reset * candidate_share)
        hidden = candidate + update * (hidden - candidate)
        return hidden, [hidden]


@keras.saving.register_keras_serializable("onespec")
class SimpleRNN(keras.layers.SimpleRNN):
    """With two biases."""

    def __init__(self, units: int, activation: str, **options: Any) -> None:
        _begin(self, SimpleRNNCell(units, activation), **options)

    def get_config(self) -> dict[str, Any]:
        """What `Bidirectional` makes its two layers from."""
        return _config(self, activation=keras.activations.serialize(self.cell.activation))


@keras.saving.register_keras_serializable("onespec")
class LSTM(keras.layers.LSTM):
    """With two biases."""

    def __init__(self, units: int, **options: Any) -> None:
        _begin(self, LSTMCell(units), **options)

    def get_config(self) -> dict[str, Any]:
        """What `Bidirectional` makes its two layers from."""
        return _config(self)


@keras.saving.register_keras_serializable("onespec")
class GRUBefore(keras.layers.GRU):
    """With two biases, the reset gate before the product."""

    def __init__(self, units: int, **options: Any) -> None:
        _begin(self, GRUBeforeCell(units, reset_after=False), **options)

    def get_config(self) -> dict[str, Any]:
        """What `Bidirectional` makes its two layers from."""
        return _config(self)


@keras.saving.register_keras_serializable("onespec")
class GRUAfter(keras.layers.GRU):
    """With one or two biases, each a variable, the reset gate behind the product."""

    def __init__(self, units: int, biases: Literal["one", "two"], **options: Any) -> None:
        _begin(self, GRUAfterCell(units, biases), **options)

    def get_config(self) -> dict[str, Any]:
        """What `Bidirectional` makes its two layers from."""
        return _config(self, biases=self.cell.biases)


def _begin(layer: keras.layers.RNN, cell: keras.Layer, **options: Any) -> None:
    """What the native layer's constructor does, with another cell."""
    keras.layers.RNN.__init__(layer, cell, **options)
    layer.input_spec = keras.layers.InputSpec(ndim=3)
    layer.use_cudnn = "auto"
    # On a GPU TensorFlow reads a sequence by cuDNN, which XLA has not.
    layer.supports_jit = keras.backend.backend() != "tensorflow"


def _config(layer: keras.layers.RNN, **own: Any) -> dict[str, Any]:
    config = keras.layers.RNN.get_config(layer)
    del config["cell"]
    return {**config, "units": layer.cell.units, **own}
