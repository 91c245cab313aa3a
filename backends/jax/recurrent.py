"""Recurrent layers: one matrix product for the input's share of all steps, then a scan."""

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

UNROLL = 1
"""Steps in one turn of the compiled loop."""

ATTRIBUTES = {
    "kernel": "input.kernel",
    "bias": "input.bias",
    "recurrent_kernel": "recurrent.kernel",
    "recurrent_bias": "recurrent.bias",
}
"""Where a direction's tensors live."""


class Direction(nnx.Module):  # type: ignore[misc]
    """A net that reads a sequence one way."""

    def __init__(self, layer: Recurrent, features: int, backwards: bool, rngs: nnx.Rngs) -> None:
        self.layer = layer
        self.backwards = backwards
        width = layer.gates * layer.units
        self.input = nnx.Linear(features, width, rngs=rngs)
        self.recurrent = nnx.Linear(layer.units, width, use_bias=layer.biases == "two", rngs=rngs)

    def __call__(self, x: Any, real: Any, states: States) -> tuple[Any, ...]:
        """The output (batch, time, units) and the last states for x (batch, time, features). Where `real`
        (time, batch, 1) is given and false, a step changes no state and its output is zero.
        """
        projected = self.input(x.swapaxes(0, 1))

        def step(states: States, given: Any) -> tuple[States, Any]:
            share, counts = given
            fresh = after(self.layer, self.recurrent, share, *states)
            if counts is not None:
                fresh = tuple(jnp.where(counts, new, old) for new, old in zip(fresh, states, strict=True))
            return fresh, fresh[0]

        states, hidden = jax.lax.scan(step, states, (projected, real), reverse=self.backwards, unroll=UNROLL)
        if real is not None:
            hidden = jnp.where(real, hidden, 0)
        return hidden.swapaxes(0, 1), *states


class Recurrence(nnx.Module, Cached):  # type: ignore[misc]
    """Both directions, or the one."""

    def __init__(self, layer: Recurrent, features: int, rngs: nnx.Rngs) -> None:
        self.layer = layer
        self.forward = Direction(layer, features, False, rngs)
        if layer.bidirectional:
            self.backward = Direction(layer, features, True, rngs)

    def __call__(self, x: Any, *others: Any) -> tuple[Any, ...]:
        """The output and the last states."""
        batch, time, _ = x.shape
        real = None
        if self.layer.lengths:
            lengths, *others = others
            real = (jnp.arange(time)[:, None] < lengths)[..., None]
        states = others or [jnp.zeros((batch, *shape), x.dtype) for shape in self.layer.further_shapes()]
        if not self.layer.bidirectional:
            return self.forward(x, real, tuple(states))
        halves = zip(*[jnp.split(state, 2, -1) for state in states], strict=True)
        nets = (self.forward, self.backward)
        found = [net(x, real, half) for net, half in zip(nets, halves, strict=True)]
        return tuple(jnp.concatenate(parts, -1) for parts in zip(*found, strict=True))

    def begin(self, capacity: int, x: Any, *others: Any) -> tuple[Any, Cache]:
        """The cache is the states."""
        found = self(x, *others)
        return found, found[1:]

    def go_on(self, cache: Cache, place: Any, x: Any) -> tuple[Any, Cache]:
        """From the states, without a scan."""
        net = self.forward
        states = after(self.layer, net.recurrent, net.input(x[:, 0]), *cache)
        return (states[0][:, None], *states), states


@functools.singledispatch
def after(layer: Recurrent, recurrent: nnx.Linear, share: Any, *states: Any) -> States:
    """The states after a step, from those before it and the input's share of the gates."""
    raise NotImplementedError


@after.register
def _(layer: spec.RNN, recurrent: nnx.Linear, share: Any, hidden: Any) -> States:
    activation = nnx.tanh if layer.activation == "tanh" else nnx.relu
    return (activation(share + recurrent(hidden)),)


@after.register
def _(layer: spec.LSTM, recurrent: nnx.Linear, share: Any, hidden: Any, cell: Any) -> States:
    i, f, g, o = jnp.split(share + recurrent(hidden), 4, -1)
    cell = nnx.sigmoid(f) * cell + nnx.sigmoid(i) * nnx.tanh(g)
    return nnx.sigmoid(o) * nnx.tanh(cell), cell


@after.register
def _(layer: spec.GRU, recurrent: nnx.Linear, share: Any, hidden: Any) -> States:
    gates = 2 * layer.units
    if layer.reset == "after":
        product = recurrent(hidden)
        r, z = jnp.split(nnx.sigmoid(share[:, :gates] + product[:, :gates]), 2, -1)
        n = nnx.tanh(share[:, gates:] + r * product[:, gates:])
    else:
        r, z = jnp.split(nnx.sigmoid(share[:, :gates] + part(recurrent, slice(gates), hidden)), 2, -1)
        n = nnx.tanh(share[:, gates:] + part(recurrent, slice(gates, None), r * hidden))
    return ((1 - z) * n + z * hidden,)


def part(linear: nnx.Linear, columns: slice, x: Any) -> Any:
    """Some columns of what the module gives."""
    product = x @ linear.kernel[...][:, columns]
    return product if linear.bias is None else product + linear.bias[...][columns]


@lower.register
def _(layer: Recurrent, place: Place) -> Lowered:
    nets = {"": "forward", "reverse_": "backward"}
    return Lowered(
        lambda rngs: Recurrence(layer, place.shape[-1], rngs),
        {
            prefix + name: (f"{nets[prefix]}.{ATTRIBUTES[name]}", Layout())
            for prefix in layer.directions
            for name in layer.names
        },
    )
