"""Recurrent layers: Elman's net, the LSTM and the GRU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from harness.spec import tape
from harness.spec.codec import SpecError, member
from harness.spec.initializers import Initializer
from harness.spec.layers.base import Layer, Parameter, Pass, Shape, check_inputs, check_positive, check_rank
from harness.spec.tape import Array, concatenate, reshape, sigmoid


@dataclass(frozen=True)
class Recurrent(Layer):
    """A net that reads a sequence (time, features) step by step and gives its hidden state after each:
    (time, units). Its further outputs are the states after the last step.

    - `bidirectional`: a second net reads from the end, with tensors of its own (`reverse_kernel` and so on).
      Output and states are both nets' side by side, the forward one's first: (time, 2 units), (2 units,).
    - `biases`: "one" vector, beside the input's kernel, or "two", also one beside the recurrent kernel. Both
      learn, so that their sum moves twice as far as one would.
    - `lengths`: a second input of integers () says how many steps of each sequence are real, at least 1; the
      others are padding behind them. The states pass it by, the reverse net begins before it, and the output
      there is zero.
    - `initial`: further inputs are the states to begin with, in their order; without it they are zeros.

    The kernel is (features, gates * units), the recurrent kernel (units, gates * units), each bias
    (gates * units,): gate beside gate in the order that the layer states.
    """

    units: int
    bidirectional: bool = False
    biases: Literal["one", "two"] = "one"
    lengths: bool = False
    initial: bool = False

    arity: ClassVar[int | None] = None
    further: ClassVar[tuple[str, ...]] = ("hidden",)
    gates: ClassVar[int] = 1
    bias_initializer: ClassVar[Initializer] = "zeros"

    def __post_init__(self) -> None:
        check_positive(units=self.units)

    @property
    def directions(self) -> tuple[str, ...]:
        """What the names of each direction's tensors begin with."""
        return ("", "reverse_") if self.bidirectional else ("",)

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors of a direction, without its prefix."""
        return ("kernel", "recurrent_kernel", "bias", *(["recurrent_bias"] if self.biases == "two" else []))

    def output_shape(self, *inputs: Shape) -> Shape:
        """(time, units) or (time, 2 units)."""
        names = ["a sequence", *(["lengths"] if self.lengths else [])]
        states = [f"a first {name} state" for name in self.further] if self.initial else []
        check_inputs(inputs, *names, *states)
        check_rank(inputs[0], 2, "a sequence (time, features)")
        if self.lengths:
            check_rank(inputs[1], 0, "lengths (), a number for each sequence")
        (state, *_) = self.further_shapes()
        for given in inputs[len(names) :]:
            if given != state:
                raise SpecError(f"needs a first state {state}, got {given}")
        return inputs[0][0], *state

    def further_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """(units,) or (2 units,) for each state."""
        return ((self.units * len(self.directions),),) * len(self.further)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`kernel`, `recurrent_kernel`, `bias` and, of two, `recurrent_bias`; with `reverse_` before the name
        again for the other direction.
        """
        features, width = inputs[0][1], self.gates * self.units
        tensors = {
            "kernel": Parameter((features, width), "glorot_uniform", features, width, penalized=True),
            "recurrent_kernel": Parameter((self.units, width), "orthogonal", penalized=True),
            "bias": Parameter((width,), self.bias_initializer),
            "recurrent_bias": Parameter((width,), "zeros"),
        }
        return {prefix + name: tensors[name] for prefix in self.directions for name in self.names}

    def flops(self, *inputs: Shape) -> int:
        """Two for each weight, and ten for each gate of each unit, at each step."""
        time, features = inputs[0]
        width = self.gates * self.units
        return len(self.directions) * time * width * (2 * (features + self.units) + 10)

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> tuple[Array, ...]:
        """Step by step, one direction after the other."""
        x, *rest = inputs
        batch, time, _ = x.shape
        lengths = rest.pop(0).value if self.lengths else np.full(batch, time)
        first = rest or [Array(np.zeros((batch, *shape), x.dtype)) for shape in self.further_shapes()]
        found = []
        for number, prefix in enumerate(self.directions):
            part = slice(number * self.units, (number + 1) * self.units)
            own = {name: parameters[prefix + name] for name in self.names}
            found.append(self._read(own, x, lengths, [state[:, part] for state in first], bool(prefix)))
        return tuple(concatenate(parts) for parts in zip(*found, strict=True))

    def step(self, projected: Array, own: Mapping[str, Array], *states: Array) -> tuple[Array, ...]:
        """The states after a step, the hidden one first, from those before it, each (batch, units), and the
        input's share of the gates, x W + b.
        """
        raise NotImplementedError

    def recurrent(self, own: Mapping[str, Array], hidden: Array) -> Array:
        """The hidden state's share of the gates, h U + b: (batch, gates * units)."""
        product = hidden @ own["recurrent_kernel"]
        return product + own["recurrent_bias"] if self.biases == "two" else product

    def split(self, gates: Array) -> list[Array]:
        """(batch, gates * units) gate by gate."""
        return [gates[:, number * self.units : (number + 1) * self.units] for number in range(self.gates)]

    def _read(
        self, own: Mapping[str, Array], x: Array, lengths: np.ndarray, states: list[Array], backwards: bool
    ) -> tuple[Array, ...]:
        """One direction's output (batch, time, units) and last states."""
        batch, time, _ = x.shape
        projected = x @ own["kernel"] + own["bias"]
        hidden: list[Array] = []
        for step in reversed(range(time)) if backwards else range(time):
            real = (step < lengths)[:, np.newaxis].astype(x.dtype)
            fresh = self.step(projected[:, step], own, *states)
            states = [new * real + old * (1 - real) for new, old in zip(fresh, states, strict=True)]
            hidden.append(reshape(states[0] * real, (batch, 1, self.units)))
        return concatenate(hidden[::-1] if backwards else hidden, axis=1), *states


