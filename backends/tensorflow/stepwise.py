"""Each layer token by token: what it keeps, how it begins with a prompt, and how it goes on."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from harness.spec import layers as spec
from harness.spec.layers.base import Shape
from harness.spec.layers.recurrent import Recurrent

from .attention import attend, attended, padding_mask, projected, scale
from .cells import cell_of
from .layers import Output, Pass, lower, lower_batch_first, project
from .sequence import places
from .variables import Variables


@dataclass(frozen=True)
class Site:
    """A layer at its place in a generation."""

    tensors: Variables
    kept: tuple[tf.Variable, ...]
    capacity: int
    """The most tokens."""
    this: Pass


@functools.singledispatch
def kept_shapes(layer: spec.Layer, capacity: int, *inputs: Shape) -> tuple[Shape, ...]:
    """The shapes of what is kept of each example."""
    return ()


@functools.singledispatch
def begin(layer: spec.Layer, site: Site, *inputs: tf.Tensor) -> Output:
    """The output for a prompt, (batch, prompt, *shape); what has to be is kept."""
    return lower(layer, site.tensors, site.this, *inputs)


@functools.singledispatch
def go_on(layer: spec.Layer, site: Site, place: tf.Tensor, *inputs: tf.Tensor) -> Output:
    """The output for the step at `place`, (batch, *shape), from those of its inputs that have such steps."""
    return lower(layer, site.tensors, site.this, *inputs)


@go_on.register
def _(layer: spec.Positions, site: Site, place: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    table = places(layer, site.tensors, site.capacity, x.shape[-1], x.dtype)
    return x + tf.gather(table, place)


@kept_shapes.register
def _(layer: Recurrent, capacity: int, *inputs: Shape) -> tuple[Shape, ...]:
    return layer.further_shapes(*inputs)


@begin.register
def _(layer: Recurrent, site: Site, *inputs: tf.Tensor) -> Output:
    output, *states = lower_batch_first(layer, site.tensors, site.this, *inputs)
    for variable, state in zip(site.kept, states, strict=True):
        variable.assign(state)
    return output, *states


@go_on.register
def _(layer: Recurrent, site: Site, place: tf.Tensor, x: tf.Tensor) -> Output:
    cell = cell_of(layer, site.tensors)
    projected = project(x, site.tensors["kernel"], cell.bias)
    before = tuple(variable.read_value() for variable in site.kept)
    states, _ = cell.forward(cell.tensors, projected, before)
    for variable, state in zip(site.kept, states, strict=True):
        variable.assign(state)
    return states[0], *states


@kept_shapes.register
def _(layer: spec.MultiHeadAttention, capacity: int, *inputs: Shape) -> tuple[Shape, ...]:
    steps = inputs[1][0] if layer.memory else capacity
    heads = (layer.heads, steps, inputs[0][1] // layer.heads)
    return heads, heads, *([(1, 1, steps)] if layer.lengths else [])


@begin.register
def _(layer: spec.MultiHeadAttention, site: Site, *inputs: tf.Tensor) -> tf.Tensor:
    output, *found = attended(layer, site.tensors, *inputs)
    for variable, part in zip(site.kept, found, strict=False):
        room = variable.shape[2] - part.shape[2]
        variable.assign(tf.pad(part, ((0, 0), (0, 0), (0, room), (0, 0))) if room else part)
    if layer.lengths:
        site.kept[2].assign(padding_mask(inputs[-1], found[0].shape[2], output.dtype))
    return output


@go_on.register
def _(layer: spec.MultiHeadAttention, site: Site, place: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    row = x[:, tf.newaxis]
    keys, values, *added = site.kept
    if layer.memory:
        (queries,) = projected(layer, site.tensors, row, "query")
    else:
        queries, key, value = projected(layer, site.tensors, row, "query", "key", "value")
        _write(keys, key, place, site.this)
        _write(values, value, place, site.this)
        ahead = tf.range(site.capacity, dtype=place.dtype) > place
        added = [tf.where(ahead, tf.constant(-np.inf, x.dtype), tf.constant(0.0, x.dtype))]
    queries *= scale(layer, x.shape[-1])
    return tf.squeeze(attend(site.tensors, queries, keys, values, added), 1)


def _write(variable: tf.Variable, step: tf.Tensor, place: tf.Tensor, this: Pass) -> None:
    """One step (batch, heads, 1, features) at its place, the others as they are."""
    if this.compiled:
        # XLA takes an assignment to a slice for a scatter, which it goes through number by number.
        here = (tf.range(variable.shape[2], dtype=place.dtype) == place)[:, tf.newaxis]
        variable.assign(tf.where(here, step, variable))
    else:
        variable[:, :, place].assign(tf.squeeze(step, 2))
