"""Faults in the layers of vectors, images and filters, and in how they are joined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.spec.layers import (
    GELU,
    Add,
    BatchNorm,
    Concatenate,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Sigmoid,
    Softmax,
)
from harness.spec.model import Model, Node
from tests.faults.changes import appended, at, every, graph, inputs, layers
from tests.faults.fault import Fault, changed, wrapped
from tests.faults.wraps import GradientZeroed, layout
from tests.proving_ground import CLASSES

Shape = tuple[int, ...]


def _momentum_reversed(layer: Layer, shape: Shape) -> Layer:
    return replace(layer, momentum=1 - layer.momentum) if isinstance(layer, BatchNorm) else layer


def _other_variance(layer: Layer, shape: Shape) -> Layer:
    if not isinstance(layer, BatchNorm):
        return layer
    return replace(layer, running_variance="biased" if layer.running_variance == "unbiased" else "unbiased")


def _no_bias(layer: Layer, shape: Shape) -> Layer:
    return replace(layer, bias=False) if isinstance(layer, Dense) and layer.units == CLASSES else layer


def _padding_on_the_other_side(layer: Layer, shape: Shape) -> Layer:
    if not isinstance(layer, (Conv2D, DepthwiseConv2D)):
        return layer
    (top, bottom), (left, right) = layer.pads(shape)
    return replace(layer, padding=((bottom, top), (right, left)))


def _cropped_on_the_other_side(layer: Layer, shape: Shape) -> Layer:
    """One row and column more, which `EDGED` fills with zeros: the odd pixel goes at the top and the left."""
    if not isinstance(layer, Conv2DTranspose) or layer.padding == "valid":
        return layer
    high, wide = layer.size
    return replace(layer, size=(high + 1, wide + 1))


def _pooled_by_maximum(model: Model) -> Model:
    """The largest pixel of each channel, under the name that the average had."""
    nodes: list[Node] = []
    for node, (shape, *_), _ in model.walk():
        if isinstance(node.layer, GlobalAvgPool2D):
            nodes.append(Node("extra", MaxPool2D((shape[0], shape[1])), node.inputs))
            nodes.append(Node(node.name, Flatten(), ("extra",)))
        else:
            nodes.append(node)
    return replace(model, nodes=tuple(nodes))


FLIPPED = layout(
    ("model/conv2d_transpose1/kernel",), lambda kernel: kernel[::-1, ::-1], lambda kernel: kernel[::-1, ::-1]
)
"""The kernel's rows and columns from the other end."""

BACKWARDS = layout(
    ("model/conv1d1/kernel", "model/conv1d2/kernel"), lambda kernel: kernel[::-1], lambda kernel: kernel[::-1]
)
"""The kernels' steps from the other end."""

EDGED = layout(
    ("model/conv2d_transpose1/kernel",),
    lambda kernel: np.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))),
    lambda kernel: kernel[:-1, :-1],
)
"""An edge of zeros at the kernel's end."""

MULTIPLIER_FIRST = layout(
    ("model/depthwise_conv2d1/kernel",),
    lambda kernel: kernel.swapaxes(2, 3).reshape(kernel.shape),
    lambda kernel: kernel.reshape(*kernel.shape[:2], kernel.shape[3], kernel.shape[2]).swapaxes(2, 3),
)
"""Every channel's first kernel, then every channel's second."""

CHANNELS_FIRST = layout(
    ("model/dense1/kernel", "model/dense1/bias"),
    lambda tensor: np.moveaxis(tensor.reshape(-1, 2, 3, 3), 1, -1).reshape(tensor.shape),
    lambda tensor: np.moveaxis(tensor.reshape(-1, 3, 3, 2), -1, 1).reshape(tensor.shape),
)
"""What is reshaped to (3, 3, 2) is laid out as (2, 3, 3)."""

TRANSPOSED = layout(("model/dense2/kernel",), np.transpose, np.transpose)
"""One square kernel the other way round."""


FAULTS: dict[str, Fault] = {
    "batch-norm epsilon 1e-3 for 1e-5": Fault("gelu", changed(every(BatchNorm, epsilon=1e-3))),
    "batch-norm momentum the other way round": Fault("gelu", changed(layers(_momentum_reversed))),
    "running variance biased for unbiased and back": Fault("gelu", changed(layers(_other_variance))),
    "softmax applied twice": Fault("gelu", changed(appended(Softmax()))),
    "a missing bias": Fault("gelu", changed(layers(_no_bias))),
    "a transposed kernel": Fault("gelu", wrapped(TRANSPOSED)),
    "one gradient tensor zeroed": Fault("gelu", wrapped(GradientZeroed)),
    "GELU by tanh for exact": Fault("gelu", changed(every(GELU, form="tanh"))),
    "GELU exact for by tanh": Fault("gelu", changed(every(GELU, form="exact"))),
    "leaky ReLU slope 0.3 for 0.2": Fault("masks", changed(every(LeakyReLU, slope=0.3))),
    "sigmoid applied twice": Fault("masks", changed(appended(Sigmoid()))),
    "padding on the wrong side": Fault("masks", changed(layers(_padding_on_the_other_side))),
    "transposed convolution flipped": Fault("masks", wrapped(FLIPPED)),
    "layer-norm epsilon 1e-3 for 1e-5": Fault("vectors", changed(every(LayerNorm, epsilon=1e-3))),
    "layer-norm epsilon 1e-6 for 1e-5": Fault("vectors", changed(every(LayerNorm, epsilon=1e-6))),
    "a skip connection left out": Fault(
        "vectors", changed(inputs(Add, lambda names: (names[-1],) * len(names)))
    ),
    "joined in the other order": Fault("vectors", changed(inputs(Concatenate, lambda names: names[::-1]))),
    "global pooling by maximum for average": Fault("grid", changed(graph(_pooled_by_maximum))),
    "reshaped channels first": Fault("grid", wrapped(CHANNELS_FIRST)),
    "depthwise padding on the wrong side": Fault("grid", changed(layers(_padding_on_the_other_side))),
    "depthwise kernels in the other order": Fault("grid", wrapped(MULTIPLIER_FIRST)),
    "transposed convolution cropped on the wrong side": Fault(
        "grid", changed(layers(_cropped_on_the_other_side), EDGED)
    ),
    # The one step of padding for windows of two is at the end for `same`, at the beginning for `causal`.
    "causal padding at the end": Fault("filters", changed(at("conv1d1", 0, padding="same"))),
    "the odd step of padding at the beginning": Fault("filters", changed(at("conv1d2", 0, padding="causal"))),
    "convolution flipped in time": Fault("filters", wrapped(BACKWARDS)),
}
