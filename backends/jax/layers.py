"""Each layer of the spec as a Flax NNX module, or as the function that NNX has in its place.

NNX keeps the spec's own layouts: images (N, H, W, C), kernels (height, width, in, out) and (in, out).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.worker.protocol import Layout, Unsupported


@dataclass(frozen=True)
class Reshaped(Layout):
    """The spec's tensor of the shape `canonical` with its numbers in the same order, but another shape."""

    native: spec.Shape = ()
    canonical: spec.Shape = ()

    def to_native(self, tensor: np.ndarray) -> np.ndarray:
        """From the spec's layout."""
        return tensor.reshape(self.native)

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """Back to the spec's layout."""
        return tensor.reshape(self.canonical)


@dataclass(frozen=True)
class Lowered:
    """How to make a module, which in NNX takes the random streams, and where the spec's tensors live in it:
    name to (attributes with dots between them, layout).
    """

    module: Callable[[nnx.Rngs], Callable[..., Any]]
    tensors: dict[str, tuple[str, Layout]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """What a lowering may ask about the layer's place: the shapes of an example of its inputs, and the
    training batch.
    """

    shapes: tuple[spec.Shape, ...]
    batch_size: int

    @property
    def shape(self) -> spec.Shape:
        """Of the first input."""
        return self.shapes[0]


@functools.singledispatch
def lower(layer: spec.Layer, place: Place) -> Lowered:
    """The module for a layer."""
    raise Unsupported(f"the jax backend has no lowering for the layer {name_of(layer)!r}")


@lower.register
def _(layer: spec.Dense, place: Place) -> Lowered:
    features = place.shape[-1]
    bias = {"bias": ("bias", Layout())} if layer.bias else {}
    return Lowered(
        lambda rngs: nnx.Linear(features, layer.units, use_bias=layer.bias, rngs=rngs),
        {"kernel": ("kernel", Layout()), **bias},
    )


@lower.register
def _(layer: spec.Conv2D, place: Place) -> Lowered:
    bias = {"bias": ("bias", Layout())} if layer.bias else {}
    return Lowered(
        lambda rngs: nnx.Conv(
            place.shape[2],
            layer.filters,
            layer.size,
            layer.strides,
            padding=layer.pads(place.shape),
            use_bias=layer.bias,
            rngs=rngs,
        ),
        {"kernel": ("kernel", Layout()), **bias},
    )


@lower.register
def _(layer: spec.Conv1D, place: Place) -> Lowered:
    bias = {"bias": ("bias", Layout())} if layer.bias else {}
    return Lowered(
        lambda rngs: nnx.Conv(
            place.shape[1],
            layer.filters,
            (layer.size,),
            layer.stride,
            padding=(layer.pads(place.shape),),
            use_bias=layer.bias,
            rngs=rngs,
        ),
        {"kernel": ("kernel", Layout()), **bias},
    )


@lower.register
def _(layer: spec.DepthwiseConv2D, place: Place) -> Lowered:
    channels = place.shape[2]
    outputs = channels * layer.multiplier
    kernel = Reshaped(native=(*layer.size, 1, outputs), canonical=(*layer.size, channels, layer.multiplier))
    bias = {"bias": ("bias", Layout())} if layer.bias else {}
    return Lowered(
        lambda rngs: nnx.Conv(
            channels,
            outputs,
            layer.size,
            layer.strides,
            padding=layer.pads(place.shape),
            feature_group_count=channels,
            use_bias=layer.bias,
            rngs=rngs,
        ),
        {"kernel": ("kernel", kernel), **bias},
    )


@lower.register
def _(layer: spec.Conv2DTranspose, place: Place) -> Lowered:
    # These pads are of the convolution over the spread input: size - 1 on every side crops nothing.
    pads = tuple(
        (size - 1 - before, size - 1 - after)
        for size, (before, after) in zip(layer.size, layer.crops(), strict=True)
    )
    bias = {"bias": ("bias", Layout())} if layer.bias else {}
    return Lowered(
        lambda rngs: nnx.ConvTranspose(
            place.shape[2],
            layer.filters,
            layer.size,
            layer.strides,
            padding=pads,
            use_bias=layer.bias,
            transpose_kernel=True,
            rngs=rngs,
        ),
        {"kernel": ("kernel", Layout()), **bias},
    )


@lower.register
def _(layer: spec.MaxPool2D, place: Place) -> Lowered:
    return _function(
        functools.partial(
            nnx.max_pool, window_shape=layer.size, strides=layer.steps, padding=layer.pads(place.shape)
        )
    )


@lower.register
def _(layer: spec.MaxPool1D, place: Place) -> Lowered:
    return _function(functools.partial(nnx.max_pool, window_shape=(layer.size,), strides=(layer.step,)))


@lower.register
def _(layer: spec.AvgPool2D, place: Place) -> Lowered:
    return _function(
        functools.partial(
            nnx.avg_pool,
            window_shape=layer.size,
            strides=layer.steps,
            padding=layer.pads(place.shape),
            count_include_pad=False,
        )
    )


@lower.register
def _(layer: spec.GlobalAvgPool2D, place: Place) -> Lowered:
    return _function(lambda x: x.mean((1, 2)))


@lower.register
def _(layer: spec.GlobalAvgPool1D, place: Place) -> Lowered:
    if not layer.lengths:
        return _function(lambda x: x.mean(1))
    (time, _), _ = place.shapes
    return _function(lambda x, lengths: x.mean(1, where=(jnp.arange(time) < lengths[:, None])[..., None]))


@lower.register
def _(layer: spec.Upsample2D, place: Place) -> Lowered:
    rows, columns = layer.size
    return _function(lambda x: x.repeat(rows, 1).repeat(columns, 2))


@lower.register
def _(layer: spec.BatchNorm, place: Place) -> Lowered:
    count = place.batch_size * math.prod(place.shape[:-1])
    if layer.running_variance == "unbiased" and count < 2:
        raise Unsupported("the unbiased variance of a single value is not defined")
    # Flax's running variance is the biased one. Where the spec's is unbiased, the variable holds it times
    # (n - 1) / n, a constant as every batch has the same size, and evaluation divides it out.
    factor = 1 / layer.variance_factor(count)
    return Lowered(
        lambda rngs: nnx.BatchNorm(
            place.shape[-1],
            momentum=layer.momentum,
            epsilon=layer.epsilon,
            use_fast_variance=False,
            rngs=rngs,
        ),
        {
            "scale": ("scale", Layout()),
            "shift": ("bias", Layout()),
            "running_mean": ("mean", Layout()),
            "running_variance": ("var", Layout(factor=factor)),
        },
    )


class LayerNorm(nnx.LayerNorm):
    """`nnx.LayerNorm` with the deviation from the mean taken once, for the variance and for the output: XLA's
    gradient of NNX's own accurate variance, which takes it twice, costs a Transformer a quarter of its step.
    """

    def __call__(self, x: Any) -> Any:
        """Over the last axis."""
        deviation = x - x.mean(-1, keepdims=True)
        variance = jnp.square(deviation).mean(-1, keepdims=True)
        return deviation * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...] + self.bias[...]


