"""Recurrent layers: MXNet's fused operator, and what it does not have written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock, rnn

from harness.spec.layers import GRU, LSTM, RNN
from harness.spec.layers.recurrent import Recurrent
from harness.worker.protocol import Layout

from .lowering import Lowered, Place, Slot, lower, tie

HELD = 1e4
"""What a gate is given to be shut or open: its sigmoid is 0 or 1, exactly."""

PARAMETERS = {
    "kernel": ("i2h_weight", Layout((1, 0))),
    "recurrent_kernel": ("h2h_weight", Layout((1, 0))),
    "bias": ("i2h_bias", Layout()),
    "recurrent_bias": ("h2h_bias", Layout()),
}
"""Gluon's name of each tensor, behind `l0_` or, of the reverse net, `r0_`. Gates are in the spec's order."""


class Recurrence(HybridBlock):
    """A recurrent layer: a sequence (time, batch, features), perhaps lengths (batch,) and first states
    (batch, units), to the output (time, batch, units) and the last states.

    MXNet's operator takes no lengths on a CPU ("RNN use_sequence_length option is only available for cuDNN").
    With lengths, as with nets of our own, each direction is a net by itself; the second reads the sequence
    turned round, which puts the padding behind it too.
    """

    def __init__(self, layer: Recurrent, place: Place) -> None:
        super().__init__()
        self.layer = layer
        self.time, features = place.shape
        # What nobody reads is not computed where it costs something.
        self.wanted = [not layer.lengths or name in place.used for name in layer.further]
        held = layer.lengths and "cell" in place.used
        apart = layer.bidirectional and (layer.lengths or _is_written_out(layer))
        self.both = layer.bidirectional and not apart
        self.first = _net(layer, features, held, bidirectional=self.both)
        self.second = _net(layer, features, held, bidirectional=False) if apart else None

    def tensors(self) -> dict[str, Slot]:
        """Where the spec's tensors are. Of one bias the other is frozen at zero: it has no gradient."""
        sides = [(self.first, "l0"), (self.second or self.first, "l0" if self.second else "r0")]
        found = {}
        for prefix, (net, side) in zip(self.layer.directions, sides, strict=False):
            for name in self.layer.names:
                native, layout = PARAMETERS[name]
                found[prefix + name] = getattr(net, f"{side}_{native}"), layout
            if self.layer.biases == "one":
                getattr(net, f"{side}_h2h_bias").grad_req = "null"
        return found

    def hybrid_forward(self, F: Any, steps: Any, *rest: Any) -> list[Any]:
        """Output and states; None for a state that nobody reads."""
        lengths, states = (rest[0], rest[1:]) if self.layer.lengths else (None, rest)
        return self.read(F, steps, self.time, lengths, states)

    def read(self, F: Any, steps: Any, time: int, lengths: Any, states: Sequence[Any]) -> list[Any]:
        """The same for `time` steps; from zeros without `states`."""
        nets = [self.first] if self.second is None else [self.first, self.second]
        parts = [[state] if len(nets) == 1 else F.split(state, 2, axis=1) for state in states]
        found = []
        for number, net in enumerate(nets):
            given = _turned_round(F, steps, lengths) if number else steps
            net.time = time
            output, *last = self._run(F, net, given, lengths, [part[number] for part in parts])
            found.append([_turned_round(F, output, lengths) if number else output, *last])
        output, *last = found[0] if len(found) == 1 else _side_by_side(F, found)
        if lengths is not None:
            output = F.SequenceMask(output, lengths, use_sequence_length=True)
        return [output, *last]

    def cell(self) -> Any:
        """Gluon's cell of this net, with its parameters. For one step it takes half as long as the operator,
        which lays out its weights anew in each call. A net of our own is its own cell.
        """
        if _is_written_out(self.layer):
            return self
        _, features = self.first.l0_i2h_weight.shape
        if isinstance(self.layer, RNN):
            cell = rnn.RNNCell(self.layer.units, activation=self.layer.activation, input_size=features)
        else:
            kind = rnn.LSTMCell if isinstance(self.layer, LSTM) else rnn.GRUCell
            cell = kind(self.layer.units, input_size=features)
        for name, _ in PARAMETERS.values():
            tie(cell, getattr(cell, name), getattr(self.first, f"l0_{name}"))
        return cell

    def step(self, F: Any, cell: Any, x: Any, states: list[Any]) -> list[Any]:
        """One step (batch, features) by the `cell`: output (batch, units) and states."""
        if cell is self:
            output, *new = self.read(F, F.expand_dims(x, axis=0), 1, None, states)
            return [F.reshape(output, shape=(-3, 0)), *new]
        output, new = cell(x, states)
        return [output, *new]

    def _run(self, F: Any, net: Any, steps: Any, lengths: Any, states: list[Any]) -> list[Any]:
        """One net over (time, batch, features): its output and last states."""
        if states:
            begun = [self._to_native(F, state) for state in states]
        else:
            batch = {"batch_size": steps.shape[1], "ctx": steps.context} if F is nd else {"func": F.zeros}
            begun = net.begin_state(**batch)
        if isinstance(net, HeldLSTM):
            # The cell stands still where there is padding; the hidden state does not.
            padded = F.zeros_like(F.slice_axis(steps, axis=2, begin=0, end=1))
            padded = F.SequenceMask(padded, lengths, use_sequence_length=True, value=1.0)
            steps = F.concat(steps, padded, dim=2)
        output, last = net(steps, begun)
        found = [self._to_spec(F, state) for state in last]
        if lengths is not None:
            found[0] = F.SequenceLast(output, lengths, use_sequence_length=True)
        return [output, *[state if read else None for state, read in zip(found, self.wanted, strict=True)]]

    def _to_native(self, F: Any, state: Any) -> Any:
        """(batch, units) as (1, batch, units); both directions side by side as (2, batch, units)."""
        if self.both:
            return F.swapaxes(F.reshape(state, shape=(0, 2, -1)), 0, 1)
        return F.expand_dims(state, axis=0)

    def _to_spec(self, F: Any, state: Any) -> Any:
        """Back from `_to_native`."""
        if self.both:
            return F.reshape(F.swapaxes(state, 0, 1), shape=(0, -1))
        return F.reshape(state, shape=(-3, 0))


