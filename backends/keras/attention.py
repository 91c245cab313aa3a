"""Attention as `keras.layers.MultiHeadAttention`, and with a cache of keys and values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from harness.spec import layers as spec
from harness.spec.layers.attention import PARTS
from harness.worker.protocol import Layout

from .framework import framework
from .lowering import Home, Lowered, Memory, Place, lower
from .sequence import Real


@dataclass(frozen=True)
class Heads(Layout):
    """Keras has an axis for the heads: the shape there, and the spec's; -1 for what follows."""

    native: tuple[int, ...] = ()
    canonical: tuple[int, ...] = ()

    def to_native(self, tensor: np.ndarray) -> np.ndarray:
        """With the axis."""
        return np.ascontiguousarray(tensor.reshape(self.native))

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """Without it."""
        return np.ascontiguousarray(tensor.reshape(self.canonical))


@dataclass(frozen=True)
class LoweredAttention(Lowered):
    """`keras.layers.MultiHeadAttention`."""

    causal: bool = False
    memory: bool = False
    lengths: bool = False
    written_out: bool = False
    """Whether Keras is to take the softmax itself, as where the weights of attention are asked for."""

    def __call__(self, *values: Any) -> Any:
        """Of a sequence, perhaps a memory, perhaps lengths."""
        (native,) = self.layers
        memory = values[int(self.memory)]
        mask = self._mask(memory, values)
        options = {"value_mask": mask, "use_causal_mask": self.causal}
        if not self.written_out:
            return native(values[0], memory, **options)
        return native(values[0], memory, **options, return_attention_scores=True)[0]

    def first(self, capacity: int, *values: Any) -> tuple[Any, Memory]:
        """Keep keys and values, those of the sequence itself with room for as many as there will be."""
        (native,) = self.layers
        x, memory = values[0], values[int(self.memory)]
        keys, contents = native.key_dense(memory), native.value_dense(memory)
        mask = self._mask(memory, values)
        mask = None if mask is None else mask[:, None, :]
        output = self._attend(x, keys, contents, mask, self.causal)
        if self.memory:
            return output, (keys, contents, mask)
        room = ((0, 0), (0, capacity - x.shape[1]), (0, 0), (0, 0))
        return output, (ops.pad(keys, room), ops.pad(contents, room))

    def following(self, memory: Memory, place: Any, *values: Any) -> tuple[Any, Memory]:
        """Attend to all that is kept, the step's own keys and values among it."""
        (native,) = self.layers
        x = values[0]
        if self.memory:
            keys, contents, mask = memory
            return self._attend(x, keys, contents, mask), memory
        keys = framework.put(memory[0], native.key_dense(x), place)
        contents = framework.put(memory[1], native.value_dense(x), place)
        mask = (ops.arange(keys.shape[1], dtype="int32") <= place)[None, None, :]
        return self._attend(x, keys, contents, mask), (keys, contents)

    def _mask(self, memory: Any, values: tuple[Any, ...]) -> Any:
        """(N, steps), or None where all steps are real."""
        return Real(memory.shape[1])(values[-1]) if self.lengths else None

    def _attend(self, x: Any, keys: Any, contents: Any, mask: Any, causal: bool = False) -> Any:
        """With a mask (N or 1, 1, steps)."""
        (native,) = self.layers
        joined, _ = native._compute_attention(
            native.query_dense(x),
            keys,
            contents,
            mask,
            return_attention_scores=self.written_out,
            use_causal_mask=causal,
        )
        return native.output_dense(joined)


@lower.register
def _(layer: spec.MultiHeadAttention, place: Place) -> Lowered:
    width = place.shape[-1]
    size = width // layer.heads
    native = keras.layers.MultiHeadAttention(
        layer.heads, size, use_bias=layer.bias, kernel_regularizer=place.regularizer
    )
    exact = keras.config.floatx() == "float64"
    if exact:
        # On TensorFlow a Python float is a float32 tensor before Keras casts it; a NumPy float64 stays exact.
        native._inverse_sqrt_key_dim = np.float64(1 / math.sqrt(size))
    tensors = {}
    for part in PARTS:
        output = part == "output"
        kernel = (layer.heads, size, width) if output else (-1, layer.heads, size)
        tensors[f"{part}_kernel"] = Home(
            native, f"{part}_dense.kernel", Heads(native=kernel, canonical=(-1, width))
        )
        if layer.bias:
            bias = (width,) if output else (layer.heads, size)
            tensors[f"{part}_bias"] = Home(
                native, f"{part}_dense.bias", Heads(native=bias, canonical=(width,))
            )
    return LoweredAttention(
        (native,),
        tensors,
        causal=layer.causal,
        memory=layer.memory,
        lengths=layer.lengths,
        written_out=exact and not framework.EXACT_ATTENTION,
    )