@lower.register
def _(layer: spec.LayerNorm, place: Place) -> Lowered:
    return Lowered(
        lambda rngs: LayerNorm(place.shape[-1], epsilon=layer.epsilon, rngs=rngs),
        {"scale": ("scale", Layout()), "shift": ("bias", Layout())},
    )


@lower.register
def _(layer: spec.Dropout, place: Place) -> Lowered:
    return Lowered(lambda rngs: nnx.Dropout(layer.rate, rngs=rngs))


@lower.register
def _(layer: spec.Flatten, place: Place) -> Lowered:
    return _function(lambda x: x.reshape(len(x), -1))


@lower.register
def _(layer: spec.Reshape, place: Place) -> Lowered:
    return _function(lambda x: x.reshape(len(x), *layer.shape))


@lower.register
def _(layer: spec.Select, place: Place) -> Lowered:
    return _function(lambda x: x[:, layer.step])


@lower.register
def _(layer: spec.Add, place: Place) -> Lowered:
    return _function(lambda *inputs: functools.reduce(operator.add, inputs))


@lower.register
def _(layer: spec.Concatenate, place: Place) -> Lowered:
    return _function(lambda *inputs: jnp.concatenate(inputs, -1))


@lower.register
def _(layer: spec.ReLU, place: Place) -> Lowered:
    return _function(nnx.relu)


@lower.register
def _(layer: spec.LeakyReLU, place: Place) -> Lowered:
    # nnx.leaky_relu has gradient one at zero, the spec the slope.
    return _function(lambda x: jnp.where(x > 0, x, layer.slope * x))


@lower.register
def _(layer: spec.GELU, place: Place) -> Lowered:
    return _function(functools.partial(nnx.gelu, approximate=layer.form == "tanh"))


@lower.register
def _(layer: spec.Sigmoid, place: Place) -> Lowered:
    return _function(nnx.sigmoid)


@lower.register
def _(layer: spec.Tanh, place: Place) -> Lowered:
    return _function(nnx.tanh)


@lower.register
def _(layer: spec.Softmax, place: Place) -> Lowered:
    return _function(nnx.softmax)


def _function(function: Callable[..., Any]) -> Lowered:
    """A layer without tensors is a plain function in NNX."""
    return Lowered(lambda rngs: function)
