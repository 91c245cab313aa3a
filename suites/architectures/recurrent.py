"""Recurrent nets that say one thing of a sequence: its class, or how it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from harness.spec.layers import GRU, LSTM, RNN, Dense, Dropout, Embedding, Shape
from harness.spec.model import Model, Network


def recurrent(
    shape: Shape,
    classes: int,
    shapes: Mapping[str, Shape],
    tokens: int = 0,
    *,
    cell: Literal["rnn", "lstm", "gru"] = "lstm",
    units: int,
    layers: int = 1,
    bidirectional: bool = False,
    embedding: int = 64,
    dropout: float = 0.0,
) -> Model:
    """`layers` of the cell, one on the other, and from the last one's last state a logit for each class, or
    the values of a forecast. Tokens are embedded. Where the data have `lengths`, padding is passed over.
    """
    net = Network(shape, "int" if tokens else "float")
    lengths = (net.input("lengths"),) if "lengths" in shapes else ()
    last = net.add(Embedding(tokens, embedding), "x") if tokens else "x"
    kind = {"rnn": RNN, "lstm": LSTM, "gru": GRU}[cell]
    for _ in range(layers):
        layer = kind(units, bidirectional=bidirectional, lengths=bool(lengths))
        last = net.add(layer, net.add(Dropout(dropout), last) if dropout else last, *lengths)
    state = f"{last}.hidden"
    if dropout:
        state = net.add(Dropout(dropout), state)
    return net.model(net.add(Dense(classes), state))
