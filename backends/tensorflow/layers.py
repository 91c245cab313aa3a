"""Each layer of the spec in TensorFlow's own ops.

TensorFlow keeps every tensor in the spec's layout: images (N, H, W, C), kernels (H, W, C, filters), of a
depthwise convolution (H, W, C, multiplier), of a transposed one (H, W, filters, C), and (features, units).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.spec.layers.recurrent import Recurrent
from harness.spec.model import Model, Node
from harness.spec.time_first import time_first, turns
from harness.worker.protocol import Unsupported

from .variables import Variables, variables_of

Output: TypeAlias = tf.Tensor | tuple[tf.Tensor, ...]


@dataclass(frozen=True)
class Pass:
    """One forward pass: what a lowering may ask about it."""

    training: bool
    compiled: bool
    """Whether XLA compiles it."""


class Graph(tf.Module):
    """A model's variables, and its graph of layers over them."""

    def __init__(self, model: Model, dtype: Any) -> None:
        super().__init__()
        self.model = model
        self.held, self.owners = variables_of(model, dtype)
        self.time_first = time_first(model)

    def __call__(self, this: Pass, *inputs: tf.Tensor, first_as_it_is: bool = False) -> tuple[tf.Tensor, ...]:
        """The outputs, batch first, but the first of them as it travels with `first_as_it_is`; in training,
        the layers' states are updated on the way.
        """

        def apply(node: Node, *values: tf.Tensor) -> Output:
            turned = zip(values, turns(node, self.time_first), strict=True)
            read = [swapped(value) if turn else value for value, turn in turned]
            return lower(node.layer, self.owners[node.name], this, *read)

        found = self.model.evaluate(inputs, apply)
        return tuple(
            swapped(value) if name in self.time_first and not (first_as_it_is and place == 0) else value
            for place, (name, value) in enumerate(zip(self.model.outputs, found, strict=True))
        )


def swapped(x: tf.Tensor) -> tf.Tensor:
    """(time, batch, ...) from (batch, time, ...), or back."""
    return tf.transpose(x, (1, 0, *range(2, len(x.shape))))


@functools.singledispatch
def lower(layer: spec.Layer, variables: Variables, this: Pass, *inputs: tf.Tensor) -> Output:
    """A layer's output for `inputs`, each (batch, *shape); a tuple where it gives more than that. Recurrent
    layers read and give their sequences time first; those that treat each step alone take either.
    """
    raise Unsupported(f"the tensorflow backend has no lowering for the layer {name_of(layer)!r}")


def lower_batch_first(layer: spec.Layer, variables: Variables, this: Pass, *inputs: tf.Tensor) -> Output:
    """`lower` with every sequence (batch, time, features)."""
    if not isinstance(layer, Recurrent):
        return lower(layer, variables, this, *inputs)
    output, *states = lower(layer, variables, this, swapped(inputs[0]), *inputs[1:])
    return swapped(output), *states


def project(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None, *, transposed: bool = False
) -> tf.Tensor:
    """x W + b over the last axis, as one product: `tf.linalg.matmul` would take each example by itself."""
    rows = tf.reshape(x, (-1, x.shape[-1]))
    y = tf.linalg.matmul(rows, kernel, transpose_b=transposed)
    if bias is not None:
        y = tf.nn.bias_add(y, bias)
    return tf.reshape(y, (*x.shape[:-1], y.shape[-1]))