@member("rnn")
@dataclass(frozen=True)
class RNN(Recurrent):
    """h' = activation(x W + b + h U) (Elman 1990)."""

    activation: Literal["tanh", "relu"] = "tanh"

    def step(self, projected: Array, own: Mapping[str, Array], *states: Array) -> tuple[Array, ...]:
        """One step."""
        total = projected + self.recurrent(own, states[0])
        return (tape.tanh(total) if self.activation == "tanh" else tape.relu(total),)


@member("lstm")
@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory with forget gates (Hochreiter and Schmidhuber 1997, Gers et al. 2000).

    Gates in the order input i, forget f, candidate g, output o, each of x W + b + h U:
    c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c'). The forget gate's bias begins at one.
    """

    further: ClassVar[tuple[str, ...]] = ("hidden", "cell")
    gates: ClassVar[int] = 4
    bias_initializer: ClassVar[Initializer] = "forget_one"

    def step(self, projected: Array, own: Mapping[str, Array], *states: Array) -> tuple[Array, ...]:
        """One step."""
        hidden, cell = states
        i, f, g, o = self.split(projected + self.recurrent(own, hidden))
        cell = sigmoid(f) * cell + sigmoid(i) * tape.tanh(g)
        return sigmoid(o) * tape.tanh(cell), cell


@member("gru")
@dataclass(frozen=True)
class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014). Gates in the order reset r, update z, candidate n.

    r and z are sigmoids of x W + b + h U. With `reset` "after" the product (cuDNN's form)
    n = tanh(x W + b + r (h U + b')), where b' is the second bias if there are two; with "before" (the
    paper's) n = tanh(x W + b + (r h) U + b'). h' = (1 - z) n + z h.
    """

    reset: Literal["after", "before"] = "after"

    gates: ClassVar[int] = 3

    def step(self, projected: Array, own: Mapping[str, Array], *states: Array) -> tuple[Array, ...]:
        """One step."""
        (hidden,) = states
        shares = self.split(self.recurrent(own, hidden))
        r, z, n = self.split(projected)
        r, z = sigmoid(r + shares[0]), sigmoid(z + shares[1])
        share = r * shares[2] if self.reset == "after" else self.split(self.recurrent(own, r * hidden))[2]
        n = tape.tanh(n + share)
        return (n + z * (hidden - n),)
