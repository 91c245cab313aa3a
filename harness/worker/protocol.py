"""What a backend gives the worker: a program built from a spec, and nothing about clocks.

A backend is a package that has

    def build(program: Program, setting: Setting) -> Built

and imports its framework at its own top level, so that the worker can time the import. It may also have
`VARIABLES`, a tuple of prefixes of environment variables that change what its framework does, to be recorded,
and `settings()`, which tells after a program has run what is in force in the framework, in the words that all
share: `threads`, and `float32_matmul` ("float32" or "tf32"). The worker alone decides when the clock starts,
how long it warms up and when it waits for the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

Tensors = dict[str, np.ndarray]
"""Canonical tensors by name (`model/dense1/kernel`), in the spec's layout."""


class Unsupported(Exception):
    """The framework cannot do this part of the spec. Say which call, which error, which version."""


@dataclass(frozen=True)
class Setting:
    """How a program is to be built."""

    mode: str
    precision: Literal["float32", "float64"]
    device: str
    """`cpu` or `cuda:N`."""
    threads: int
    batch_size: int
    """Examples in every training batch."""


class Decoder(ABC):
    """Tokens generated one by one with a cache (`harness.spec.generation`), each by the largest logit.

    A token that was chosen stays where the framework has it: `start` and `step` are timed, and neither gives
    NumPy anything. There are never more tokens, prompt and all, than the model's input has steps.
    """

    @abstractmethod
    def start(self, placed: Any, prompt: int) -> None:
        """Read the first `prompt` tokens (at least 1) of all examples that `Built.place` placed, in one go,
        and choose the next one. What was generated before is forgotten.
        """

    @abstractmethod
    def step(self) -> None:
        """Read the token that was chosen last and choose the next one."""

    @abstractmethod
    def tokens(self) -> np.ndarray:
        """Those chosen since the start: int32 (batch, chosen)."""

    @abstractmethod
    def logits(self) -> np.ndarray:
        """What the last one was chosen by: (batch, number of tokens)."""

    def wait(self) -> None:
        """Return once the token that was chosen last is there."""
        self.tokens()


class Built(ABC):
    """A program in a framework, ready to run.

    `place` and `stage` prepare data and are never timed; `train` and `evaluate` are.
    """

    coarse_numbers: ClassVar[bool] = False
    """True where the framework's kernels take rates and epsilons as float32 whatever the tensors' precision,
    so that the float64 proof must allow for it (see `harness.spec.proof.tolerances`)."""

    @abstractmethod
    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Start afresh from these parameters and states; the optimizers' memory is forgotten."""

    @abstractmethod
    def tensors(self) -> Tensors:
        """Every parameter and state as it is now."""

    @abstractmethod
    def place(self, arrays: Mapping[str, np.ndarray]) -> Any:
        """The arrays of one split (examples first, channels last) where and how the framework likes them."""

    @abstractmethod
    def stage(self, placed: Any, order: np.ndarray) -> Any:
        """Batches to come, made ready for `train` or `evaluate`, once or again and again: indices int32
        (batches, batch).
        """

    @abstractmethod
    def train(self, staged: Any) -> Any:
        """Start one training step for each staged batch. Gives a handle for `mean_loss`."""

    @abstractmethod
    def mean_loss(self, handle: Any) -> float:
        """The mean over the steps of a `train` of each step's loss, summed over updates."""

    @abstractmethod
    def evaluate(self, staged: Any) -> Tensors:
        """Every output of the program for the staged batches, in NumPy: each (batches * batch, *shape)."""

    @abstractmethod
    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        """The training loss of update number `update` on the one staged batch, and the gradient of every
        tensor that it moves, by the same loss function that `train` uses. Moves nothing.
        """

    def decoder(self, batch_size: int) -> Decoder:
        """What generates tokens for batches of one size, with the parameters as they are now. Only for a
        program that generates any.
        """
        raise Unsupported("this backend does not generate tokens")

    @abstractmethod
    def wait(self) -> None:
        """Return once the device has done everything it was given."""

    def device_peak_bytes(self) -> int | None:
        """The most memory in use on an accelerator since the start; None on the CPU."""
        return None


@dataclass(frozen=True)
class Layout:
    """How a canonical tensor becomes a native one: its axes in another order, times a factor."""

    axes: tuple[int, ...] | None = None
    factor: float = 1.0

    def to_native(self, tensor: np.ndarray) -> np.ndarray:
        """From the spec's layout."""
        native = tensor if self.axes is None else tensor.transpose(self.axes)
        return np.ascontiguousarray(native if self.factor == 1.0 else native * self.factor)

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """Back to the spec's layout."""
        canonical = tensor if self.axes is None else tensor.transpose(np.argsort(self.axes))
        return np.ascontiguousarray(canonical if self.factor == 1.0 else canonical / self.factor)