@lower.register
def _(layer: spec.Dense, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return project(x, variables["kernel"], variables.get("bias"))


@lower.register
def _(layer: spec.Conv2D, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    y = tf.nn.conv2d(x, variables["kernel"], layer.strides, _padding(layer, x))
    return tf.nn.bias_add(y, variables["bias"]) if layer.bias else y


@lower.register
def _(layer: spec.DepthwiseConv2D, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    if len(set(layer.strides)) > 1 and not this.compiled:
        raise Unsupported(
            f"tf.nn.depthwise_conv2d with strides {list(layer.strides)}, TensorFlow {tf.__version__}: "
            "Current implementation only supports equal length strides in the row and column dimensions."
        )
    padding = _padding(layer, x)
    if not isinstance(padding, str):
        # Grappler ends the process on explicit pads: "Invalid index from the dimension: 1, 0, H".
        x, padding = tf.pad(x, padding), "VALID"
    y = tf.nn.depthwise_conv2d(x, variables["kernel"], (1, *layer.strides, 1), padding)
    return tf.nn.bias_add(y, variables["bias"]) if layer.bias else y


@lower.register
def _(layer: spec.Conv2DTranspose, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    shape = (x.shape[0], *layer.output_shape(tuple(x.shape[1:])))
    y = tf.nn.conv2d_transpose(x, variables["kernel"], shape, layer.strides, layer.padding.upper())
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
def _(layer: spec.GlobalAvgPool2D, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, (1, 2))


@lower.register
def _(layer: spec.Upsample2D, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    (n, h, w, c), (high, wide) = x.shape, layer.size
    if not this.compiled:
        return tf.image.resize(x, (h * high, w * wide), tf.image.ResizeMethod.NEAREST_NEIGHBOR)
    # "No registered 'ResizeNearestNeighborGrad' OpKernel for XLA_CPU_JIT devices"
    repeated = tf.broadcast_to(x[:, :, None, :, None, :], (n, h, high, w, wide, c))
    return tf.reshape(repeated, (n, h * high, w * wide, c))


@lower.register
def _(layer: spec.BatchNorm, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    scale, shift = variables["scale"], variables["shift"]
    running_mean, running_variance = variables["running_mean"], variables["running_variance"]
    if not this.training:
        return tf.nn.batch_normalization(x, running_mean, running_variance, shift, scale, layer.epsilon)
    count = int(np.prod(x.shape[:-1]))
    factor = layer.variance_factor(count)
    if this.compiled or x.dtype != tf.float32 or len(x.shape) != 4:
        mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
        y = tf.nn.batch_normalization(x, mean, variance, shift, scale, layer.epsilon)
    else:
        y, mean, variance = _fused_batch_norm(x, scale, shift, layer.epsilon)
        # It gives the unbiased variance, of one element zero.
        factor *= (count - 1) / count
    if not math.isclose(factor, 1.0):
        variance *= factor
    for running, fresh in ((running_mean, mean), (running_variance, variance)):
        running.assign_sub((running - fresh) * (1 - layer.momentum))
    return y


@lower.register
def _(layer: spec.LayerNorm, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    deviation = x - tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(deviation), -1, keepdims=True)
    return deviation * tf.math.rsqrt(variance + layer.epsilon) * variables["scale"] + variables["shift"]


@lower.register
def _(layer: spec.Dropout, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.nn.dropout(x, layer.rate) if this.training else x


@lower.register
def _(layer: spec.Flatten, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, (x.shape[0], -1))


@lower.register
def _(layer: spec.Reshape, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, (x.shape[0], *layer.shape))


@lower.register
def _(layer: spec.Add, variables: Variables, this: Pass, *inputs: tf.Tensor) -> tf.Tensor:
    return tf.math.add_n(inputs)


@lower.register
def _(layer: spec.Concatenate, variables: Variables, this: Pass, *inputs: tf.Tensor) -> tf.Tensor:
    return tf.concat(inputs, -1)


@lower.register
def _(layer: spec.ReLU, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(x)


@lower.register
def _(layer: spec.LeakyReLU, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    if x.dtype == tf.float32:
        return tf.nn.leaky_relu(x, layer.slope)
    # Its slope is a float32 attribute. Of equal arguments `maximum` gives the gradient to the first.
    return tf.math.maximum(x * layer.slope, x)


@lower.register
def _(layer: spec.GELU, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    # `tf.nn.gelu` casts its constants from float32, in float64 too.
    if layer.form == "exact":
        return x * (0.5 + 0.5 * tf.math.erf(x * math.sqrt(0.5)))
    root = math.sqrt(2 / math.pi)
    return x * (0.5 + 0.5 * tf.math.tanh(root * (x + 0.044715 * tf.math.pow(x, 3))))


@lower.register
def _(layer: spec.Sigmoid, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.math.sigmoid(x)


@lower.register
def _(layer: spec.Tanh, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.math.tanh(x)


@lower.register
def _(layer: spec.Softmax, variables: Variables, this: Pass, x: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(x)


def _padding(
    layer: spec.Conv2D | spec.DepthwiseConv2D | spec.MaxPool2D | spec.AvgPool2D, x: tf.Tensor
) -> Any:
    """VALID and SAME mean what they mean in the spec; explicit pads are one pair for each axis."""
    if isinstance(layer.padding, str):
        return layer.padding.upper()
    rows, columns = layer.pads(tuple(x.shape[1:]))
    return [[0, 0], list(rows), list(columns), [0, 0]]


def _fused_batch_norm(
    x: tf.Tensor, scale: tf.Variable, shift: tf.Variable, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Images (N, H, W, C) normalized by their own statistics, their mean and unbiased variance.

    The raw op, as `tf.compat.v1.nn.fused_batch_norm` raises an epsilon of 1e-5 to 1.001e-5.
    """
    unused = tf.constant([], x.dtype)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=shift, mean=unused, variance=unused, epsilon=epsilon
    )
    return y, mean, variance
