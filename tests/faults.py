"""Planted faults: programs that are nearly the spec. The proof must catch every one, in every framework.

`python -m tests.faults PRECISIONS FAULTS JOB...` runs inside a backend's environment. It proves each job's
own program, then, with FAULTS 1, each fault against the same references, all in one process; the last line
that it prints is JSON: {program or fault: {precision: {"holds", "tensor", "error", "tolerance"}}}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from harness.spec.layers import BatchNorm, Conv2D, Dense, Layer, Softmax
from harness.spec.losses import CrossEntropy
from harness.spec.model import Model, Node
from harness.spec.optimizers import SGD, Adam
from harness.spec.penalties import L2
from harness.spec.program import Program, Update
from harness.spec.proof import compare
from harness.worker.backend import load_backend
from harness.worker.job import Job
from harness.worker.protocol import Built, Setting, Tensors
from harness.worker.verify import evidence, read_batches

Build = Callable[[Program, Setting], Built]


@dataclass(frozen=True)
class Fault:
    """What goes wrong: in the program that is built, or in what the built program does.

    `on` names the proving ground's program that has the word the fault is in.
    """

    on: str
    program: Callable[[Program], Program] = lambda program: program
    wrap: Callable[[Built], Built] = lambda built: built


def layers(change: Callable[[Layer, tuple[int, ...]], Layer]) -> Callable[[Program], Program]:
    """A change to layers, told the shape that comes in."""

    def apply(program: Program) -> Program:
        model = program.models["model"]
        nodes = tuple(
            replace(node, layer=change(node.layer, incoming[0])) for node, incoming, _ in model.walk()
        )
        return replace(program, models={"model": replace(model, nodes=nodes)})

    return apply


def updates(change: Callable[[Update], Update]) -> Callable[[Program], Program]:
    """A change to the update."""
    return lambda program: replace(program, updates=tuple(change(update) for update in program.updates))


def _batch_norm(**values: Any) -> Callable[[Program], Program]:
    def change(layer: Layer, shape: tuple[int, ...]) -> Layer:
        return replace(layer, **values) if isinstance(layer, BatchNorm) else layer

    return layers(change)


def _momentum_reversed(layer: Layer, shape: tuple[int, ...]) -> Layer:
    return replace(layer, momentum=1 - layer.momentum) if isinstance(layer, BatchNorm) else layer


def _other_variance(layer: Layer, shape: tuple[int, ...]) -> Layer:
    if not isinstance(layer, BatchNorm):
        return layer
    return replace(layer, running_variance="biased" if layer.running_variance == "unbiased" else "unbiased")


def _no_bias(layer: Layer, shape: tuple[int, ...]) -> Layer:
    return replace(layer, bias=False) if isinstance(layer, Dense) and layer.units == 10 else layer


def _padding_on_the_other_side(layer: Layer, shape: tuple[int, ...]) -> Layer:
    if not isinstance(layer, Conv2D):
        return layer
    (top, bottom), (left, right) = layer.pads(shape)
    return replace(layer, padding=((bottom, top), (right, left)))


def _faster(update: Update) -> Update:
    assert isinstance(update.optimizer, (SGD, Adam))
    assert isinstance(update.optimizer.learning_rate, float)
    optimizer = replace(update.optimizer, learning_rate=update.optimizer.learning_rate * 1.01)
    return replace(update, optimizer=optimizer)


def _coupled(update: Update) -> Update:
    assert isinstance(update.optimizer, Adam)
    penalty = L2(update.optimizer.weight_decay / 2)
    return replace(update, optimizer=replace(update.optimizer, weight_decay=0.0), penalties=(penalty,))


def _summed(update: Update) -> Update:
    return replace(update, terms=tuple(replace(term, loss=CrossEntropy("sum")) for term in update.terms))


def _softmax_twice(program: Program) -> Program:
    model: Model = program.models["model"]
    (last,) = model.outputs
    nodes = (*model.nodes, Node("extra", Softmax(), (last,)))
    return replace(program, models={"model": replace(model, nodes=nodes, outputs=("extra",))})


class Wrapped(Built):
    """A built program with something wrong about it."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self.coarse_numbers = built.coarse_numbers  # type: ignore[misc]

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        self.built.load(tensors)

    def tensors(self) -> Tensors:
        return self.built.tensors()

    def place(self, arrays: Mapping[str, np.ndarray]) -> Any:
        return self.built.place(arrays)

    def stage(self, placed: Any, order: np.ndarray) -> Any:
        return self.built.stage(placed, order)

    def train(self, staged: Any) -> Any:
        return self.built.train(staged)

    def mean_loss(self, handle: Any) -> float:
        return self.built.mean_loss(handle)

    def evaluate(self, staged: Any) -> Tensors:
        return self.built.evaluate(staged)

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        return self.built.gradients(staged, update)

    def wait(self) -> None:
        self.built.wait()


