"""Recurrent layers: torch's own on sequences (batch, time, features), and the paper's GRU, which it lacks.

Each gives its output and its last states, as the spec has them: (batch, units) or (batch, 2 units).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from harness.spec.layers.recurrent import GRU, LSTM, RNN, Recurrent
from harness.worker.protocol import Layout

from .layers import Lowered, Native, Place, lower

PARTS = {
    "kernel": ("weight_ih", Layout((1, 0))),
    "recurrent_kernel": ("weight_hh", Layout((1, 0))),
    "bias": ("bias_ih", Layout()),
    "recurrent_bias": ("bias_hh", Layout()),
}
"""torch's names of a direction's tensors. Its gates have the spec's order."""


def attribute(name: str) -> str:
    """torch's name for a tensor of the spec: `reverse_kernel` is `weight_ih_l0_reverse`."""
    part = name.removeprefix("reverse_")
    return f"{PARTS[part][0]}_l0{'_reverse' if part != name else ''}"


class Reading(nn.Module):
    """One of torch's recurrent layers with the spec's inputs and outputs."""

    def __init__(self, layer: Recurrent, features: int) -> None:
        super().__init__()
        self.net = native(layer, features, layer.bidirectional)

    # torch.compile takes none of torch's recurrent layers. Where it meets one itself it leaves the whole step
    # uncompiled; here it runs this as it is and compiles what comes before and after.
    @torch.compiler.disable
    def forward(self, x: torch.Tensor, *first: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output and the last states."""
        directions = 2 if self.net.bidirectional else 1
        output, last = self.net(
            x, _one_or_all([s.unflatten(1, (directions, -1)).transpose(0, 1).contiguous() for s in first])
        )
        return output, *[state.transpose(0, 1).flatten(1) for state in _all(last)]


class Padded(nn.Module):
    """torch's recurrent layers over sequences that differ in length, a layer for each direction.

    They read the padding too. The output there is made zero, the last hidden state is the output of the last
    real step, and the reverse layer is given each sequence's real steps from the last to the first. An LSTM's
    last cell is no output: where it is wanted, a further feature, one in padding, closes the input gate and
    opens the forget gate, so that the cell stays as it is.

    Packed sequences do the same and are what torch teaches, but oneDNN's fused LSTM does not take them.
    """

    CLOSED = 1e4
    """What closes or opens a gate for good: the sigmoid is 0 or 1 to the last digit, and its slope zero."""

    def __init__(self, layer: Recurrent, features: int, with_cell: bool) -> None:
        super().__init__()
        self.kept = len(layer.further)
        self.with_cell = with_cell
        self.nets = nn.ModuleList([native(layer, features, False) for _ in layer.directions])
        if with_cell:
            gates = torch.tensor([[-self.CLOSED], [self.CLOSED], [0.0], [0.0]])
            self.register_buffer("gates", gates.repeat_interleave(layer.units, 0), persistent=False)

    @torch.compiler.disable
    def forward(self, x: torch.Tensor, lengths: torch.Tensor, *first: torch.Tensor) -> tuple[Any, ...]:
        """The output and the last states, but None for a cell that is not wanted."""
        batch, time, _ = x.shape
        steps = torch.arange(time, device=x.device)
        real = steps < lengths[:, None]
        begin = torch.arange(0, batch * time, time, device=x.device)
        turned = torch.where(real, lengths[:, None] - 1 - steps, steps)
        rows, last = (turned + begin[:, None]).flatten(), begin + lengths - 1
        padding = (~real)[:, :, None].to(x.dtype) if self.with_cell else None
        chunks = [state.chunk(len(self.nets), 1) for state in first]
        found = []
        for number, net in enumerate(self.nets):
            given = _rows(x, rows) if number else x
            own = [chunk[number][None].contiguous() for chunk in chunks]
            output, cell = self._read(net, given, padding, own)
            hidden = output.flatten(0, 1).index_select(0, last)
            found.append((_rows(output, rows) if number else output, hidden, cell))
        outputs, *states = zip(*found, strict=True)
        output = torch.cat(outputs, 2) * real[:, :, None].to(x.dtype)
        return output, *[None if state[0] is None else torch.cat(state, 1) for state in states[: self.kept]]

    def _read(
        self, net: nn.RNNBase, x: torch.Tensor, padding: torch.Tensor | None, first: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One direction's output and, where it is wanted, its last cell."""
        if padding is None:
            return net(x, _one_or_all(first))[0], None
        kernel, *others = net.all_weights[0]
        states = first or [x.new_zeros(1, x.shape[0], net.hidden_size)] * 2
        weights = [torch.cat((kernel, self.gates), 1), *others]
        given = torch.cat((x, padding), 2)
        output, _, cell = torch.lstm(given, states, weights, True, 1, 0.0, self.training, False, True)
        return output, cell[0]


def native(layer: Recurrent, features: int, bidirectional: bool) -> nn.RNNBase:
    """torch's layer. Where the spec has one bias its second one stays zero: it does not learn, nor has it
    a gradient.
    """
    kind = {RNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}[type(layer)]
    activation = {"nonlinearity": layer.activation} if isinstance(layer, RNN) else {}
    net = kind(features, layer.units, batch_first=True, bidirectional=bidirectional, **activation)
    if layer.biases == "one":
        for name, tensor in net.named_parameters():
            if name.startswith("bias_hh"):
                nn.init.zeros_(tensor).requires_grad_(False)
    return net


def forward_tensors(module: Reading | ResetBefore) -> list[torch.Tensor | None]:
    """Kernel, recurrent kernel and both biases of the net that reads forwards, as torch's cells take them."""
    owner = module.net if isinstance(module, Reading) else module
    return [getattr(owner, attribute(name), None) for name in PARTS]


def _one_or_all(states: list[torch.Tensor]) -> Any:
    """States as torch's layers take them."""
    if not states:
        return None
    return states[0] if len(states) == 1 else tuple(states)


def _all(states: Any) -> tuple[torch.Tensor, ...]:
    return states if isinstance(states, tuple) else (states,)


def _rows(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The steps of all sequences in another order."""
    return x.flatten(0, 1).index_select(0, rows).view(x.shape)


class ResetBefore(nn.Module):
    """The GRU that resets before the product, step by step, with tensors named as in `nn.GRU`."""

    def __init__(self, layer: GRU, features: int) -> None:
        super().__init__()
        self.layer = layer
        width = 3 * layer.units
        sizes = {"kernel": (width, features), "recurrent_kernel": (width, layer.units)}
        for prefix in layer.directions:
            for name in layer.names:
                tensor = nn.Parameter(torch.empty(sizes.get(name, (width,))))
                self.register_parameter(attribute(prefix + name), tensor)

    # Written out for every step, a long sequence would take a compiler minutes; as it is it takes as long as
    # torch's own GRU.
    @torch.compiler.disable
    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output and the last state."""
        rest = list(others)
        real = None
        if self.layer.lengths:
            steps = torch.arange(x.shape[1], device=x.device)
            real = (steps < rest.pop(0)[:, None])[:, :, None].unbind(1)
        directions = len(self.layer.directions)
        first = rest[0] if rest else x.new_zeros(x.shape[0], directions * self.layer.units)
        found = [
            self._read(prefix, x, state, real)
            for prefix, state in zip(self.layer.directions, first.chunk(directions, 1), strict=True)
        ]
        outputs, states = zip(*found, strict=True)
        return torch.cat(outputs, 2), torch.cat(states, 1)

    def _read(
        self, prefix: str, x: torch.Tensor, state: torch.Tensor, real: tuple[torch.Tensor, ...] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kernel, recurrent_kernel, *biases = [
            getattr(self, attribute(prefix + name)) for name in self.layer.names
        ]
        projected = linear(x, kernel, biases[0]).unbind(1)
        own = halves(recurrent_kernel, biases[1] if len(biases) > 1 else None)
        hidden: list[torch.Tensor] = []
        steps = range(len(projected))
        for step in reversed(steps) if prefix else steps:
            new = reset_before(projected[step], state, *own)
            state = new if real is None else torch.where(real[step], new, state)
            hidden.append(state if real is None else state * real[step])
        return torch.stack(hidden[::-1] if prefix else hidden, 1), state


def halves(kernel: torch.Tensor, bias: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    """The recurrent tensors of the gates, and those of the candidate."""
    units = kernel.shape[1]
    gates, candidate = kernel.split((2 * units, units))
    return gates, candidate, *((None, None) if bias is None else bias.split((2 * units, units)))


def reset_before(
    projected: torch.Tensor,
    hidden: torch.Tensor,
    gates_kernel: torch.Tensor,
    kernel: torch.Tensor,
    gates_bias: torch.Tensor | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """The hidden state after a step, from the input's share of the gates."""
    gates, candidate = projected.split((gates_kernel.shape[0], kernel.shape[0]), 1)
    reset, update = (gates + linear(hidden, gates_kernel, gates_bias)).sigmoid().chunk(2, 1)
    new = (candidate + linear(reset * hidden, kernel, bias)).tanh()
    return torch.lerp(new, hidden, update)


@lower.register
def _(layer: Recurrent, place: Place) -> Lowered:
    features = place.shape[1]
    if isinstance(layer, GRU) and layer.reset == "before":
        return _lowered(layer, ResetBefore(layer, features), dict.fromkeys(layer.directions, ""))
    if layer.lengths:
        nets = {prefix: f"nets.{number}." for number, prefix in enumerate(layer.directions)}
        return _lowered(layer, Padded(layer, features, "cell" in place.wanted), nets)
    return _lowered(layer, Reading(layer, features), dict.fromkeys(layer.directions, "net."))


def _lowered(layer: Recurrent, module: nn.Module, owners: dict[str, str]) -> Lowered:
    tensors = {}
    for prefix, owner in owners.items():
        for name in layer.names:
            # A net of its own has no direction in its names.
            direction = "" if owner.startswith("nets.") else prefix
            tensors[prefix + name] = Native(owner + attribute(direction + name), PARTS[name][1])
    return Lowered(module, tensors)
