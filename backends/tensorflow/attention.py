"""Multi-head attention in TensorFlow's own ops: it has no fused one."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from harness.spec import layers as spec

from .layers import Pass, lower, project
from .variables import Variables, joined


@joined.register
def _(layer: spec.MultiHeadAttention) -> dict[str, tuple[str, ...]]:
    parts = ("key", "value") if layer.memory else ("query", "key", "value")
    kinds = ("kernel", "bias") if layer.bias else ("kernel",)
    return {_name(parts, kind): tuple(_name((part,), kind) for part in parts) for kind in kinds}


def _name(parts: tuple[str, ...], kind: str) -> str:
    return "_".join((*parts, kind))


@lower.register
def _(layer: spec.MultiHeadAttention, variables: Variables, this: Pass, *inputs: tf.Tensor) -> tf.Tensor:
    return attended(layer, variables, *inputs)[0]


def attended(
    layer: spec.MultiHeadAttention, variables: Variables, *inputs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The layer's output, and its keys and values, (batch, heads, steps, width / heads)."""
    x, memory = inputs[0], inputs[int(layer.memory)]
    if layer.memory:
        (queries,) = projected(layer, variables, x, "query", scaled=True)
        keys, values = projected(layer, variables, memory, "key", "value")
    else:
        queries, keys, values = projected(layer, variables, x, "query", "key", "value", scaled=True)
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
    side_by_side = tf.reshape(found, (batch, time, heads * depth))
    return project(side_by_side, variables["output_kernel"], variables.get("output_bias"))


def scale(layer: spec.MultiHeadAttention, width: int) -> float:
    """What queries are multiplied by."""
    return math.sqrt(layer.heads / width)


def projected(
    layer: spec.MultiHeadAttention, variables: Variables, x: tf.Tensor, *parts: str, scaled: bool = False
) -> list[tf.Tensor]:
    """These projections of (batch, time, features) by one product: each (batch, heads, time, depth).

    With `scaled` the first of them, the queries, is multiplied by `scale`. A kernel has fewer numbers than
    what it gives for a sequence, so it is the kernel that is.
    """

    def whole(kind: str) -> tf.Tensor:
        found = variables.get(_name(parts, kind))
        if found is None:
            found = tf.concat([variables[_name((part,), kind)] for part in parts], -1)
        return found * factors if scaled else found

    width = variables["output_kernel"].shape[0]
    factors = tf.constant(np.repeat([scale(layer, width), *[1.0] * (len(parts) - 1)], width), x.dtype)
    product = project(x, whole("kernel"), whole("bias") if layer.bias else None)
    batch, time, _ = x.shape
    apart = tf.reshape(product, (batch, time, len(parts), layer.heads, -1))
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
