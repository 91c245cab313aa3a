"""BERT (Devlin et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from harness.spec.blocks import feed_forward, residual
from harness.spec.layers import (
    GELU,
    Add,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    MultiHeadAttention,
    Positions,
    Select,
    Shape,
    Tanh,
    Unembedding,
)
from harness.spec.model import Model, Network

EPSILON = 1e-12


def bert(
    shape: Shape,
    classes: int,
    shapes: Mapping[str, Shape],
    tokens: int,
    *,
    width: int,
    layers: int,
    heads: int,
    head: Literal["classify", "fill"] = "classify",
    dropout: float = 0.0,
    vocabulary: int | None = None,
    places: int | None = None,
    segments: int = 0,
) -> Model:
    """An encoder with post-norm, learnt positions, a normalization behind the embeddings, GELU and inner
    layers four times as wide. Where the data have `lengths`, padding is not attended to.

    The head `classify` is the pooler, a dense layer with tanh on the first step, and a logit a class; `fill`
    a dense layer with GELU and a normalization at each step, and a logit a token by the embedding's table.

    `vocabulary` and `places` are rows of the tables where they are to be more than the data's tokens and
    steps; `segments`, if any, the rows of one for the array `segments`. With width 768, 12 layers, 12 heads,
    30,522 tokens, 512 places and 2 segments the encoder with its pooler is BERT-base, 109,482,240 parameters,
    and with the head `fill` 109,483,776: those of the published masked language model, 109,514,298, less its
    bias of a number a token, which `Unembedding` does not have.
    """
    size = max(tokens, vocabulary or 0)
    net = Network(shape, "int")
    lengths = (net.input("lengths"),) if "lengths" in shapes else ()
    table = net.add(Embedding(size, width), "x")
    last = net.add(Positions(most=places), table)
    if segments:
        last = net.add(Add(), last, net.add(Embedding(segments, width), net.input("segments", shape)))
    last = net.add(LayerNorm(EPSILON), last)
    if dropout:
        last = net.add(Dropout(dropout), last)
    for _ in range(layers):
        for inside in (
            lambda given: net.add(MultiHeadAttention(heads, lengths=bool(lengths)), given, *lengths),
            feed_forward(net, 4 * width, GELU(), width),
        ):
            last = residual(net, last, inside, norm=LayerNorm(EPSILON), norm_first=False, dropout=dropout)
    if head == "fill":
        last = net.chain(last, Dense(width), GELU(), LayerNorm(EPSILON))
        return net.model(net.add(Unembedding(size), last, shares=table))
    pooled = net.chain(last, Select(0), Dense(width), Tanh())
    return net.model(net.add(Dense(classes), net.add(Dropout(dropout), pooled) if dropout else pooled))
