"""Each layer of the spec in TensorFlow's own ops.

TensorFlow keeps every tensor in the spec's layout: images (N, H, W, C), kernels (H, W, C, filters) and
(features, units).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.spec.model import Model, Node, grouped
from harness.worker.protocol import Unsupported

Variables = Mapping[str, tf.Variable]


@dataclass(frozen=True)
class Pass:
    """One forward pass: what a lowering may ask about it."""

    training: bool
    compiled: bool
    """Whether XLA compiles it."""


class Graph(tf.Module):
    """A model's variables by the name `node/tensor`, and its graph of layers over them."""

    def __init__(self, model: Model, dtype: Any) -> None:
        super().__init__()
        self.model = model
        self.tensors = {
            name: tf.Variable(tf.zeros(parameter.shape, dtype), trainable=parameter.trainable, name=name)
            for name, parameter in model.parameters().items()
        }
        self.owners = grouped(self.tensors)

    def __call__(self, this: Pass, *inputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The outputs; in training, the layers' states are updated on the way."""

        def apply(node: Node, *values: tf.Tensor) -> tf.Tensor:
            return lower(node.layer, self.owners.get(node.name, {}), this, *values)

        return self.model.evaluate(inputs, apply)


@functools.singledispatch
def lower(layer: spec.Layer, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    """A layer's output for `x` (batch, *shape)."""
    raise Unsupported(f"the tensorflow backend has no lowering for the layer {name_of(layer)!r}")


@lower.register
def _(layer: spec.Dense, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    y = tf.linalg.matmul(x, variables["kernel"])
    return tf.nn.bias_add(y, variables["bias"]) if layer.bias else y


@lower.register
def _(layer: spec.Conv2D, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    y = tf.nn.conv2d(x, variables["kernel"], layer.strides, _padding(layer, x))
    return tf.nn.bias_add(y, variables["bias"]) if layer.bias else y


@lower.register
def _(layer: spec.MaxPool2D, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    padding = _padding(layer, x)
    if this.compiled and not isinstance(padding, str):
        # "XLA does not support pooling ops with explicit padding."
        x, padding = tf.pad(x, padding, constant_values=-np.inf), "VALID"
    return tf.nn.max_pool2d(x, layer.size, layer.steps, padding)


@lower.register
def _(layer: spec.AvgPool2D, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    if isinstance(layer.padding, str):
        # SAME, too, counts real elements alone.
        return tf.nn.avg_pool2d(x, layer.size, layer.steps, layer.padding.upper())
    padded = tf.pad(x, _padding(layer, x))
    means = tf.nn.avg_pool2d(padded, layer.size, layer.steps, "VALID")
    share = np.prod(layer.size) / layer.counts(tuple(x.shape[1:]))
    return means * tf.constant(share, x.dtype)


@lower.register
def _(layer: spec.BatchNorm, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    scale, shift = variables["scale"], variables["shift"]
    running_mean, running_variance = variables["running_mean"], variables["running_variance"]
    if not this.training:
        return tf.nn.batch_normalization(x, running_mean, running_variance, shift, scale, layer.epsilon)
    if this.compiled or x.dtype != tf.float32 or len(x.shape) != 4:
        mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
        y = tf.nn.batch_normalization(x, mean, variance, shift, scale, layer.epsilon)
    else:
        y, mean, variance = _fused_batch_norm(x, scale, shift, layer.epsilon)
    factor = layer.variance_factor(int(np.prod(x.shape[:-1])))
    for running, fresh in ((running_mean, mean), (running_variance, variance * factor)):
        running.assign_sub((running - fresh) * (1 - layer.momentum))
    return y


@lower.register
def _(layer: spec.Dropout, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.nn.dropout(x, layer.rate) if this.training else x


@lower.register
def _(layer: spec.Flatten, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, (x.shape[0], -1))


@lower.register
def _(layer: spec.ReLU, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(x)


@lower.register
def _(layer: spec.Sigmoid, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.math.sigmoid(x)


@lower.register
def _(layer: spec.Tanh, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.math.tanh(x)


@lower.register
def _(layer: spec.Softmax, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(x)


def _padding(layer: spec.Conv2D | spec.MaxPool2D | spec.AvgPool2D, x: tf.Tensor) -> Any:
    """VALID and SAME mean what they mean in the spec; explicit pads are one pair for each axis."""
    if isinstance(layer.padding, str):
        return layer.padding.upper()
    rows, columns = layer.pads(tuple(x.shape[1:]))
    return [[0, 0], list(rows), list(columns), [0, 0]]


def _fused_batch_norm(
    x: tf.Tensor, scale: tf.Variable, shift: tf.Variable, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Images (N, H, W, C) normalized by their own statistics, their mean and biased variance.

    The raw op, as `tf.compat.v1.nn.fused_batch_norm` raises an epsilon of 1e-5 to 1.001e-5.
    """
    unused = tf.constant([], x.dtype)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=shift, mean=unused, variance=unused, epsilon=epsilon
    )
    # It gives the unbiased variance, of one element zero.
    count = int(np.prod(x.shape[:-1]))
    return y, mean, variance * ((count - 1) / count)
