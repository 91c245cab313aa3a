"""The words of the language: every layer, its meaning beside its fields."""

from harness.spec.layers.activation import (
    ACTIVATIONS,
    GELU,
    ActivationName,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from harness.spec.layers.base import Layer, Parameter, Pass, Shape
from harness.spec.layers.convolution import Conv2D, Conv2DTranspose, DepthwiseConv2D
from harness.spec.layers.dense import Dense, Flatten
from harness.spec.layers.dropout import Dropout
from harness.spec.layers.merging import Add, Concatenate, Reshape, Upsample2D
from harness.spec.layers.normalization import BatchNorm, LayerNorm
from harness.spec.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D

__all__ = [
    "ACTIVATIONS",
    "GELU",
    "ActivationName",
    "Add",
    "AvgPool2D",
    "BatchNorm",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2D",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "Parameter",
    "Pass",
    "ReLU",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Upsample2D",
]
