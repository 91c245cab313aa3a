"""Each layer of the spec as a Flax NNX module, or as the function that NNX has in its place.

NNX keeps the spec's own layouts: images (N, H, W, C), kernels (height, width, in, out) and (in, out).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from harness.spec import layers as spec
from harness.spec.codec import name_of
from harness.spec.model import Model
from harness.worker.protocol import Layout, Unsupported

Arrays = dict[str, Any]
Path = tuple[str | int, ...]
CallModel = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class Depthwise(Layout):
    """The spec's kernel (height, width, channels, multiplier) as the grouped convolution's
    (height, width, 1, channels * multiplier): the same numbers in the same order.
    """

    multiplier: int = 1

    def to_native(self, tensor: np.ndarray) -> np.ndarray:
        """From the spec's layout."""
        return tensor.reshape(*tensor.shape[:2], 1, -1)

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """Back to the spec's layout."""
        return tensor.reshape(*tensor.shape[:2], -1, self.multiplier)


@dataclass(frozen=True)
class Lowered:
    """How to make a module, which in NNX takes the random streams, and where the spec's tensors live in it:
    name to (attribute, layout).
    """

    module: Callable[[nnx.Rngs], Callable[..., Any]]
    tensors: dict[str, tuple[str, Layout]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """What a lowering may ask about the layer's place: the shape of an example of its first input, and the
    training batch.
    """

    shape: spec.Shape
    batch_size: int


class Models:
    """The models of a program, split once into their structure and their tensors (`nnx.split`), and merged
    again wherever a pure function is traced. Nothing of NNX is left in what is compiled.
    """

    def __init__(self, models: Mapping[str, Model], batch_size: int) -> None:
        self.models = models
        lowered = {
            name: [lower(node.layer, Place(incoming[0], batch_size)) for node, incoming, _ in model.walk()]
            for name, model in models.items()
        }
        self.layouts: dict[str, Layout] = {}
        names: dict[Path, str] = {}
        for name, layers in lowered.items():
            for index, (node, layer) in enumerate(zip(models[name].nodes, layers, strict=True)):
                for tensor, (attribute, layout) in layer.tensors.items():
                    canonical = f"{name}/{node.name}/{tensor}"
                    names[(name, index, attribute)] = canonical
                    self.layouts[canonical] = layout

        def make() -> dict[str, nnx.List]:
            rngs = nnx.Rngs(0)
            return {
                name: nnx.List([layer.module(rngs) for layer in layers]) for name, layers in lowered.items()
            }

        # Shapes alone: every number comes from `load`.
        modules = nnx.eval_shape(make)
        self.variables = nnx.to_flat_state(nnx.state(modules))
        self.names = {path: names.get(path) or "/".join(map(str, path)) for path, _ in self.variables}
        # A stream draws by its key and a counter. Only the counter moves; the keys are part of the program.
        self.keys = jax.jit(lambda: self._values(make(), nnx.RngKey))()
        self.counts = {
            self.names[path]: variable
            for path, variable in self.variables
            if isinstance(variable, nnx.RngCount)
        }
        for model in modules.values():
            model.train()
        self.training_structure = nnx.graphdef(modules)
        for model in modules.values():
            model.eval()
        self.evaluation_structure = nnx.graphdef(modules)

    def fresh_counts(self) -> Arrays:
        """The counters of the random streams at their start."""
        return {name: jnp.zeros(count.shape, count.dtype) for name, count in self.counts.items()}

    def training(self, state: Arrays) -> tuple[CallModel, Callable[[], Arrays]]:
        """How to call a model in training, and what to ask afterwards for the tensors that this changed."""
        modules = self._merge(self.training_structure, state)

        def changed() -> Arrays:
            return self._values(modules, nnx.BatchStat, nnx.RngCount)

        return self._caller(modules), changed

    def evaluation(self, state: Arrays) -> CallModel:
        """How to call a model in evaluation."""
        canonical = {
            name: state[name] / layout.factor for name, layout in self.layouts.items() if layout.factor != 1.0
        }
        return self._caller(self._merge(self.evaluation_structure, {**state, **canonical}))

    def _values(self, modules: dict[str, nnx.List], *kinds: type) -> Arrays:
        found = nnx.to_flat_state(nnx.state(modules, nnx.Any(*kinds)))
        return {self.names[path]: variable.get_value() for path, variable in found}

    def _merge(self, structure: nnx.GraphDef, state: Arrays) -> dict[str, nnx.List]:
        values = {**state, **self.keys}
        flat = [(path, variable.replace(values[self.names[path]])) for path, variable in self.variables]
        modules: dict[str, nnx.List] = nnx.merge(structure, nnx.from_flat_state(flat))
        return modules

    def _caller(self, modules: dict[str, nnx.List]) -> CallModel:
        def call_model(name: str, *inputs: Any) -> tuple[Any, ...]:
            model = self.models[name]
            layers = {node.name: layer for node, layer in zip(model.nodes, modules[name], strict=True)}
            return model.evaluate(inputs, lambda node, *values: layers[node.name](*values))

        return call_model


@functools.singledispatch
def lower(layer: spec.Layer, place: Place) -> Lowered:
    """The module for a layer."""
    raise Unsupported(f"the jax backend has no lowering for the layer {name_of(layer)!r}")


@lower.register
def _(layer: spec.Dense, place: Place) -> Lowered:
    (features,) = place.shape
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
def _(layer: spec.DepthwiseConv2D, place: Place) -> Lowered:
    channels = place.shape[2]
    bias = {"bias": ("bias", Layout())} if layer.bias else {}
    return Lowered(
        lambda rngs: nnx.Conv(
            channels,
            channels * layer.multiplier,
            layer.size,
            layer.strides,
            padding=layer.pads(place.shape),
            feature_group_count=channels,
            use_bias=layer.bias,
            rngs=rngs,
        ),
        {"kernel": ("kernel", Depthwise(multiplier=layer.multiplier)), **bias},
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


@lower.register
def _(layer: spec.LayerNorm, place: Place) -> Lowered:
    return Lowered(
        lambda rngs: nnx.LayerNorm(
            place.shape[-1], epsilon=layer.epsilon, use_fast_variance=False, rngs=rngs
        ),
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
