"""Multi-head attention in TensorFlow's own ops: it has no fused one."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from harness.spec import layers as spec

from .layers import Pass, Variables, lower, project


@lower.register
def _(layer: spec.MultiHeadAttention, variables: Variables, this: Pass, *inputs: tf.Tensor) -> tf.Tensor:
    return attended(layer, variables, *inputs)[0]


def attended(
    layer: spec.MultiHeadAttention, variables: Variables, *inputs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The layer's output, and its keys and values, (batch, heads, steps, width / heads)."""
    x, memory = inputs[0], inputs[int(layer.memory)]
    if layer.memory:
        (queries,) = _projected(layer, variables, x, "query")
        keys, values = _projected(layer, variables, memory, "key", "value")
    else:
        queries, keys, values = _projected(layer, variables, x, "query", "key", "value")
    lengths = inputs[-1] if layer.lengths else None
    added = masks(layer, x.shape[1], memory.shape[1], lengths, x.dtype)
    return attend(variables, queries, keys, values, added), keys, values


def attend(
    variables: Variables, queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, added: list[tf.Tensor]
) -> tf.Tensor:
    """What scaled queries find in keys and values, projected: (batch, time, width). Added to their scores are
    zeros and, where attention may not go, minus infinities.
    """
    scores = tf.linalg.matmul(queries, keys, transpose_b=True)
    for mask in added:
        scores += mask
    found = tf.transpose(tf.linalg.matmul(tf.nn.softmax(scores), values), (0, 2, 1, 3))
    batch, time, heads, depth = found.shape
    joined = tf.reshape(found, (batch, time, heads * depth))
    return project(joined, variables["output_kernel"], variables.get("output_bias"))


def in_heads(layer: spec.MultiHeadAttention, variables: Variables, part: str, x: tf.Tensor) -> tf.Tensor:
    """One projection of (batch, width), head by head: (batch, heads, 1, width / heads)."""
    whole = project(x, variables[f"{part}_kernel"], variables.get(f"{part}_bias"))
    return tf.reshape(whole, (x.shape[0], layer.heads, 1, -1))


def scale(layer: spec.MultiHeadAttention, width: int) -> float:
    """What queries are multiplied by."""
    return math.sqrt(layer.heads / width)


def _projected(
    layer: spec.MultiHeadAttention, variables: Variables, x: tf.Tensor, *parts: str
) -> list[tf.Tensor]:
    """Projections of (batch, time, features) by one product, queries scaled: (batch, heads, time, depth).

    A kernel has fewer numbers than what it gives: so it is the one that is scaled, and joined with others.
    """

    def joined(kind: str) -> tf.Tensor:
        found = [variables[f"{part}_{kind}"] for part in parts]
        if parts[0] == "query":
            found[0] = found[0] * scale(layer, found[0].shape[-1])
        return tf.concat(found, -1) if len(found) > 1 else found[0]

    whole = project(x, joined("kernel"), joined("bias") if layer.bias else None)
    batch, time, _ = x.shape
    apart = tf.reshape(whole, (batch, time, len(parts), layer.heads, -1))
    return tf.unstack(tf.transpose(apart, (2, 0, 3, 1, 4)))


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
