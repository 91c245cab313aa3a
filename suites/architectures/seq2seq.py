"""Sequence to sequence by LSTMs with attention (Sutskever et al. 2014, Luong et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping

from harness.spec.layers import (
    LSTM,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    MultiHeadAttention,
    Shape,
    Tanh,
)
from harness.spec.model import Model, Network


def seq2seq(
    shapes: Mapping[str, Shape], tokens: int, *, units: int, embedding: int = 64, dropout: float = 0.0
) -> Model:
    """An LSTM of `units`, half of them in each direction, reads `x`; one that begins with its last states
    reads `target`, attends at each step to what the first gave, and from both says a logit for each token.
    """
    net = Network(shapes["x"], "int")
    lengths, target = net.input("lengths"), net.input("target", shapes["target"])
    words = net.add(Embedding(tokens, embedding), "x")
    encoder = net.add(LSTM(units // 2, bidirectional=True, lengths=True), words, lengths)
    given = net.add(Embedding(tokens, embedding), target)
    if dropout:
        given = net.add(Dropout(dropout), given)
    decoder = net.add(LSTM(units, initial=True), given, f"{encoder}.hidden", f"{encoder}.cell")
    context = net.add(MultiHeadAttention(1, memory=True, lengths=True), decoder, encoder, lengths)
    both = net.chain(net.add(Concatenate(), decoder, context), Dense(units), Tanh())
    return net.model(net.add(Dense(tokens), net.add(Dropout(dropout), both) if dropout else both))
