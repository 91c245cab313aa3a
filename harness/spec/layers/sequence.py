"""Layers of sequences and tokens that are neither recurrent nor attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from harness.spec.codec import SpecError, member
from harness.spec.initializers import Initializer
from harness.spec.layers.base import Layer, Parameter, Pass, Shape, check_inputs, check_positive, check_rank
from harness.spec.tape import Array, constant, mean, total, transpose


@member("embedding")
@dataclass(frozen=True)
class Embedding(Layer):
    """A row of a table for each token: integers (*shape) in 0 ... tokens - 1 to (*shape, width). With
    `scaled` times sqrt(width) (Vaswani et al. 2017, section 3.4).
    """

    tokens: int
    width: int
    scaled: bool = False
    initializer: Initializer = "small_normal"

    def __post_init__(self) -> None:
        check_positive(tokens=self.tokens, width=self.width)

    @property
    def scale(self) -> float:
        """What a row is multiplied by."""
        return math.sqrt(self.width) if self.scaled else 1.0

    def output_shape(self, *inputs: Shape) -> Shape:
        """(*shape, width)."""
        return *inputs[0], self.width

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`table` (tokens, width)."""
        shape = (self.tokens, self.width)
        return {"table": Parameter(shape, self.initializer, self.width, self.tokens, penalized=True)}

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """The tokens' rows."""
        rows = parameters["table"][inputs[0].value]
        return rows * self.scale if self.scaled else rows


@member("unembedding")
@dataclass(frozen=True)
class Unembedding(Layer):
    """y = x T^t: (..., width) to a logit for each token, (..., tokens). As a node that `shares` an
    embedding's table T (tokens, width) it is tied to it (Press and Wolf 2017).
    """

    tokens: int
    initializer: Initializer = "small_normal"

    def __post_init__(self) -> None:
        check_positive(tokens=self.tokens)

    def output_shape(self, *inputs: Shape) -> Shape:
        """(..., tokens)."""
        if len(inputs[0]) not in (1, 2):
            raise SpecError(f"needs a vector or a sequence of vectors, got an example of shape {inputs[0]}")
        return *inputs[0][:-1], self.tokens

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`table` (tokens, width)."""
        shape = (self.tokens, inputs[0][-1])
        return {"table": Parameter(shape, self.initializer, shape[1], self.tokens, penalized=True)}

    def flops(self, *inputs: Shape) -> int:
        """Two for each number of the table at each step."""
        return 2 * math.prod(inputs[0]) * self.tokens

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """x T^t."""
        return inputs[0] @ transpose(parameters["table"], (1, 0))


@member("positions")
@dataclass(frozen=True)
class Positions(Layer):
    """The place of each step added to it: (time, width) plus the first rows of a table of `most` places (the
    sequence's own length where that is not given).

    `learned`: the table is a parameter (Gehring et al. 2017). `sinusoidal`: at place p, column 2i is
    sin(p / 10000^(2i / width)) and column 2i + 1 the cosine of the same (Vaswani et al. 2017, section 3.5).
    """

    form: Literal["learned", "sinusoidal"] = "learned"
    most: int | None = None

    def __post_init__(self) -> None:
        if self.most is not None:
            check_positive(most=self.most)

    def output_shape(self, *inputs: Shape) -> Shape:
        """As the input."""
        check_rank(inputs[0], 2, "a sequence (time, width)")
        if self.most is not None and self.most < inputs[0][0]:
            raise SpecError(f"must be at least the {inputs[0][0]} steps of the sequence", ("most",))
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`table` (places, width), if it is learned."""
        time, width = inputs[0]
        if self.form == "sinusoidal":
            return {}
        return {"table": Parameter((self.most or time, width), "small_normal", width, penalized=True)}

    def flops(self, *inputs: Shape) -> int:
        """One for each element."""
        return math.prod(inputs[0])

    def waves(self, shape: Shape) -> np.ndarray:
        """The sinusoidal table for a sequence of `shape` (time, width): float64."""
        time, width = shape
        column = np.arange(width)
        angle = np.arange(time)[:, np.newaxis] / 10000 ** (column // 2 * 2 / width)
        return np.where(column % 2 == 0, np.sin(angle), np.cos(angle))

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Add the rows."""
        (x,) = inputs
        if self.form == "sinusoidal":
            return x + self.waves(x.shape[1:])
        return x + parameters["table"][: x.shape[1]]


@member("select")
@dataclass(frozen=True)
class Select(Layer):
    """One step of a sequence: (time, features) to (features,). `step` counts from 0, or backwards from -1."""

    step: int

    def output_shape(self, *inputs: Shape) -> Shape:
        """(features,)."""
        check_rank(inputs[0], 2, "a sequence (time, features)")
        time = inputs[0][0]
        if not -time <= self.step < time:
            raise SpecError(f"is not a step of a sequence of {time}: {self.step}", ("step",))
        return inputs[0][1:]

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """That step."""
        return inputs[0][:, self.step]


@member("global_avg_pool1d")
@dataclass(frozen=True)
class GlobalAvgPool1D(Layer):
    """The mean over all steps: (time, features) to (features,). With `lengths`, a second input of integers
    (), over the first so many, at least 1.
    """

    lengths: bool = False
    arity: ClassVar[int | None] = None

    def output_shape(self, *inputs: Shape) -> Shape:
        """(features,)."""
        check_inputs(inputs, "a sequence", *(["lengths"] if self.lengths else []))
        check_rank(inputs[0], 2, "a sequence (time, features)")
        return inputs[0][1:]

    def flops(self, *inputs: Shape) -> int:
        """One for each element."""
        return math.prod(inputs[0])

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Sum over the real steps, divided by their number."""
        x = inputs[0]
        if not self.lengths:
            return mean(x, 1)
        lengths = inputs[1].value[:, np.newaxis]
        real = (np.arange(x.shape[1]) < lengths)[..., np.newaxis]
        return total(x * constant(real, x), 1) / constant(lengths, x)
