"""Layers of sequences and tokens that are neither recurrent nor attention, in TensorFlow's own ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from harness.spec import layers as spec

from .layers import Pass, lower, project
from .variables import Variables


@lower.register
def _(layer: spec.Embedding, variables: Variables, this: Pass, tokens: tf.Tensor) -> tf.Tensor:
    rows = _looked_up(tf.identity(variables["table"]), tokens)
    return rows * layer.scale if layer.scaled else rows


@lower.register
def _(layer: spec.Unembedding, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return project(x, variables["table"], transposed=True)


@lower.register
def _(layer: spec.Positions, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return x + places(layer, variables, x.shape[1], x.shape[2], x.dtype)


def places(layer: spec.Positions, variables: Variables, time: int, width: int, dtype: tf.DType) -> tf.Tensor:
    """What is added to each of the first `time` steps: (time, width)."""
    if layer.form == "sinusoidal":
        return tf.constant(layer.waves((time, width)), dtype)
    table = tf.convert_to_tensor(variables["table"])
    return table if table.shape[0] == time else table[:time]


@lower.register
def _(layer: spec.Select, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return x[:, layer.step]


@lower.register
def _(layer: spec.GlobalAvgPool1D, variables: Variables, this: Pass, *inputs: tf.Tensor) -> tf.Tensor:
    x = inputs[0]
    if not layer.lengths:
        return tf.reduce_mean(x, 1)
    real = tf.sequence_mask(inputs[1], x.shape[1], x.dtype)
    shares = real / tf.cast(inputs[1], x.dtype)[:, tf.newaxis]
    return tf.linalg.matvec(x, shares, transpose_a=True)


@lower.register
def _(layer: spec.Conv1D, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    padding = layer.padding.upper()
    if layer.padding == "causal":
        x, padding = tf.pad(x, ((0, 0), layer.pads(tuple(x.shape[1:])), (0, 0))), "VALID"
    y = tf.nn.conv1d(x, variables["kernel"], layer.stride, padding)
    return tf.nn.bias_add(y, variables["bias"]) if layer.bias else y


@lower.register
def _(layer: spec.MaxPool1D, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.nn.max_pool1d(x, layer.size, layer.step, "VALID")


@tf.custom_gradient
def _looked_up(table: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    """The tokens' rows, with a dense gradient.

    The gradient of `tf.gather` is an IndexedSlices: of a table that is used twice as well these would be
    joined row by row, with a row for each token of the dense part.
    """

    def pull(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        rows = tf.reshape(upstream, (-1, table.shape[1]))
        return tf.math.unsorted_segment_sum(rows, tf.reshape(tokens, [-1]), table.shape[0]), None

    return tf.gather(table, tokens), pull
