"""Learning rates that change from step to step, with one meaning.

A schedule is written once, over any module that has NumPy's `cos`, `minimum`, `where` and `floor`: a backend
passes its framework's own, so that the rate is computed where the step runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.spec.codec import SpecError, family, member
from harness.spec.layers.base import check_positive


@family
@dataclass(frozen=True)
class Schedule:
    """The learning rate as a function of the number of steps done before, 0 at the first.

    Over the first `warmup` steps it rises in a line: step t takes (t + 1) / warmup of the schedule's start.
    """

    def rate(self, done: Any, xp: Any = np) -> Any:
        """The rate of the step after `done` steps: a number, or a tensor of `xp`."""
        raise NotImplementedError


@member("cosine")
@dataclass(frozen=True)
class Cosine(Schedule):
    """From `start` by half a cosine to `end` at step `steps`, and `end` from there on
    (Loshchilov and Hutter 2017, without restarts).
    """

    start: float
    steps: int
    end: float = 0.0
    warmup: int = 0

    def __post_init__(self) -> None:
        check_positive(start=self.start)
        _check_warmup(self.warmup)
        if self.steps <= self.warmup:
            raise SpecError(f"must be more than the warm-up of {self.warmup}, got {self.steps}", ("steps",))
        if self.end < 0:
            raise SpecError(f"must not be negative, got {self.end}", ("end",))

    def rate(self, done: Any, xp: Any = np) -> Any:
        """Warm-up, then the cosine."""
        share = xp.minimum((done - self.warmup) / (self.steps - self.warmup), 1.0)
        falling = self.end + (self.start - self.end) * 0.5 * (1.0 + xp.cos(math.pi * share))
        return _warmed(self.start, self.warmup, done, falling, xp)


@member("step_decay")
@dataclass(frozen=True)
class StepDecay(Schedule):
    """`start`, times `factor` after every `every` steps."""

    start: float
    every: int
    factor: float = 0.1
    warmup: int = 0

    def __post_init__(self) -> None:
        check_positive(start=self.start, every=self.every, factor=self.factor)
        _check_warmup(self.warmup)

    def rate(self, done: Any, xp: Any = np) -> Any:
        """Warm-up, then the stairs; both count from the first step."""
        falling = self.start * self.factor ** xp.floor(done / self.every)
        return _warmed(self.start, self.warmup, done, falling, xp)


LearningRate = float | Schedule


def rate_at(learning_rate: LearningRate, done: Any, xp: Any = np) -> Any:
    """The rate of the step after `done` steps, for a number too."""
    return learning_rate.rate(done, xp) if isinstance(learning_rate, Schedule) else learning_rate


def check_learning_rate(learning_rate: LearningRate) -> None:
    """Raise SpecError for a number that is not positive."""
    if not isinstance(learning_rate, Schedule):
        check_positive(learning_rate=learning_rate)


def _warmed(start: float, warmup: int, done: Any, after: Any, xp: Any) -> Any:
    return xp.where(done < warmup, start * (done + 1) / warmup, after) if warmup else after


def _check_warmup(warmup: int) -> None:
    if warmup < 0:
        raise SpecError(f"must not be negative, got {warmup}", ("warmup",))
