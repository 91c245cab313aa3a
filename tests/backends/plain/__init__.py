"""The smallest honest backend: the reference in NumPy, behind the worker's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from harness.spec.program import Program
from harness.spec.reference import Reference
from harness.worker.protocol import Built, Decoder, Setting, Tensors


def build(program: Program, setting: Setting) -> Built:
    return Plain(program, setting)


class Plain(Built):
    def __init__(self, program: Program, setting: Setting) -> None:
        self.program = program
        self.dtype = np.dtype(setting.precision)
        self.load(program.initial(0))

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        random = np.random.Generator(np.random.PCG64(3))
        self.reference = Reference(self.program, tensors, self.dtype, random)

    def tensors(self) -> Tensors:
        return dict(self.reference.tensors)

    def place(self, arrays: Mapping[str, np.ndarray]) -> Any:
        return arrays

    def stage(self, placed: Any, order: np.ndarray) -> Any:
        return placed, order

    def train(self, staged: Any) -> list[float]:
        return self.reference.train(_batches(staged))

    def mean_loss(self, handle: list[float]) -> float:
        return float(np.mean(handle))

    def evaluate(self, staged: Any) -> Tensors:
        parts = [self.reference.predict(batch) for batch in _batches(staged)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.program.outputs}

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        (batch,) = _batches(staged)
        return self.reference.loss_and_gradients(self.program.updates[update], batch)[:2]

    def decoder(self, batch_size: int) -> Decoder:
        return Uncached(self.reference)

    def wait(self) -> None:
        pass


class Uncached(Decoder):
    """All tokens are chosen anew at each step: the reference has no cache."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference

    def start(self, placed: Any, prompt: int) -> None:
        self.placed, self.prompt, self.chosen = placed, prompt, 0
        self.step()

    def step(self) -> None:
        self.chosen += 1
        self.found = self.reference.generate(self.placed, self.prompt, self.chosen)

    def tokens(self) -> np.ndarray:
        return self.found[0].astype(np.int32)

    def logits(self) -> np.ndarray:
        return self.found[1][:, -1]


def _batches(staged: Any) -> Iterator[Tensors]:
    arrays, order = staged
    for indices in order:
        yield {name: np.asarray(array[indices]) for name, array in arrays.items()}
