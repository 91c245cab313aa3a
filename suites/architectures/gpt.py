"""GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

from harness.spec.blocks import feed_forward, residual
from harness.spec.layers import (
    GELU,
    Dropout,
    Embedding,
    LayerNorm,
    MultiHeadAttention,
    Positions,
    Shape,
    Unembedding,
)
from harness.spec.model import Model, Network


def gpt(
    shape: Shape,
    tokens: int,
    *,
    width: int,
    layers: int,
    heads: int,
    dropout: float = 0.0,
    vocabulary: int | None = None,
    places: int | None = None,
) -> Model:
    """A causal Transformer with pre-norm, learnt positions, GELU by its tanh form, inner layers four times as
    wide, and the embedding's table for the logits too.

    `vocabulary` and `places` are rows of the tables where they are to be more than the data's tokens and
    steps. With width 768, 12 layers, 12 heads, 50,257 tokens and 1,024 places it is GPT-2 small, 124,439,808
    parameters.
    """
    size = max(tokens, vocabulary or 0)
    net = Network(shape, "int")
    table = net.add(Embedding(size, width), "x")
    last = net.add(Positions(most=places), table)
    if dropout:
        last = net.add(Dropout(dropout), last)
    for _ in range(layers):
        for inside in (
            lambda given: net.add(MultiHeadAttention(heads, causal=True), given),
            feed_forward(net, 4 * width, GELU("tanh"), width),
        ):
            last = residual(net, last, inside, norm=LayerNorm(), norm_first=True, dropout=dropout)
    return net.model(net.add(Unembedding(size), net.add(LayerNorm(), last), shares=table))
