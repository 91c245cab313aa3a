"""Multi-head attention in TensorFlow's own ops: it has no fused one."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from harness.spec import layers as spec

from .layers import Pass, Variables, lower, project


@lower.register
def _(layer: spec.MultiHeadAttention, variables: Variables, this: Pass, *inputs: tf.Tensor) -> tf.Tensor:
    x, memory = inputs[0], inputs[int(layer.memory)]
    keys, values = keys_and_values(layer, variables, memory)
    lengths = inputs[-1] if layer.lengths else None
    return attend(
        layer, variables, x, keys, values, masks(layer, x.shape[1], memory.shape[1], lengths, x.dtype)
    )


def attend(
    layer: spec.MultiHeadAttention,
    variables: Variables,
    x: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    added: list[tf.Tensor],
) -> tf.Tensor:
    """What the queries from `x` (batch, time, width) find in keys and values; `added` to their scores are
    zeros and, where attention may not go, minus infinities.
    """
    queries = in_heads(layer, variables, "query", x) * (1 / math.sqrt(keys.shape[-1]))
    scores = tf.linalg.matmul(queries, keys, transpose_b=True)
    for mask in added:
        scores += mask
    found = tf.transpose(tf.linalg.matmul(tf.nn.softmax(scores), values), (0, 2, 1, 3))
    return _part(variables, "output", tf.reshape(found, x.shape))


def keys_and_values(
    layer: spec.MultiHeadAttention, variables: Variables, memory: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Of (batch, steps, features), each (batch, heads, steps, width / heads)."""
    return in_heads(layer, variables, "key", memory), in_heads(layer, variables, "value", memory)


def in_heads(layer: spec.MultiHeadAttention, variables: Variables, part: str, x: tf.Tensor) -> tf.Tensor:
    """A projection, head by head: (batch, heads, time, width / heads)."""
    whole = _part(variables, part, x)
    batch, time, width = whole.shape
    return tf.transpose(tf.reshape(whole, (batch, time, layer.heads, width // layer.heads)), (0, 2, 1, 3))


def masks(
    layer: spec.MultiHeadAttention, time: int, steps: int, lengths: tf.Tensor | None, dtype: tf.DType
) -> list[tf.Tensor]:
    """What is added to scores (batch, heads, time, steps)."""
    found = []
    if layer.causal:
        found.append(tf.constant(np.where(np.tri(time, steps, dtype=bool), 0.0, -np.inf), dtype))
    if lengths is not None:
        found.append(padding_mask(lengths, steps, dtype))
    return found


def padding_mask(lengths: tf.Tensor, steps: int, dtype: tf.DType) -> tf.Tensor:
    """(batch, 1, 1, steps)."""
    real = tf.sequence_mask(lengths, steps)[:, tf.newaxis, tf.newaxis]
    return tf.where(real, tf.constant(0.0, dtype), tf.constant(-np.inf, dtype))


def _part(variables: Variables, part: str, x: tf.Tensor) -> tf.Tensor:
    return project(x, variables[f"{part}_kernel"], variables.get(f"{part}_bias"))
