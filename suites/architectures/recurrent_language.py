"""Recurrent language models."""

from __future__ import annotations

from typing import Literal

from harness.spec.layers import GRU, LSTM, RNN, Dense, Dropout, Embedding, Shape
from harness.spec.model import Model, Network


def recurrent_language(
    shape: Shape,
    tokens: int,
    *,
    cell: Literal["rnn", "lstm", "gru"] = "lstm",
    units: int,
    layers: int = 1,
    embedding: int = 64,
    dropout: float = 0.0,
    vocabulary: int | None = None,
) -> Model:
    """An embedding, `layers` of the cell, and at each step a logit for each token that may come next.
    `vocabulary` is how many tokens there are to be, where they are more than the data's.
    """
    size = max(tokens, vocabulary or 0)
    net = Network(shape, "int")
    last = net.add(Embedding(size, embedding), "x")
    kind = {"rnn": RNN, "lstm": LSTM, "gru": GRU}[cell]
    for _ in range(layers):
        last = net.add(kind(units), net.add(Dropout(dropout), last) if dropout else last)
    if dropout:
        last = net.add(Dropout(dropout), last)
    return net.model(net.add(Dense(size), last))
