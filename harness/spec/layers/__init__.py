"""The words of the language: every layer, its meaning beside its fields."""

from harness.spec.layers.activation import ReLU, Sigmoid, Softmax, Tanh
from harness.spec.layers.base import Layer, Parameter, Pass, Shape
from harness.spec.layers.convolution import Conv2D
from harness.spec.layers.dense import Dense, Flatten
from harness.spec.layers.dropout import Dropout
from harness.spec.layers.normalization import BatchNorm
from harness.spec.layers.pooling import AvgPool2D, MaxPool2D

__all__ = [
    "AvgPool2D",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "MaxPool2D",
    "Parameter",
    "Pass",
    "ReLU",
    "Shape",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