class TransposedKernel(Wrapped):
    """One square kernel is taken the other way round."""

    name = "model/dense2/kernel"

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        self.built.load({**tensors, self.name: np.ascontiguousarray(tensors[self.name].T)})


class BatchesSwapped(Wrapped):
    """The fourth and fifth batch change places."""

    def stage(self, placed: Any, order: np.ndarray) -> Any:
        if len(order) > 4:
            order = order[[0, 1, 2, 4, 3, *range(5, len(order))]]
        return self.built.stage(placed, order)


class GradientZeroed(Wrapped):
    """One gradient tensor does not arrive: its parameter stays where it is."""

    name = "model/conv2d2/kernel"

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        self.start = tensors[self.name]
        self.built.load(tensors)

    def tensors(self) -> Tensors:
        return {**self.built.tensors(), self.name: self.start}

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        loss, found = self.built.gradients(staged, update)
        return loss, {**found, self.name: np.zeros_like(found[self.name])}


FAULTS: dict[str, Fault] = {
    "batch-norm epsilon 1e-3 for 1e-5": Fault("momentum", _batch_norm(epsilon=1e-3)),
    "batch-norm momentum the other way round": Fault("momentum", layers(_momentum_reversed)),
    "running variance biased for unbiased and back": Fault("momentum", layers(_other_variance)),
    "learning rate off by 1 %": Fault("momentum", updates(_faster)),
    "Adam's learning rate off by 1 %": Fault("adamw", updates(_faster)),
    "L2 coupled for decoupled": Fault("adamw", updates(_coupled)),
    "loss summed for averaged": Fault("momentum", updates(_summed)),
    "softmax applied twice": Fault("momentum", _softmax_twice),
    "a missing bias": Fault("momentum", layers(_no_bias)),
    "a transposed kernel": Fault("momentum", wrap=TransposedKernel),
    "padding on the wrong side": Fault("momentum", layers(_padding_on_the_other_side)),
    "one batch out of order": Fault("momentum", wrap=BatchesSwapped),
    "one gradient tensor zeroed": Fault("momentum", wrap=GradientZeroed),
}
"""Faults that can be planted in any framework from outside."""


def checked(job: Job, build: Build, precision: Any) -> dict[str, Any]:
    """The worst check of a program against the job's reference, and whether the proof holds."""
    folder = Path(job.proof)
    found, coarse = evidence(job, build, read_batches(folder), precision)
    with np.load(folder / "reference.npz") as archive:
        reference = {name: archive[name] for name in archive.files}
    allowed = json.loads((folder / "tolerances.json").read_text())
    limits = allowed["float64 coarse" if precision == "float64" and coarse else precision]
    checks = compare(found, reference, allowed["scale"], limits)
    worst = checks[0]
    return {
        "holds": all(check.passed for check in checks),
        "tensor": worst.tensor,
        "error": worst.error,
        "tolerance": worst.tolerance,
    }


def main() -> None:
    """Prove each program of the proving ground, then each fault against it."""
    precisions = sys.argv[1].split(",")
    jobs = {path.parent.name: Job.read(path) for path in map(Path, sys.argv[3:])}
    first = next(iter(jobs.values()))
    module = load_backend(first.backend.name, Path(first.backend.folder))
    found: dict[str, dict[str, Any]] = {}

    def check(title: str, job: Job, build: Build) -> None:
        found[title] = {precision: checked(job, build, precision) for precision in precisions}

    for name, job in jobs.items():
        check(name, job, module.build)
    if sys.argv[2] == "1":
        for title, fault in FAULTS.items():
            check(title, jobs[fault.on], _faulty(fault, module.build))
        for title, (on, plant) in _patches(first.backend.name, module).items():
            undo = plant()
            check(title, jobs[on], module.build)
            undo()
    print(json.dumps(found), flush=True)
    # Frameworks' own threads may hang on the way out.
    os._exit(0)


def _faulty(fault: Fault, build: Build) -> Build:
    return lambda program, setting: fault.wrap(build(fault.program(program), setting))


def _patches(backend: str, module: ModuleType) -> dict[str, tuple[str, Callable[[], Callable[[], None]]]]:
    """Faults inside a framework's own code. Planting one gives the function that takes it out again."""
    patches = importlib.import_module(f"tests.fault_patches.on_{backend}")
    return {
        "Adam's epsilon before the bias correction": ("adamw", lambda: patches.epsilon_first(module)),
        "dropout left on in evaluation": ("momentum", lambda: patches.dropout_left_on(module)),
    }


if __name__ == "__main__":
    main()
