"""Multi-head attention on `scaled_dot_product_attention`, heads as a view of the width."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention

from harness.spec import layers as spec
from harness.worker.protocol import Layout

from .layers import Called, Lowered, Native, Place, lower

Groups = tuple[tuple[str, ...], ...]


def groups(layer: spec.MultiHeadAttention) -> Groups:
    """The projections of one tensor: they are one matrix product."""
    return (("query",), ("key", "value")) if layer.memory else (("query", "key", "value"),)


class Attention(nn.Module):
    """Projections, attention and the output's projection."""

    def __init__(self, layer: spec.MultiHeadAttention, shapes: tuple[spec.Shape, ...], parts: Groups) -> None:
        super().__init__()
        self.layer = layer
        self.groups = parts
        width, features = shapes[0][1], shapes[int(layer.memory)][1]
        for group in (*parts, ("output",)):
            rows = len(group) * width
            inputs = features if "key" in group or "value" in group else width
            self.register_parameter(_attribute(group, "kernel"), nn.Parameter(torch.empty(rows, inputs)))
            if layer.bias:
                self.register_parameter(_attribute(group, "bias"), nn.Parameter(torch.empty(rows)))

    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """The first input's shape."""
        memory = others[0] if self.layer.memory else x
        mask = self.mask(others[-1], x.shape[1], memory.shape[1]) if self.layer.lengths else None
        queries, keys, values = self.project(x, memory)
        return self.attend(queries, keys, values, mask, self.layer.causal and mask is None)

    def project(self, x: torch.Tensor, memory: torch.Tensor) -> list[torch.Tensor]:
        """Queries, keys and values, each (batch, heads, time, width / heads)."""
        found = []
        for group in self.groups:
            found += self.project_group(group, x if "query" in group else memory)
        return found

    def project_group(self, group: tuple[str, ...], x: torch.Tensor) -> list[torch.Tensor]:
        """Those of one group."""
        batch, time, _ = x.shape
        joined = self._linear(group, x).view(batch, time, len(group), self.layer.heads, -1)
        return [part.transpose(1, 2) for part in joined.unbind(2)]

    def attend(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor | None = None,
        causal: bool = False,
    ) -> torch.Tensor:
        """Attend in each head, join, project."""
        found = scaled_dot_product_attention(queries, keys, values, mask, is_causal=causal)
        return self._linear(("output",), found.transpose(1, 2).flatten(2))

    def mask(self, lengths: torch.Tensor, time: int, steps: int) -> torch.Tensor:
        """Where attention may go: (batch, 1, 1 or time, steps)."""
        places = torch.arange(steps, device=lengths.device)
        allowed = (places < lengths[:, None])[:, None, None]
        return allowed & (places <= places[:time, None]) if self.layer.causal else allowed

    def room(self, batch_size: int, steps: int) -> torch.Tensor:
        """Zeros for the keys or the values of so many steps."""
        kernel = getattr(self, _attribute(("output",), "kernel"))
        width = kernel.shape[0]
        return kernel.detach().new_zeros(batch_size, self.layer.heads, steps, width // self.layer.heads)

    def _linear(self, group: tuple[str, ...], x: torch.Tensor) -> torch.Tensor:
        bias = getattr(self, _attribute(group, "bias")) if self.layer.bias else None
        return linear(x, getattr(self, _attribute(group, "kernel")), bias)


def _attribute(group: tuple[str, ...], kind: str) -> str:
    return "_".join((*group, kind))


def _groups_among(kin: tuple[Called, ...]) -> Groups | None:
    """How all layers that share tensors can hold them; None: each projection for itself."""
    found = {groups(layer) for layer, _ in kin if isinstance(layer, spec.MultiHeadAttention)}
    return found.pop() if len(found) == 1 else None


@lower.register
def _(layer: spec.MultiHeadAttention, place: Place) -> Lowered:
    parts = _groups_among(place.kin) or (("query",), ("key",), ("value",))
    width = place.shape[1]
    tensors = {}
    for group in (*parts, ("output",)):
        for number, part in enumerate(group):
            rows = (number * width, (number + 1) * width) if len(group) > 1 else None
            tensors[f"{part}_kernel"] = Native(_attribute(group, "kernel"), Layout((1, 0)), rows)
            if layer.bias:
                tensors[f"{part}_bias"] = Native(_attribute(group, "bias"), Layout(), rows)
    return Lowered(Attention(layer, place.shapes, parts), tensors)
