"""Faults in recurrent layers: gates, biases, lengths, states, directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from harness.spec.layers import GRU, LSTM, RNN, Layer, Select
from tests.faults.changes import at, every, inserted, layers
from tests.faults.fault import Fault, changed, wrapped
from tests.faults.wraps import BiasesMerged, Given, Misread, Placed, exchanged, layout

Values = np.ndarray


def _tensors(node: str, *names: str) -> tuple[str, ...]:
    return tuple(f"model/{node}/{name}" for name in names)


def _by_gates(gates: int, change: Callable[[Values], Values]) -> Callable[[Values], Values]:
    """A change to (..., gates, units) of (..., gates * units)."""
    return lambda tensor: change(tensor.reshape(*tensor.shape[:-1], gates, -1)).reshape(tensor.shape)


def _reordered(node: str, order: Sequence[int]) -> Misread:
    """The gates of a layer with two biases in another order."""
    names = _tensors(node, "kernel", "recurrent_kernel", "bias", "recurrent_bias")
    back = np.argsort(order)
    return layout(
        names,
        _by_gates(len(order), lambda gates: gates[..., list(order), :]),
        _by_gates(len(order), lambda gates: gates[..., back, :]),
    )


def _times(node: str, *factors: float) -> Misread:
    """Each gate of a layer with two biases times a number that is its own inverse."""
    names = _tensors(node, "kernel", "recurrent_kernel", "bias", "recurrent_bias")
    change = _by_gates(len(factors), lambda gates: gates * np.array(factors)[:, np.newaxis])
    return layout(names, change, change)


def _plus(node: str, *terms: float) -> Misread:
    """A number more for each gate."""
    column = np.array(terms)[:, np.newaxis]
    return layout(
        _tensors(node, "bias"),
        _by_gates(len(terms), lambda gates: gates + column),
        _by_gates(len(terms), lambda gates: gates - column),
    )


def _other_reset(layer: Layer, shape: tuple[int, ...]) -> Layer:
    if not isinstance(layer, GRU):
        return layer
    return replace(layer, reset="before" if layer.reset == "after" else "after")


def _one_less(arrays: Given) -> Given:
    return {"lengths": np.maximum(arrays["lengths"] - 1, 1)}


RECURRENT_KERNEL = layout(_tensors("rnn1", "recurrent_kernel"), np.transpose, np.transpose)
"""The hidden state times the transpose."""

DIRECTIONS = exchanged(
    *((f"model/rnn1/{name}", f"model/rnn1/reverse_{name}") for name in ("kernel", "recurrent_kernel", "bias"))
)
"""The net that reads from the end has the tensors of the one that reads from the start."""

FAULTS: dict[str, Fault] = {
    "an LSTM's gates in the order i, f, o, g": Fault("gates", wrapped(_reordered("lstm1", (0, 1, 3, 2)))),
    "an LSTM's gates in the order i, g, f, o": Fault("gates", wrapped(_reordered("lstm1", (0, 2, 1, 3)))),
    "a GRU's gates in the order z, r, n": Fault("gates", wrapped(_reordered("gru1", (1, 0, 2)))),
    "a GRU's update gate the other way round": Fault("gates", wrapped(_times("gru1", 1.0, -1.0, 1.0))),
    "one more added to the forget gate": Fault("gates", wrapped(_plus("lstm1", 0.0, 1.0, 0.0, 0.0))),
    "reset before the product for after and back": Fault("gates", changed(layers(_other_reset))),
    "an LSTM's second bias missing": Fault(
        "gates", wrapped(layout(_tensors("lstm1", "recurrent_bias"), np.zeros_like))
    ),
    "a GRU's second bias missing": Fault(
        "gates", wrapped(layout(_tensors("gru1", "recurrent_bias"), np.zeros_like))
    ),
    "two biases learnt as one": Fault("gates", changed(every(LSTM, biases="one"), BiasesMerged)),
    "ReLU for tanh in a recurrent net": Fault("padded", changed(every(RNN, activation="relu"))),
    "a recurrent kernel transposed": Fault("padded", wrapped(RECURRENT_KERNEL)),
    "directions exchanged": Fault("padded", wrapped(DIRECTIONS)),
    # What the forward net gives at real steps is the same, and what either gives at others is not read.
    "a reverse net that begins in the padding": Fault("padded", changed(at("rnn1", 0, lengths=False))),
    "last states taken behind the padding": Fault("padded", changed(at("lstm1", 0, lengths=False))),
    "the last step's output for the last state": Fault(
        "padded", changed(inserted(Select(-1), "lstm1", "lstm2", 1))
    ),
    "lengths one too short": Fault("padded", wrapped(Placed(_one_less))),
    "mean over padding too": Fault("padded", changed(at("global_avg_pool1d1", 0, lengths=False))),
    "first states forgotten": Fault("padded", changed(at("lstm2", 0, initial=False))),
    "hidden and cell state exchanged": Fault("padded", changed(at("lstm2", 0, 2, 1))),
}
