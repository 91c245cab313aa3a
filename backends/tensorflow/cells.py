"""One step of each recurrent layer, forwards and backwards, in TensorFlow's own ops."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.spec.layers.recurrent import Recurrent
from harness.worker.protocol import Unsupported

from .variables import Variables

Tensors = tuple[tf.Tensor, ...]
Rows = Callable[[Any], tf.Tensor]
Whole = Callable[[Any], tf.Tensor]
Steps = Callable[[tf.Tensor], Any]


class Cell(ABC):
    """A recurrent layer's step on (batch, units): states with the hidden one first, and `projected`, the
    input's share of the gates (batch, gates * units).
    """

    keeps: ClassVar[int]
    """How many tensors (batch, units) `forward` keeps."""
    finds: ClassVar[int] = 1
    """How many (batch, gates * units) `backward` finds."""

    padding: np.ndarray | None = None
    """The projected gates that let a padded step change nothing that outlasts it; None where any do: a
    hidden state that stays small is left out of the output afterwards."""

    def __init__(self, layer: Recurrent, own: Variables) -> None:
        self.units, self.width = layer.units, layer.gates * layer.units
        recurrent = own.get("recurrent_bias")
        self.bias = own["bias"] if recurrent is None else own["bias"] + recurrent
        """What is added to the input's product. Two biases that are added to one sum are added first."""
        self.tensors: Tensors = (tf.identity(own["recurrent_kernel"]),)
        """What a step has besides."""

    @abstractmethod
    def forward(self, tensors: Tensors, projected: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
        """The states after the step, and what `backward` needs of it."""

    def prepared(self, kept: Sequence[Any], whole: Whole, steps: Steps) -> Sequence[Any]:
        """What `backward` is given of all steps: what was kept, or what can be made of that before the way
        back begins, over all steps at once. `whole` makes one tensor (time, batch, units) of a sequence,
        `steps` a sequence of that.
        """
        return kept

    @abstractmethod
    def backward(self, tensors: Tensors, kept: Tensors, upstream: Tensors) -> tuple[Tensors, Tensors]:
        """The gradients of the states before the step from those after it and what is `prepared` of the step;
        and what is found on the way, first of all the gradient of `projected`.
        """

    def gradients(self, before: tf.Tensor, kept: Sequence[Any], found: Sequence[Any], rows: Rows) -> Tensors:
        """Those of `tensors`, over all steps at once; `before` has the hidden states before each step."""
        return (tf.linalg.matmul(rows(before), rows(found[0]), transpose_a=True),)


class ElmanCell(Cell):
    """h' = activation(projected + h U)."""

    keeps = 1

    def __init__(self, layer: spec.RNN, own: Variables) -> None:
        super().__init__(layer, own)
        self.relu = layer.activation == "relu"
        if self.relu:
            self.padding = np.full(layer.units, -np.inf)

    def forward(self, tensors: Tensors, projected: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
        """One step."""
        total = projected + tf.linalg.matmul(states[0], tensors[0])
        hidden = tf.nn.relu(total) if self.relu else tf.math.tanh(total)
        return (hidden,), (hidden,)

    def backward(self, tensors: Tensors, kept: Tensors, upstream: Tensors) -> tuple[Tensors, Tensors]:
        """And back."""
        (hidden,), (given,) = kept, upstream
        if self.relu:
            total = tf.raw_ops.ReluGrad(gradients=given, features=hidden)
        else:
            total = tf.raw_ops.TanhGrad(y=hidden, dy=given)
        return (tf.linalg.matmul(total, tensors[0], transpose_b=True),), (total,)


class LSTMCell(Cell):
    """Gates i, f, g, o."""

    keeps = 6

    def __init__(self, layer: spec.LSTM, own: Variables) -> None:
        super().__init__(layer, own)
        # The input gate is shut and the forget gate open.
        self.padding = np.repeat([-np.inf, np.inf, 0.0, 0.0], layer.units)

    def forward(self, tensors: Tensors, projected: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
        """One step."""
        hidden, before = states
        gates = projected + tf.linalg.matmul(hidden, tensors[0])
        i_f, g, o = tf.split(gates, (2 * self.units, self.units, self.units), 1)
        i, f = tf.split(tf.math.sigmoid(i_f), 2, 1)
        g, o = tf.math.tanh(g), tf.math.sigmoid(o)
        cell = f * before + i * g
        bent = tf.math.tanh(cell)
        return (o * bent, cell), (i, f, g, o, before, bent)

    def prepared(self, kept: Sequence[Any], whole: Whole, steps: Steps) -> Sequence[Any]:
        """The slopes of the new cell and of each gate."""
        i, f, g, o, before, bent = map(whole, kept)
        slopes = (
            tf.raw_ops.TanhGrad(y=bent, dy=o),
            f,
            tf.raw_ops.SigmoidGrad(y=i, dy=g),
            tf.raw_ops.SigmoidGrad(y=f, dy=before),
            tf.raw_ops.TanhGrad(y=g, dy=i),
            tf.raw_ops.SigmoidGrad(y=o, dy=bent),
        )
        return [steps(slope) for slope in slopes]

    def backward(self, tensors: Tensors, kept: Tensors, upstream: Tensors) -> tuple[Tensors, Tensors]:
        """And back."""
        into_cell, f, *of_cell, of_hidden = kept
        hidden, cell = upstream
        cell += hidden * into_cell
        projected = tf.concat([*[cell * slope for slope in of_cell], hidden * of_hidden], 1)
        return (tf.linalg.matmul(projected, tensors[0], transpose_b=True), cell * f), (projected,)


class GRUCell(Cell):
    """Gates r, z, n, with r on the product h U + b'."""

    keeps = 5
    finds = 2

    def __init__(self, layer: spec.GRU, own: Variables) -> None:
        super().__init__(layer, own)
        if layer.biases == "two":
            self.bias = own["bias"]
            self.tensors = (*self.tensors, tf.identity(own["recurrent_bias"]))

    def forward(self, tensors: Tensors, projected: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
        """One step."""
        (hidden,), (kernel, *bias) = states, tensors
        shares = tf.linalg.matmul(hidden, kernel)
        if bias:
            shares = tf.nn.bias_add(shares, bias[0])
        sizes = (2 * self.units, self.units)
        r_z, n = tf.split(projected, sizes, 1)
        r_z_share, share = tf.split(shares, sizes, 1)
        r, z = tf.split(tf.math.sigmoid(r_z + r_z_share), 2, 1)
        n = tf.math.tanh(n + r * share)
        apart = hidden - n
        return (n + z * apart,), (r, z, n, share, apart)

    def backward(self, tensors: Tensors, kept: Tensors, upstream: Tensors) -> tuple[Tensors, Tensors]:
        """And back."""
        r, z, n, share, apart = kept
        (given,) = upstream
        old = given * z
        d_n = tf.raw_ops.TanhGrad(y=n, dy=given - old)
        d_r = tf.raw_ops.SigmoidGrad(y=r, dy=d_n * share)
        d_z = tf.raw_ops.SigmoidGrad(y=z, dy=given * apart)
        projected, shares = tf.concat((d_r, d_z, d_n), 1), tf.concat((d_r, d_z, d_n * r), 1)
        return (old + tf.linalg.matmul(shares, tensors[0], transpose_b=True),), (projected, shares)

    def gradients(self, before: tf.Tensor, kept: Sequence[Any], found: Sequence[Any], rows: Rows) -> Tensors:
        """Of the kernel and, of two biases, the second."""
        shares = rows(found[1])
        kernel = tf.linalg.matmul(rows(before), shares, transpose_a=True)
        return (kernel,) if len(self.tensors) == 1 else (kernel, tf.reduce_sum(shares, 0))


class PaperGRUCell(Cell):
    """Gates r, z, n, with r on the hidden state."""

    keeps = 6

    def __init__(self, layer: spec.GRU, own: Variables) -> None:
        super().__init__(layer, own)
        self.tensors = tuple(tf.split(self.tensors[0], (2 * self.units, self.units), 1))

    def forward(self, tensors: Tensors, projected: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
        """One step."""
        (hidden,) = states
        r_z, n = tf.split(projected, (2 * self.units, self.units), 1)
        r, z = tf.split(tf.math.sigmoid(r_z + tf.linalg.matmul(hidden, tensors[0])), 2, 1)
        reset = r * hidden
        n = tf.math.tanh(n + tf.linalg.matmul(reset, tensors[1]))
        apart = hidden - n
        return (n + z * apart,), (r, z, n, hidden, reset, apart)

    def backward(self, tensors: Tensors, kept: Tensors, upstream: Tensors) -> tuple[Tensors, Tensors]:
        """And back."""
        r, z, n, hidden, _, apart = kept
        (given,) = upstream
        old = given * z
        d_n = tf.raw_ops.TanhGrad(y=n, dy=given - old)
        d_reset = tf.linalg.matmul(d_n, tensors[1], transpose_b=True)
        d_r = tf.raw_ops.SigmoidGrad(y=r, dy=d_reset * hidden)
        d_z = tf.raw_ops.SigmoidGrad(y=z, dy=given * apart)
        d_r_z = tf.concat((d_r, d_z), 1)
        old += d_reset * r + tf.linalg.matmul(d_r_z, tensors[0], transpose_b=True)
        return (old,), (tf.concat((d_r_z, d_n), 1),)

    def gradients(self, before: tf.Tensor, kept: Sequence[Any], found: Sequence[Any], rows: Rows) -> Tensors:
        """Of the kernel's two parts."""
        r_z, n = tf.split(rows(found[0]), (2 * self.units, self.units), 1)
        reset = rows(kept[4])
        return (
            tf.linalg.matmul(rows(before), r_z, transpose_a=True),
            tf.linalg.matmul(reset, n, transpose_a=True),
        )


@functools.singledispatch
def cell_of(layer: Recurrent, own: Variables) -> Cell:
    """The cell with one direction's own tensors."""
    raise Unsupported(f"the tensorflow backend has no lowering for the layer {name_of(layer)!r}")


cell_of.register(spec.RNN, ElmanCell)
cell_of.register(spec.LSTM, LSTMCell)


@cell_of.register
def _(layer: spec.GRU, own: Variables) -> Cell:
    return GRUCell(layer, own) if layer.reset == "after" else PaperGRUCell(layer, own)
