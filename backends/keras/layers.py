"""Each layer of the spec as layers of `keras.layers`, channels last.

Kernels, biases and statistics have the spec's own layout in Keras, those of depthwise and transposed
convolutions too.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from harness.spec import layers as spec
from harness.spec.layers import spatial
from harness.worker.protocol import Layout, Unsupported

from .framework import framework
from .lowering import Home, Lowered, Place, activation_of, homes, kernel_and_bias, lower


@lower.register
def _(layer: spec.Dense, place: Place) -> Lowered:
    native = keras.layers.Dense(layer.units, use_bias=layer.bias, kernel_regularizer=place.regularizer)
    return Lowered((native,), kernel_and_bias(native, layer.bias), takes_activation=True)


@lower.register
def _(layer: spec.Conv2D, place: Place) -> Lowered:
    before, padding = _padding(layer, place)
    native = keras.layers.Conv2D(
        layer.filters,
        layer.size,
        layer.strides,
        padding,
        data_format="channels_last",
        use_bias=layer.bias,
        kernel_regularizer=place.regularizer,
    )
    return Lowered((*_zeros(before), native), kernel_and_bias(native, layer.bias), takes_activation=True)


@lower.register
def _(layer: spec.DepthwiseConv2D, place: Place) -> Lowered:
    if keras.backend.backend() == "tensorflow" and layer.strides[0] != layer.strides[1]:
        raise Unsupported(
            f"keras {keras.__version__} on TensorFlow: DepthwiseConv2D with strides {list(layer.strides)} "
            'raises in float64 "Current implementation only supports equal length strides in the row and '
            'column dimensions", so that it cannot be proven'
        )
    before, padding = _padding(layer, place)
    native = keras.layers.DepthwiseConv2D(
        layer.size,
        layer.strides,
        padding,
        layer.multiplier,
        data_format="channels_last",
        use_bias=layer.bias,
        depthwise_regularizer=place.regularizer,
    )
    return Lowered((*_zeros(before), native), kernel_and_bias(native, layer.bias), takes_activation=True)


@lower.register
def _(layer: spec.Conv2DTranspose, place: Place) -> Lowered:
    # By default, Keras's "valid" fills the last stride with zeros where the kernel is smaller than it.
    short = any(size < stride for size, stride in zip(layer.size, layer.strides, strict=True))
    native = keras.layers.Conv2DTranspose(
        layer.filters,
        layer.size,
        layer.strides,
        layer.padding,
        output_padding=(0, 0) if short else None,
        data_format="channels_last",
        use_bias=layer.bias,
        kernel_regularizer=place.regularizer,
    )
    return Lowered((native,), kernel_and_bias(native, layer.bias), takes_activation=True)


@lower.register
def _(layer: spec.MaxPool2D, place: Place) -> Lowered:
    # On torch, Keras's "same" repeats the edge where the padding is uneven: that makes no new maximum.
    before, padding = _padding(layer, place)
    pool = keras.layers.MaxPooling2D(layer.size, layer.steps, padding, data_format="channels_last")
    return Lowered((PadWithMinusInfinity(before), pool) if before else (pool,))


@lower.register
def _(layer: spec.AvgPool2D, place: Place) -> Lowered:
    before, padding = _padding(layer, place)
    even = all(low == high for low, high in layer.pads(place.shape))
    if not before and (even or keras.backend.backend() != "torch"):
        pool = keras.layers.AveragePooling2D(layer.size, layer.steps, padding, data_format="channels_last")
        return Lowered((pool,))
    # Keras on torch repeats the edge under uneven padding and counts it; explicit padding is counted by all.
    share = layer.size[0] * layer.size[1] / layer.counts(place.shape)
    zeros = keras.layers.ZeroPadding2D(layer.pads(place.shape), data_format="channels_last")
    pool = keras.layers.AveragePooling2D(layer.size, layer.steps, "valid", data_format="channels_last")
    return Lowered((zeros, pool, Multiply(share)))


@lower.register
def _(layer: spec.GlobalAvgPool2D, place: Place) -> Lowered:
    return Lowered((keras.layers.GlobalAveragePooling2D(data_format="channels_last"),))


@lower.register
def _(layer: spec.Upsample2D, place: Place) -> Lowered:
    return Lowered((keras.layers.UpSampling2D(layer.size, "channels_last", "nearest"),))


@lower.register
def _(layer: spec.Add, place: Place) -> Lowered:
    return Lowered((keras.layers.Add(),))


@lower.register
def _(layer: spec.Concatenate, place: Place) -> Lowered:
    return Lowered((keras.layers.Concatenate(axis=-1),))


@lower.register
def _(layer: spec.Reshape, place: Place) -> Lowered:
    return Lowered((keras.layers.Reshape(layer.shape),))


@lower.register
def _(layer: spec.LayerNorm, place: Place) -> Lowered:
    native = keras.layers.LayerNormalization(epsilon=layer.epsilon)
    return Lowered((native,), homes(native, scale="gamma", shift="beta"))


@lower.register
def _(layer: spec.BatchNorm, place: Place) -> Lowered:
    count = place.batch_size * int(np.prod(place.shape[:-1]))
    if layer.running_variance == "unbiased" and count < 2:
        raise Unsupported(
            "the unbiased running variance of a batch with one value per channel is not defined"
        )
    factor = layer.variance_factor(count)
    # Keras's running variance is the biased one. Where the spec's is unbiased, the variable holds it divided
    # by n / (n - 1), a constant as every batch has the same size, and evaluation multiplies it back.
    biased, unbiased = framework.BatchNormalization, functools.partial(UnbiasedBatchNormalization, factor)
    native = (biased if factor == 1.0 else unbiased)(momentum=layer.momentum, epsilon=layer.epsilon)
    variance = Home(native, "moving_variance", Layout(factor=1 / factor))
    tensors = homes(native, scale="gamma", shift="beta", running_mean="moving_mean")
    return Lowered((native,), {**tensors, "running_variance": variance})


@lower.register
def _(layer: spec.Dropout, place: Place) -> Lowered:
    return Lowered((keras.layers.Dropout(layer.rate),))


@lower.register
def _(layer: spec.Flatten, place: Place) -> Lowered:
    return Lowered((keras.layers.Flatten(data_format="channels_last"),))


@lower.register(spec.ReLU)
@lower.register(spec.Sigmoid)
@lower.register(spec.Tanh)
@lower.register(spec.Softmax)
@lower.register(spec.LeakyReLU)
@lower.register(spec.GELU)
def _(layer: spec.Layer, place: Place) -> Lowered:
    return Lowered((keras.layers.Activation(activation_of(layer)),))


def _zeros(pads: spatial.Pads | None) -> tuple[keras.Layer, ...]:
    return (keras.layers.ZeroPadding2D(pads, data_format="channels_last"),) if pads else ()


def _padding(
    layer: spec.Conv2D | spec.DepthwiseConv2D | spec.MaxPool2D | spec.AvgPool2D, place: Place
) -> tuple[spatial.Pads | None, str]:
    """What must be padded before the layer, and the layer's own `padding`."""
    strides = layer.steps if isinstance(layer, (spec.MaxPool2D, spec.AvgPool2D)) else layer.strides
    pads = layer.pads(place.shape)
    for padding in ("valid", "same"):
        if pads == spatial.pads(padding, place.shape, layer.size, strides):
            return None, padding
    return pads, "valid"


