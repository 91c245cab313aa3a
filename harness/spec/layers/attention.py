"""Attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.spec.codec import SpecError, member
from harness.spec.initializers import Initializer
from harness.spec.layers.base import Layer, Parameter, Pass, Shape, check_inputs, check_positive, check_rank
from harness.spec.tape import Array, exp, log_softmax, reshape, transpose

PARTS = ("query", "key", "value", "output")
"""The projections, each with a `_kernel` and, with `bias`, a `_bias`."""


@member("multi_head_attention")
@dataclass(frozen=True)
class MultiHeadAttention(Layer):
    """softmax(Q K^t / sqrt(width / heads)) V in `heads` parts of the width, joined and projected:
    (time, width) to (time, width) (Vaswani et al. 2017).

    Queries come from the first input; keys and values too or, with `memory`, from the second one
    (steps, features). A query attends to every step that is not masked: with `causal` to its own and those
    before it; with `lengths`, integers () as the last input, to the first so many of keys and values, at
    least 1. Of both masks a step must pass both.

    Kernels are (features, width), biases (width,). Columns h * width / heads and on belong to head h.
    """

    heads: int
    causal: bool = False
    memory: bool = False
    lengths: bool = False
    bias: bool = True
    initializer: Initializer = "glorot_uniform"
    arity: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        check_positive(heads=self.heads)
        if self.causal and self.memory:
            raise SpecError("is for attention to the sequence itself, not to a memory", ("causal",))

    def output_shape(self, *inputs: Shape) -> Shape:
        """As the first input."""
        names = [*(["a memory"] if self.memory else []), *(["lengths"] if self.lengths else [])]
        check_inputs(inputs, "a sequence", *names)
        for shape in inputs[: 1 + self.memory]:
            check_rank(shape, 2, "a sequence (time, width)")
        if self.lengths:
            check_rank(inputs[-1], 0, "lengths (), a number for each sequence")
        if inputs[0][1] % self.heads:
            raise SpecError(f"must divide the width {inputs[0][1]}, got {self.heads}", ("heads",))
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`query_kernel` (width, width), `key_kernel` and `value_kernel` (features, width), `output_kernel`
        (width, width) and, with `bias`, for each of them a bias (width,).
        """
        width, features = inputs[0][1], inputs[int(self.memory)][1]
        found = {}
        for part in PARTS:
            rows = features if part in ("key", "value") else width
            found[f"{part}_kernel"] = Parameter((rows, width), self.initializer, rows, width, penalized=True)
            if self.bias:
                found[f"{part}_bias"] = Parameter((width,), "zeros")
        return found

    def flops(self, *inputs: Shape) -> int:
        """Two for each weight at each step, and for each pair of steps four for each number of the width and
        five for each head's softmax. Masked pairs count.
        """
        (time, width), (steps, features) = inputs[0], inputs[int(self.memory)]
        projections = 2 * width * (2 * time * width + 2 * steps * features)
        return projections + time * steps * (4 * width + 5 * self.heads)

    def mask(self, time: int, steps: int, lengths: np.ndarray | None) -> np.ndarray:
        """Where attention may go: booleans (batch or 1, 1, time, steps)."""
        allowed: np.ndarray = np.ones((1, 1, time, steps), bool)
        if self.causal:
            allowed = np.tril(allowed)
        if lengths is not None:
            allowed = allowed & (np.arange(steps) < lengths[:, np.newaxis, np.newaxis, np.newaxis])
        return allowed

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Project, attend in each head, join, project."""
        x, memory = inputs[0], inputs[int(self.memory)]
        lengths = inputs[-1].value if self.lengths else None

        def project(part: str, given: Array) -> Array:
            product = given @ parameters[f"{part}_kernel"]
            return product + parameters[f"{part}_bias"] if self.bias else product

        def heads(part: str, given: Array) -> Array:
            batch, steps, _ = given.shape
            return transpose(reshape(project(part, given), (batch, steps, self.heads, -1)), (0, 2, 1, 3))

        queries, keys, values = heads("query", x), heads("key", memory), heads("value", memory)
        scores = queries @ transpose(keys, (0, 1, 3, 2)) * (1 / math.sqrt(queries.shape[-1]))
        allowed = self.mask(x.shape[1], memory.shape[1], lengths)
        scores = scores + np.where(allowed, 0.0, -np.inf).astype(x.dtype)
        joined = transpose(exp(log_softmax(scores)) @ values, (0, 2, 1, 3))
        return project("output", reshape(joined, x.shape))
