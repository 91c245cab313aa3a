"""Recurrent layers: NNX's cells in a scan. Sequences come and go as (time, batch, features)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from harness.spec import layers as spec
from harness.spec.layers.recurrent import Recurrent
from harness.worker.protocol import Layout

from .cached import Cache, Cached
from .layers import Lowered, Place, lower

States = tuple[Any, ...]
"""The hidden state, then the others in the spec's order."""


class ResetBefore(nnx.GRUCell):
    """The paper's GRU, which NNX has not: the hidden state is reset before the candidate's product."""

    def __call__(self, carry: Any, inputs: Any) -> tuple[Any, Any]:
        """The new state (batch, units), twice."""
        gates = 2 * self.hidden_features
        share = self.dense_i(inputs)
        r, z = jnp.split(nnx.sigmoid(share[:, :gates] + self._product(slice(gates), carry)), 2, -1)
        n = nnx.tanh(share[:, gates:] + self._product(slice(gates, None), r * carry))
        new = (1 - z) * n + z * carry
        return new, new

    def _product(self, columns: slice, hidden: Any) -> Any:
        product = hidden @ self.dense_h.kernel[...][:, columns]
        return product if self.dense_h.bias is None else product + self.dense_h.bias[...][columns]


class Recurrence(nnx.Module, Cached):
    """Both directions, or the one."""

    def __init__(self, layer: Recurrent, features: int, rngs: nnx.Rngs) -> None:
        self.layer = layer
        self.forward = cell_of(layer, features, rngs)
        if layer.bidirectional:
            self.backward = cell_of(layer, features, rngs)

    def __call__(self, x: Any, *others: Any) -> States:
        """The output (time, batch, units of both) and the last states."""
        time, batch, _ = x.shape
        real, states = None, others
        if self.layer.lengths:
            real, states = (jnp.arange(time)[:, None] < others[0])[..., None], others[1:]
        if not self.layer.initial:
            states = tuple(jnp.zeros((batch, *shape), x.dtype) for shape in self.layer.further_shapes())
        if not self.layer.bidirectional:
            return read(self.forward, x, real, states, False)
        ahead, back = zip(*[jnp.split(state, 2, -1) for state in states], strict=True)
        found = read(self.forward, x, real, ahead, False), read(self.backward, x, real, back, True)
        return tuple(jnp.concatenate(parts, -1) for parts in zip(*found, strict=True))

    def batch_first(self, x: Any, *others: Any) -> States:
        """The same on (batch, time, features), with an output like it."""
        output, *states = self(x.swapaxes(0, 1), *others)
        return output.swapaxes(0, 1), *states

    def begin(self, capacity: int, x: Any, *others: Any) -> tuple[Any, Cache]:
        """The cache is the states."""
        found = self.batch_first(x, *others)
        return found, found[1:]

    def go_on(self, cache: Cache, place: Any, x: Any) -> tuple[Any, Cache]:
        """The cell alone."""
        carry, hidden = self.forward(_carried(cache), x[:, 0])
        states = _told(carry)
        return (hidden[:, None], *states), states


def read(cell: nnx.RNNCellBase, x: Any, real: Any, states: States, backwards: bool) -> States:
    """The output (time, batch, units) and the last states of one net on x (time, batch, features). Where
    `real` (time, batch, 1) is given and false, a step leaves the states alone and its output is zero.
    """

    def step(carry: Any, given: Any) -> tuple[Any, Any]:
        now, counts = given
        fresh, hidden = cell(carry, now)
        if counts is not None:
            fresh = jax.tree.map(functools.partial(jnp.where, counts), fresh, carry)
        return fresh, hidden

    carry, hidden = jax.lax.scan(step, _carried(states), (x, real), reverse=backwards)
    if real is not None:
        hidden = jnp.where(real, hidden, 0)
    return hidden, *_told(carry)


def _carried(states: States) -> Any:
    """NNX carries a single state as it is, and of an LSTM the cell's before the hidden one."""
    return states[0] if len(states) == 1 else states[::-1]


def _told(carry: Any) -> States:
    return carry[::-1] if isinstance(carry, tuple) else (carry,)


@functools.singledispatch
def cell_of(layer: Recurrent, features: int, rngs: nnx.Rngs) -> nnx.RNNCellBase:
    """NNX's cell; with two biases, it has one in the product that had none."""
    raise NotImplementedError


@cell_of.register
def _(layer: spec.RNN, features: int, rngs: nnx.Rngs) -> nnx.RNNCellBase:
    activation = nnx.tanh if layer.activation == "tanh" else nnx.relu
    # By default this cell alone computes in float32 whatever the precision.
    cell = nnx.SimpleCell(features, layer.units, activation_fn=activation, dtype=None, rngs=rngs)
    if layer.biases == "two":
        cell.dense_h = nnx.Linear(layer.units, layer.units, rngs=rngs)
    return cell


@cell_of.register
def _(layer: spec.LSTM, features: int, rngs: nnx.Rngs) -> nnx.RNNCellBase:
    cell = nnx.OptimizedLSTMCell(features, layer.units, rngs=rngs)
    if layer.biases == "two":
        cell.dense_i = nnx.Linear(features, 4 * layer.units, rngs=rngs)
    return cell


@cell_of.register
def _(layer: spec.GRU, features: int, rngs: nnx.Rngs) -> nnx.RNNCellBase:
    kind = nnx.GRUCell if layer.reset == "after" else ResetBefore
    cell = kind(features, layer.units, rngs=rngs)
    if layer.biases == "two":
        cell.dense_h = nnx.Linear(layer.units, 3 * layer.units, rngs=rngs)
    return cell


@lower.register
def _(layer: Recurrent, place: Place) -> Lowered:
    nets = {"": "forward", "reverse_": "backward"}
    # The bias of NNX's LSTM is beside the recurrent kernel. One is one, wherever it is added.
    beside = "dense_h" if isinstance(layer, spec.LSTM) and layer.biases == "one" else "dense_i"
    attributes = {
        "kernel": "dense_i.kernel",
        "bias": f"{beside}.bias",
        "recurrent_kernel": "dense_h.kernel",
        "recurrent_bias": "dense_h.bias",
    }
    return Lowered(
        lambda rngs: Recurrence(layer, place.shape[-1], rngs),
        {
            prefix + name: (f"{nets[prefix]}.{attributes[name]}", Layout())
            for prefix in layer.directions
            for name in layer.names
        },
    )