class HeldLSTM(rnn.LSTM):
    """An LSTM whose last feature is 1 at the steps where its cell must stand still, and 0 elsewhere."""

    def __init__(self, units: int, features: int) -> None:
        super().__init__(units, input_size=features)
        shut, open_ = np.full((units, 1), -HELD), np.full((units, 1), HELD)
        gates = np.concatenate([shut, open_, np.zeros((2 * units, 1))])
        self.hold = self.params.get_constant("hold", nd.array(gates, dtype="float64"))

    def _forward_kernel(
        self, F: Any, inputs: Any, states: Any, sequence_length: Any, *, hold: Any, **tensors: Any
    ) -> Any:
        tensors["l0_i2h_weight"] = F.concat(tensors["l0_i2h_weight"], hold, dim=1)
        return super()._forward_kernel(F, inputs, states, sequence_length, **tensors)


class ResetBeforeGRU(rnn.GRU):
    """The GRU of the paper, n = tanh(x W + b + (r h) U + b'), step by step: the operator has the other."""

    time: int
    """How many steps the next call reads."""

    def _forward_kernel(
        self,
        F: Any,
        inputs: Any,
        states: Any,
        sequence_length: Any,
        *,
        l0_i2h_weight: Any,
        l0_h2h_weight: Any,
        l0_i2h_bias: Any,
        l0_h2h_bias: Any,
    ) -> Any:
        units = self._hidden_size
        projected = F.FullyConnected(inputs, l0_i2h_weight, l0_i2h_bias, num_hidden=3 * units, flatten=False)
        gates, candidates = (_steps(F, part, self.time) for part in _cut(F, projected, units, axis=2))
        gate_weight, candidate_weight = _cut(F, l0_h2h_weight, units, axis=0)
        gate_bias, candidate_bias = _cut(F, l0_h2h_bias, units, axis=0)
        (hidden,) = [F.reshape(state, shape=(-3, 0)) for state in states]
        found = []
        for gate, candidate in zip(gates, candidates, strict=True):
            share = F.FullyConnected(hidden, gate_weight, gate_bias, num_hidden=2 * units)
            reset, update = F.split(F.Activation(gate + share, act_type="sigmoid"), 2, axis=1)
            share = F.FullyConnected(reset * hidden, candidate_weight, candidate_bias, num_hidden=units)
            new = F.Activation(candidate + share, act_type="tanh")
            hidden = new + update * (hidden - new)
            found.append(hidden)
        return F.stack(*found, axis=0), [F.expand_dims(hidden, axis=0)]


def _is_written_out(layer: Recurrent) -> bool:
    return isinstance(layer, GRU) and layer.reset == "before"


def _net(layer: Recurrent, features: int, held: bool, *, bidirectional: bool) -> Any:
    """Gluon's layer, or our own, for sequences (time, batch, features)."""
    if held:
        return HeldLSTM(layer.units, features)
    words = {"input_size": features, "bidirectional": bidirectional}
    if isinstance(layer, RNN):
        return rnn.RNN(layer.units, activation=layer.activation, **words)
    if isinstance(layer, LSTM):
        return rnn.LSTM(layer.units, **words)
    return (ResetBeforeGRU if _is_written_out(layer) else rnn.GRU)(layer.units, **words)


def _turned_round(F: Any, steps: Any, lengths: Any) -> Any:
    """(time, batch, features) from the last real step to the first, the padding as it is."""
    if lengths is None:
        return F.reverse(steps, axis=0)
    return F.SequenceReverse(steps, lengths, use_sequence_length=True)


def _side_by_side(F: Any, found: list[list[Any]]) -> list[Any]:
    """What two nets gave, joined at the last axis."""
    return [None if one is None else F.concat(one, other, dim=-1) for one, other in zip(*found, strict=True)]


def _cut(F: Any, tensor: Any, units: int, axis: int) -> tuple[Any, Any]:
    """Three gates in a row: the first two, and the third."""
    return (
        F.slice_axis(tensor, axis=axis, begin=0, end=2 * units),
        F.slice_axis(tensor, axis=axis, begin=2 * units, end=3 * units),
    )


def _steps(F: Any, sequence: Any, time: int) -> list[Any]:
    """(time, batch, features) step by step."""
    if time == 1:
        return [F.reshape(sequence, shape=(-3, 0))]
    return list(F.split(sequence, time, axis=0, squeeze_axis=True))


def _lower(layer: Recurrent, place: Place) -> Lowered:
    block = Recurrence(layer, place)
    return Lowered(block, block.tensors())


for _layer in (RNN, LSTM, GRU):
    lower.register(_layer, _lower)
