"""Attention: NNX's projections around two matrix products and a softmax."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from harness.spec import layers as spec
from harness.worker.protocol import Layout

from .cached import Cache, Cached
from .layers import Lowered, Place, Reshaped, lower

ATTRIBUTES = {"query": "query", "key": "key", "value": "value", "output": "out"}
"""NNX's names of the projections."""


class Attention(nnx.MultiHeadAttention, Cached):
    """`nnx.MultiHeadAttention` with the spec's inputs and masks, and a cache that takes a whole prompt."""

    def __init__(self, layer: spec.MultiHeadAttention, place: Place, rngs: nnx.Rngs) -> None:
        width, features = place.shape[-1], place.shapes[int(layer.memory)][-1]
        super().__init__(
            layer.heads, width, in_kv_features=features, use_bias=layer.bias, decode=False, rngs=rngs
        )
        self.layer = layer

    def __call__(self, x: Any, *others: Any) -> Any:
        """As the spec says: (batch, time, width)."""
        memory = others[0] if self.layer.memory else x
        mask = self._mask(x.shape[1], memory.shape[1], *others)
        return self._attend(x, self.key(memory), self.value(memory), mask)

    def begin(self, capacity: int, x: Any, *others: Any) -> tuple[Any, Cache]:
        """The cache is keys, values and mask of the memory, or keys and values with room for `capacity`."""
        memory = others[0] if self.layer.memory else x
        keys, values = self.key(memory), self.value(memory)
        mask = self._mask(x.shape[1], memory.shape[1], *others)
        found = self._attend(x, keys, values, mask)
        if self.layer.memory:
            return found, (keys, values, mask)
        room = (0, 0), (0, capacity - x.shape[1]), (0, 0), (0, 0)
        return found, (jnp.pad(keys, room), jnp.pad(values, room))

    def go_on(self, cache: Cache, place: Any, x: Any) -> tuple[Any, Cache]:
        """A memory stays as it is; to the others a step's key and value are added in place."""
        if self.layer.memory:
            return self._attend(x, *cache), cache
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(kept, project(x), place, 1)
            for kept, project in zip(cache, (self.key, self.value), strict=True)
        )
        mask = (jnp.arange(keys.shape[1]) <= place)[None, None, None]
        return self._attend(x, keys, values, mask), (keys, values)

    def _mask(self, time: int, steps: int, *others: Any) -> Any:
        """Where attention may go: booleans (batch or 1, 1, time or 1, steps). None: everywhere."""
        mask = None
        if self.layer.causal:
            mask = jnp.tril(jnp.ones((1, 1, time, steps), bool))
        if self.layer.lengths:
            real = (jnp.arange(steps) < others[-1][:, None])[:, None, None]
            mask = real if mask is None else mask & real
        return mask

    def _attend(self, x: Any, keys: Any, values: Any, mask: Any) -> Any:
        return self.out(attend(self.query(x), keys, values, mask))


def attend(queries: Any, keys: Any, values: Any, mask: Any) -> Any:
    """softmax(Q K^t / sqrt(depth)) V for each head of Q (batch, time, heads, depth) and K, V (batch, steps,
    heads, depth). `jax.nn.dot_product_attention`, which NNX uses, takes the softmax in float32 whatever the
    precision.
    """
    scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys) * (1 / math.sqrt(queries.shape[-1]))
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jnp.einsum("bhqk,bkhd->bqhd", nnx.softmax(scores), values)


@lower.register
def _(layer: spec.MultiHeadAttention, place: Place) -> Lowered:
    width, depth = place.shape[-1], place.shape[-1] // layer.heads
    tensors: dict[str, tuple[str, Layout]] = {}
    for part, attribute in ATTRIBUTES.items():
        rows = place.shapes[int(layer.memory)][-1] if part in ("key", "value") else width
        split = (layer.heads, depth)
        native = (*split, width) if part == "output" else (rows, *split)
        tensors[f"{part}_kernel"] = f"{attribute}.kernel", Reshaped(native=native, canonical=(rows, width))
        if layer.bias:
            own = Layout() if part == "output" else Reshaped(native=split, canonical=(width,))
            tensors[f"{part}_bias"] = f"{attribute}.bias", own
    return Lowered(lambda rngs: Attention(layer, place, rngs), tensors)
