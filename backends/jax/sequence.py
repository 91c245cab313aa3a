"""Tables: of tokens, and of places in a sequence."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from harness.spec import layers as spec
from harness.worker.protocol import Layout

from .cached import Cache, Cached
from .layers import Lowered, Place, lower


class Embedding(nnx.Embed):
    """`nnx.Embed`, its rows times a number."""

    def __init__(self, layer: spec.Embedding, rngs: nnx.Rngs) -> None:
        # NNX casts to the type that the table had when the module was made.
        super().__init__(layer.tokens, layer.width, param_dtype=jnp.result_type(float), rngs=rngs)
        self.scale = layer.scale

    def __call__(self, tokens: Any) -> Any:
        """(..., width)."""
        rows = super().__call__(tokens)
        return rows if self.scale == 1.0 else rows * self.scale


class Unembedding(nnx.Embed):
    """`nnx.Embed`, called to attend."""

    def __init__(self, layer: spec.Unembedding, width: int, rngs: nnx.Rngs) -> None:
        super().__init__(layer.tokens, width, param_dtype=jnp.result_type(float), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """(..., tokens)."""
        return self.attend(x)


class Positions(nnx.Module, Cached):
    """A table of places, learned or computed, added step by step. What it keeps is nothing."""

    def __init__(self, layer: spec.Positions, shape: spec.Shape, rngs: nnx.Rngs) -> None:
        self.layer = layer
        self.shape = shape
        if layer.form == "learned":
            places = layer.most or shape[0]
            self.table = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (places, shape[1])))

    def __call__(self, x: Any) -> Any:
        """x (batch, time, width) and the first rows."""
        return x + self._rows(x)[: x.shape[1]]

    def begin(self, capacity: int, x: Any, *others: Any) -> tuple[Any, Cache]:
        """As a call."""
        return self(x), None

    def go_on(self, cache: Cache, place: Any, x: Any) -> tuple[Any, Cache]:
        """The row of one place."""
        return x + jax.lax.dynamic_slice_in_dim(self._rows(x), place, 1), None

    def _rows(self, x: Any) -> Any:
        if self.layer.form == "learned":
            return self.table[...]
        return jnp.asarray(self.layer.waves(self.shape), x.dtype)


@lower.register
def _(layer: spec.Embedding, place: Place) -> Lowered:
    return Lowered(lambda rngs: Embedding(layer, rngs), {"table": ("embedding", Layout())})


@lower.register
def _(layer: spec.Unembedding, place: Place) -> Lowered:
    return Lowered(lambda rngs: Unembedding(layer, place.shape[-1], rngs), {"table": ("embedding", Layout())})


@lower.register
def _(layer: spec.Positions, place: Place) -> Lowered:
    tensors = {"table": ("table", Layout())} if layer.form == "learned" else {}
    return Lowered(lambda rngs: Positions(layer, place.shape, rngs), tensors)
