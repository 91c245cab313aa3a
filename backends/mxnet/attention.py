"""Multi-head attention by `batch_dot`, its parts at hand for a decoder that keeps keys and values.

Queries, keys and values are (batch * heads, steps, width / heads).
"""

from __future__ import annotations

import math
from typing import Any

from mxnet.gluon import HybridBlock, nn

from harness.spec.layers import MultiHeadAttention
from harness.spec.layers.attention import PARTS
from harness.worker.protocol import Layout

from .lowering import Lowered, Place, Slot, lower


class Attention(HybridBlock):
    """(batch, time, width), perhaps a memory (batch, steps, features) and lengths (batch,), to
    (batch, time, width).

    Masks are the softmax's own: each query sees the first so many keys. That is all a causal mask and one by
    lengths say, together too.
    """

    def __init__(self, layer: MultiHeadAttention, place: Place) -> None:
        super().__init__()
        self.layer = layer
        width, features = place.shape[1], place.shapes[int(layer.memory)][1]
        # Scores are divided by this.
        self.root = math.sqrt(width / layer.heads)
        for part in PARTS:
            rows = features if part in ("key", "value") else width
            dense = nn.Dense(width, use_bias=layer.bias, flatten=False, in_units=rows)
            self.register_child(dense, part)

    def tensors(self) -> dict[str, Slot]:
        """Where the spec's tensors are."""
        found: dict[str, Slot] = {}
        for part, dense in self._children.items():
            found[f"{part}_kernel"] = dense.weight, Layout((1, 0))
            if self.layer.bias:
                found[f"{part}_bias"] = dense.bias, Layout()
        return found

    def hybrid_forward(self, F: Any, x: Any, *rest: Any) -> Any:
        """Project, attend in each head, join, project."""
        memory = rest[0] if self.layer.memory else x
        lengths = rest[-1] if self.layer.lengths else None
        return self.attend(F, self.queries(F, x), *self.keys_and_values(F, memory), lengths)

    def part(self, name: str) -> Any:
        """The block of a projection."""
        return self._children[name]

    def queries(self, F: Any, x: Any) -> Any:
        """Of each step of (batch, time, width)."""
        return self._heads(F, "query", x)

    def keys_and_values(self, F: Any, memory: Any) -> tuple[Any, Any]:
        """Of each step of (batch, steps, features)."""
        return self._heads(F, "key", memory), self._heads(F, "value", memory)

    def attend(self, F: Any, queries: Any, keys: Any, values: Any, lengths: Any = None) -> Any:
        """(batch, time, width), with the layer's masks."""
        scores = F.batch_dot(queries, keys, transpose_b=True)
        shares = self._softmax(F, scores, self._seen(F, scores, lengths))
        return self._join(F, F.batch_dot(shares, values))

    def attend_behind(
        self, F: Any, query: Any, key: Any, value: Any, keys: Any, values: Any, before: Any
    ) -> Any:
        """One step that sees itself and of what is kept the first `before` (1,) steps: (batch, 1, width)."""
        own = F.sum(query * key, axis=2, keepdims=True)
        scores = F.concat(own, F.batch_dot(query, keys, transpose_b=True), dim=2)
        seen = F.broadcast_like(F.expand_dims(before + 1, axis=0), scores, lhs_axes=(0,), rhs_axes=(0,))
        shares = self._softmax(F, scores, F.cast(seen, dtype="int32"))
        found = F.broadcast_mul(F.slice_axis(shares, axis=2, begin=0, end=1), value)
        rest = F.slice_axis(shares, axis=2, begin=1, end=None)
        return self._join(F, found + F.batch_dot(rest, values))

    def _heads(self, F: Any, part: str, x: Any) -> Any:
        projected = F.reshape(self._children[part](x), shape=(0, 0, -4, self.layer.heads, -1))
        return F.reshape(F.transpose(projected, axes=(0, 2, 1, 3)), shape=(-3, 0, 0))

    def _join(self, F: Any, found: Any) -> Any:
        """Heads side by side, projected: (batch, time, width)."""
        parted = F.reshape(found, shape=(-4, -1, self.layer.heads, 0, 0))
        return self._children["output"](F.reshape(F.transpose(parted, axes=(0, 2, 1, 3)), shape=(0, 0, -3)))

    def _seen(self, F: Any, scores: Any, lengths: Any) -> Any:
        """How many of its keys each query sees, integers (batch * heads, time); None for all."""
        if not self.layer.causal and lengths is None:
            return None
        steps = F.expand_dims(F.contrib.arange_like(scores, start=1, axis=1), axis=0)
        if lengths is None:
            seen = F.broadcast_like(steps, scores, lhs_axes=(0,), rhs_axes=(0,))
        else:
            real = F.expand_dims(F.repeat(lengths, repeats=self.layer.heads), axis=1)
            if self.layer.causal:
                seen = F.broadcast_minimum(real, steps)
            else:
                seen = F.broadcast_like(real, scores, lhs_axes=(1,), rhs_axes=(1,))
        return F.stop_gradient(F.cast(seen, dtype="int32"))

    def _softmax(self, F: Any, scores: Any, seen: Any) -> Any:
        words = {"axis": 2, "temperature": self.root}
        if seen is None:
            return F.softmax(scores, **words)
        return F.softmax(scores, seen, use_length=True, **words)


@lower.register
def _(layer: MultiHeadAttention, place: Place) -> Lowered:
    block = Attention(layer, place)
    return Lowered(block, block.tensors())
