"""Nodes that keep something from one generated token to the next, and how they go on from it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn
from torch.nn.functional import linear

from harness.spec import layers as spec
from harness.spec.layers.recurrent import Recurrent
from harness.worker.protocol import Unsupported

from .attention import Attention
from .recurrent import Reading, ResetBefore, forward_tensors, halves, reset_before
from .sequences import Positions

Place: TypeAlias = int | torch.Tensor
"""The step of a token: a number or, for a compiled step, which would be compiled anew for each number, (1,).
Attention then looks at its whole cache, with what is not there yet masked, as shapes must not change either.
"""


@dataclass(frozen=True)
class Room:
    """What caches are made for."""

    batch_size: int
    steps: int
    """The most tokens, prompt and all."""


class Cache(nn.Module):
    """A node of a model that generates."""

    def begin(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """The output for the prompt (batch, time, features); what was kept before is forgotten."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, place: Place) -> torch.Tensor:
        """The output for one more step, (batch, 1, features)."""
        raise NotImplementedError


class Placed(Cache):
    """Positions: nothing is kept."""

    def __init__(self, net: Positions) -> None:
        super().__init__()
        self.net = net

    def begin(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """The first places."""
        return self.net(x)

    def forward(self, x: torch.Tensor, place: Place) -> torch.Tensor:
        """That place."""
        return x + self.net.table[place]


class Attending(Cache):
    """Causal attention, which keeps keys and values."""

    def __init__(self, net: Attention, room: Room) -> None:
        super().__init__()
        self.net = net
        self.keys, self.values = net.room(room.batch_size, room.steps), net.room(room.batch_size, room.steps)
        self.steps = torch.arange(room.steps, device=self.keys.device)

    def begin(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """All steps of the prompt at once."""
        queries, keys, values = self.net.project(x, x)
        self.keys[:, :, : x.shape[1]] = keys
        self.values[:, :, : x.shape[1]] = values
        return self.net.attend(queries, keys, values, causal=True)

    def forward(self, x: torch.Tensor, place: Place) -> torch.Tensor:
        """Attend to all steps so far."""
        queries, keys, values = self.net.project(x, x)
        if isinstance(place, torch.Tensor):
            self.keys.index_copy_(2, place, keys)
            self.values.index_copy_(2, place, values)
            unseen = torch.zeros_like(self.keys[0, 0, :, 0]).masked_fill(self.steps > place, -torch.inf)
            return self.net.attend(queries, self.keys, self.values, unseen[None])
        end = place + 1
        self.keys[:, :, place:end] = keys
        self.values[:, :, place:end] = values
        return self.net.attend(queries, self.keys[:, :, :end], self.values[:, :, :end])


class Remembering(Cache):
    """Attention to a memory, whose keys and values are computed once."""

    def __init__(self, net: Attention, steps: int, room: Room) -> None:
        super().__init__()
        self.net = net
        self.keys, self.values = net.room(room.batch_size, steps), net.room(room.batch_size, steps)
        self.mask: torch.Tensor | None
        self.register_buffer(
            "mask", self.keys.new_empty(room.batch_size, 1, 1, steps) if net.layer.lengths else None
        )

    def begin(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """Keys and values of the memory, and the prompt's look at them."""
        queries, keys, values = self.net.project(x, others[0])
        self.keys.copy_(keys)
        self.values.copy_(values)
        if self.mask is not None:
            allowed = self.net.mask(others[-1], x.shape[1], keys.shape[2])
            # Added to scores: booleans would be made such numbers at each step.
            self.mask.fill_(-torch.inf).masked_fill_(allowed, 0.0)
        return self.net.attend(queries, self.keys, self.values, self.mask)

    def forward(self, x: torch.Tensor, place: Place) -> torch.Tensor:
        """Another look."""
        (queries,) = self.net.project_group(("query",), x)
        return self.net.attend(queries, self.keys, self.values, self.mask)


class Continuing(Cache):
    """A recurrent layer, which goes on from its states by torch's cells."""

    def __init__(self, layer: Recurrent, net: Reading | ResetBefore, room: Room) -> None:
        super().__init__()
        self.layer = layer
        self.read = net.forward
        # Not the module: torch.compile takes the tensors of torch's recurrent layers, not the layers.
        self.tensors = forward_tensors(net)
        kernel = self.tensors[0]
        assert kernel is not None
        self.states = [kernel.new_empty(room.batch_size, layer.units) for _ in layer.further]

    def begin(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """The whole prompt."""
        output, *states = self.read(x, *others)
        for kept, state in zip(self.states, states, strict=True):
            kept.copy_(state)
        return output

    def forward(self, x: torch.Tensor, place: Place) -> torch.Tensor:
        """One step."""
        states = cell(self.layer, x[:, 0], self.states, self.tensors)
        for kept, state in zip(self.states, states, strict=True):
            kept.copy_(state)
        return states[0][:, None]


def cell(
    layer: Recurrent, x: torch.Tensor, states: list[torch.Tensor], tensors: list[torch.Tensor | None]
) -> tuple[torch.Tensor, ...]:
    """The states after one step, by the operations of `nn.LSTMCell` and its like."""
    if isinstance(layer, spec.LSTM):
        return torch.lstm_cell(x, states, *tensors)
    if isinstance(layer, spec.GRU) and layer.reset == "before":
        kernel, recurrent_kernel, bias, recurrent_bias = tensors
        own = halves(recurrent_kernel, recurrent_bias)
        return (reset_before(linear(x, kernel, bias), states[0], *own),)
    if isinstance(layer, spec.GRU):
        return (torch.gru_cell(x, states[0], *tensors),)
    if isinstance(layer, spec.RNN):
        native = torch.rnn_tanh_cell if layer.activation == "tanh" else torch.rnn_relu_cell
        return (native(x, states[0], *tensors),)
    raise Unsupported(f"the torch backend has no cell for {type(layer).__name__}")


@functools.singledispatch
def cache_of(layer: spec.Layer, net: nn.Module, shapes: tuple[spec.Shape, ...], room: Room) -> Cache | None:
    """The cache of a node with these example shapes of its inputs; None where it treats each step alone."""
    return None


@cache_of.register
def _(layer: spec.Positions, net: nn.Module, shapes: tuple[spec.Shape, ...], room: Room) -> Cache:
    return Placed(net)


@cache_of.register
def _(layer: spec.MultiHeadAttention, net: nn.Module, shapes: tuple[spec.Shape, ...], room: Room) -> Cache:
    return Remembering(net, shapes[1][0], room) if layer.memory else Attending(net, room)


@cache_of.register
def _(layer: Recurrent, net: nn.Module, shapes: tuple[spec.Shape, ...], room: Room) -> Cache:
    return Continuing(layer, net, room)
