"""Every layer of the language in the forms that its tests take it in, and how one is run alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from harness.spec.initializers import draw
from harness.spec.layers import (
    GELU,
    GRU,
    LSTM,
    RNN,
    Add,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool1D,
    MaxPool2D,
    MultiHeadAttention,
    Pass,
    Positions,
    ReLU,
    Reshape,
    Select,
    Shape,
    Sigmoid,
    Softmax,
    Tanh,
    Unembedding,
    Upsample2D,
)
from harness.spec.tape import Array, concatenate, reshape
from tests.differences import Values, anywhere, generator

BATCH = 3

CASES: dict[str, list[tuple[Layer, tuple[Shape, ...]]]] = {
    "dense": [(Dense(4), ((5,),)), (Dense(2, bias=False), ((3,),))],
    "flatten": [(Flatten(), ((2, 3, 2),)), (Flatten(), ((4,),))],
    "conv2d": [
        (Conv2D(2, (3, 2)), ((5, 4, 3),)),
        (Conv2D(2, (3, 3), (2, 2), "same"), ((6, 5, 2),)),
        (Conv2D(2, (2, 3), (1, 2), ((1, 0), (2, 3)), bias=False), ((4, 4, 1),)),
    ],
    "max_pool2d": [(MaxPool2D(), ((4, 6, 2),)), (MaxPool2D((3, 2), (2, 2), "same"), ((6, 5, 2),))],
    "avg_pool2d": [(AvgPool2D(), ((5, 4, 2),)), (AvgPool2D((3, 3), (2, 2), ((1, 1), (2, 0))), ((6, 5, 2),))],
    "batch_norm": [(BatchNorm(), ((5,),)), (BatchNorm(1e-3, 0.7, "unbiased"), ((3, 2, 4),))],
    "dropout": [(Dropout(0.4), ((6,),)), (Dropout(0.0), ((2, 3),))],
    "relu": [(ReLU(), ((4, 3),))],
    "sigmoid": [(Sigmoid(), ((5,),))],
    "tanh": [(Tanh(), ((5,),))],
    "softmax": [(Softmax(), ((2, 5),))],
    "leaky_relu": [(LeakyReLU(), ((4, 3),)), (LeakyReLU(0.0), ((2,),))],
    "gelu": [(GELU(), ((5,),)), (GELU("tanh"), ((2, 3),))],
    "layer_norm": [(LayerNorm(), ((5,),)), (LayerNorm(1e-3), ((3, 2, 4),))],
    "global_avg_pool2d": [(GlobalAvgPool2D(), ((3, 4, 2),))],
    "depthwise_conv2d": [
        (DepthwiseConv2D((3, 2)), ((5, 4, 3),)),
        (DepthwiseConv2D((3, 3), (2, 2), "same", 2), ((6, 5, 2),)),
        (DepthwiseConv2D((2, 3), (1, 2), ((1, 0), (2, 3)), bias=False), ((4, 4, 1),)),
    ],
    "conv2d_transpose": [
        (Conv2DTranspose(2, (3, 2)), ((3, 4, 3),)),
        (Conv2DTranspose(3, (3, 3), (2, 2), "same"), ((3, 2, 2),)),
        (Conv2DTranspose(2, (2, 3), (3, 1), bias=False), ((2, 4, 1),)),
    ],
    "upsample2d": [(Upsample2D(), ((3, 2, 2),)), (Upsample2D((1, 3)), ((2, 2, 1),))],
    "add": [(Add(), ((3, 2), (3, 2))), (Add(), ((4,), (4,), (4,)))],
    "concatenate": [(Concatenate(), ((3, 2), (3, 1))), (Concatenate(), ((2,), (1,), (3,)))],
    "rnn": [
        (RNN(3), ((4, 2),)),
        (RNN(2, True, "two", True, True, "relu"), ((4, 3), (), (4,))),
    ],
    "lstm": [
        (LSTM(3), ((4, 2),)),
        (LSTM(2, True, "two", True, True), ((4, 3), (), (4,), (4,))),
        (LSTM(2, initial=True), ((1, 3), (2,), (2,))),
    ],
    "gru": [
        (GRU(3), ((4, 2),)),
        (GRU(2, True, "two", True, True), ((4, 3), (), (4,))),
        (GRU(3, lengths=True, biases="two", reset="before"), ((4, 2), ())),
    ],
    "embedding": [(Embedding(5, 3), ((4,),)), (Embedding(2, 4, scaled=True), ((),))],
    "unembedding": [(Unembedding(5), ((3, 2),)), (Unembedding(2), ((4,),))],
    "positions": [
        (Positions(), ((3, 4),)),
        (Positions(most=5), ((3, 2),)),
        (Positions("sinusoidal"), ((4, 5),)),
    ],
    "select": [(Select(0), ((3, 2),)), (Select(-1), ((2, 4),))],
    "global_avg_pool1d": [(GlobalAvgPool1D(), ((3, 2),)), (GlobalAvgPool1D(True), ((4, 2), ()))],
    "multi_head_attention": [
        (MultiHeadAttention(2), ((3, 4),)),
        (MultiHeadAttention(2, causal=True, lengths=True, bias=False), ((4, 6), ())),
        (MultiHeadAttention(1, memory=True, lengths=True), ((2, 4), (3, 5), ())),
    ],
    "conv1d": [
        (Conv1D(3, 2), ((4, 2),)),
        (Conv1D(2, 3, 2, "same"), ((6, 2),)),
        (Conv1D(2, 3, padding="causal", bias=False), ((4, 1),)),
    ],
    "max_pool1d": [(MaxPool1D(), ((5, 2),)), (MaxPool1D(3, 1), ((4, 3),))],
    "reshape": [(Reshape((3, 4)), ((2, 6),)), (Reshape((4,)), ((2, 2, 1),))],
}

EACH = [
    pytest.param(layer, shapes, id=f"{name}{number}")
    for name, cases in CASES.items()
    for number, (layer, shapes) in enumerate(cases)
]


@dataclass(frozen=True)
class Example:
    """A layer on random inputs with random parameters."""

    layer: Layer
    inputs: list[Values]
    parameters: dict[str, Values]

    def run(self, training: bool, random: np.random.Generator | None = None) -> tuple[Values, Pass]:
        this = Pass(training, random)
        arrays = {name: Array(value) for name, value in self.parameters.items()}
        return joined(self.layer, self.layer.apply(this, arrays, *map(Array, self.inputs))).value, this


def example(layer: Layer, *shapes: Shape, dtype: Any = np.float64, seed: int = 0) -> Example:
    initial = {
        name: draw(name, p.shape, p.initializer, p.fan_in, p.fan_out, seed)
        for name, p in layer.parameters(*shapes).items()
    }
    inputs = [random_input(layer, shapes, place, dtype, seed + 1) for place in range(len(shapes))]
    parameters = {name: value.astype(dtype) for name, value in anywhere(initial, seed).items()}
    return Example(layer, inputs, parameters)


def whole(layer: Layer, shapes: tuple[Shape, ...]) -> set[int]:
    """The places of inputs that are integers: tokens and lengths."""
    if isinstance(layer, Embedding):
        return {0}
    return {place for place, shape in enumerate(shapes) if shape == ()}


def random_input(layer: Layer, shapes: tuple[Shape, ...], place: int, dtype: Any, seed: int) -> Values:
    random, size = generator(seed + place), (BATCH, *shapes[place])
    if place not in whole(layer, shapes):
        return random.normal(size=size).astype(dtype)
    if isinstance(layer, Embedding):
        return random.integers(0, layer.tokens, size)
    # The shape before the lengths is that of the sequence that they belong to.
    return random.integers(1, shapes[place - 1][0] + 1, size)


def joined(layer: Layer, found: Array | tuple[Array, ...]) -> Array:
    """All that a layer gives as one array: the output, or (batch, everything) where there is more."""
    if isinstance(found, Array):
        return found
    return concatenate([reshape(each, (each.shape[0], math.prod(each.shape[1:]))) for each in found])


def values(layer: Layer, x: Any, training: bool = False, **parameters: Any) -> Values:
    arrays = {name: Array(np.asarray(value, float)) for name, value in parameters.items()}
    return joined(layer, layer.apply(Pass(training, generator(0)), arrays, Array(np.asarray(x, float)))).value