class PadWithMinusInfinity(keras.layers.Layer):
    """(N, H, W, C) with edges that never win a maximum."""

    def __init__(self, pads: spatial.Pads, **options: Any) -> None:
        super().__init__(**options)
        self.pads = pads

    def call(self, x: Any) -> Any:
        """Pad height and width."""
        return ops.pad(x, ((0, 0), *self.pads, (0, 0)), constant_values=-np.inf)


class Multiply(keras.layers.Layer):
    """A product with a constant (rows, columns, 1)."""

    def __init__(self, constant: np.ndarray, **options: Any) -> None:
        super().__init__(**options)
        self.constant = constant

    def call(self, x: Any) -> Any:
        """x * constant."""
        return x * ops.convert_to_tensor(self.constant, dtype=x.dtype)


class UnbiasedBatchNormalization(framework.BatchNormalization):
    """Evaluation with the moving variance times a factor that the variable lacks; training is untouched."""

    def __init__(self, factor: float, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """As the native layer."""
        if training:
            return super().call(inputs, training=training, mask=mask)
        return ops.batch_normalization(
            inputs,
            self.moving_mean,
            self.moving_variance * self.factor,
            axis=-1,
            offset=self.beta,
            scale=self.gamma,
            epsilon=self.epsilon,
        )
