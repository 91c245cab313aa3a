"""Recurrent layers: torch's own on sequences (batch, time, features), and the paper's GRU, which it lacks.

Each gives its output and its last states, as the spec has them: (batch, units) or (batch, 2 units).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from harness.spec import layers as spec
from harness.spec.layers.recurrent import Recurrent
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
    """One of torch's recurrent layers with the spec's inputs and outputs. Of its two biases the second stays
    zero where the spec has one: it neither learns nor has a gradient.
    """

    def __init__(self, layer: Recurrent, net: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.net = net
        if layer.biases == "one":
            for prefix in layer.directions:
                bias = getattr(net, attribute(f"{prefix}recurrent_bias"))
                nn.init.zeros_(bias).requires_grad_(False)

    # torch.compile takes none of torch's recurrent layers. Where it meets one itself it leaves the whole step
    # uncompiled; here it runs this as it is and compiles what comes before and after.
    @torch.compiler.disable
    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output and the last states."""
        rest = list(others)
        given: Any = x
        if self.layer.lengths:
            # Packing wants the lengths on the CPU, wherever the rest is.
            given = pack_padded_sequence(x, rest.pop(0).cpu(), batch_first=True, enforce_sorted=False)
        first = tuple(self._apart(state) for state in rest)
        output, last = self.net(given, (first if len(first) > 1 else first[0]) if first else None)
        if self.layer.lengths:
            output, _ = pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
        states = last if isinstance(last, tuple) else (last,)
        return output, *[state.transpose(0, 1).flatten(1) for state in states]

    def _apart(self, state: torch.Tensor) -> torch.Tensor:
        """(batch, directions * units) as (directions, batch, units)."""
        return state.unflatten(1, (-1, self.layer.units)).transpose(0, 1).contiguous()


class ResetBefore(nn.Module):
    """The GRU that resets before the product, step by step, with tensors named as in `nn.GRU`."""

    def __init__(self, layer: spec.GRU, features: int) -> None:
        super().__init__()
        self.layer = layer
        width = 3 * layer.units
        sizes = {"kernel": (width, features), "recurrent_kernel": (width, layer.units)}
        for prefix in layer.directions:
            for name in layer.names:
                tensor = nn.Parameter(torch.empty(sizes.get(name, (width,))))
                self.register_parameter(attribute(prefix + name), tensor)

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
def _(layer: spec.RNN, place: Place) -> Lowered:
    net = nn.RNN(*_sizes(layer, place), nonlinearity=layer.activation, **_options(layer))
    return _lowered(layer, Reading(layer, net), "net.")


@lower.register
def _(layer: spec.LSTM, place: Place) -> Lowered:
    net = nn.LSTM(*_sizes(layer, place), **_options(layer))
    return _lowered(layer, Reading(layer, net), "net.")


@lower.register
def _(layer: spec.GRU, place: Place) -> Lowered:
    if layer.reset == "before":
        return _lowered(layer, ResetBefore(layer, place.shape[1]))
    net = nn.GRU(*_sizes(layer, place), **_options(layer))
    return _lowered(layer, Reading(layer, net), "net.")


def _sizes(layer: Recurrent, place: Place) -> tuple[int, int]:
    return place.shape[1], layer.units


def _options(layer: Recurrent) -> dict[str, bool]:
    return {"batch_first": True, "bidirectional": layer.bidirectional}


def _lowered(layer: Recurrent, module: nn.Module, inside: str = "") -> Lowered:
    names = [prefix + name for prefix in layer.directions for name in layer.names]
    layouts = {name: PARTS[name.removeprefix("reverse_")][1] for name in names}
    return Lowered(
        module, {name: Native(inside + attribute(name), layout) for name, layout in layouts.items()}
    )
