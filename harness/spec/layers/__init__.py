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
from harness.spec.layers.attention import MultiHeadAttention
from harness.spec.layers.base import Layer, Parameter, Pass, Shape
from harness.spec.layers.convolution import Conv2D, Conv2DTranspose, DepthwiseConv2D
from harness.spec.layers.convolution1d import Conv1D, MaxPool1D
from harness.spec.layers.dense import Dense, Flatten
from harness.spec.layers.dropout import Dropout
from harness.spec.layers.merging import Add, Concatenate, Reshape, Upsample2D
from harness.spec.layers.normalization import BatchNorm, LayerNorm
from harness.spec.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from harness.spec.layers.recurrent import GRU, LSTM, RNN
from harness.spec.layers.sequence import Embedding, GlobalAvgPool1D, Positions, Select, Unembedding

__all__ = [
    "ACTIVATIONS",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "ActivationName",
    "Add",
    "AvgPool2D",
    "BatchNorm",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool1D",
    "MaxPool2D",
    "MultiHeadAttention",
    "Parameter",
    "Pass",
    "Positions",
    "ReLU",
    "Reshape",
    "Select",
    "Shape",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Unembedding",
    "Upsample2D",
]
