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

from harness.spec.layers import (
    GELU,
    Add,
    BatchNorm,
    Concatenate,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Sigmoid,
    Softmax,
)
from harness.spec.losses import BinaryCrossEntropy, CrossEntropy
from harness.spec.model import Model, Node
from harness.spec.optimizers import SGD, Adam
from harness.spec.penalties import L2
from harness.spec.program import Program, Term, Update
from harness.spec.proof import compare
from harness.spec.schedules import Schedule
from harness.worker.backend import load_backend
from harness.worker.job import Job
from harness.worker.protocol import Built, Setting, Tensors
from harness.worker.verify import evidence, read_batches
from tests.proving_ground import CLASSES, SHAPE

Build = Callable[[Program, Setting], Built]

PIXELS = SHAPE[0] * SHAPE[1]


@dataclass(frozen=True)
class Fault:
    """What goes wrong: in the program that is built, or in what the built program does.

    `on` names the proving ground's program that has the word the fault is in.
    """

    on: str
    program: Callable[[Program], Program] | None = None
    wrap: Callable[[Built], Built] = lambda built: built


def graph(change: Callable[[Model], Model]) -> Callable[[Program], Program]:
    """A change to the model."""
    return lambda program: replace(program, models={"model": change(program.models["model"])})


def layers(change: Callable[[Layer, tuple[int, ...]], Layer]) -> Callable[[Program], Program]:
    """A change to layers, told the shape that comes in."""

    def apply(model: Model) -> Model:
        nodes = tuple(
            replace(node, layer=change(node.layer, incoming[0])) for node, incoming, _ in model.walk()
        )
        return replace(model, nodes=nodes)

    return graph(apply)


def every(kind: type[Layer], **values: Any) -> Callable[[Program], Program]:
    """Other numbers in every layer of a kind."""
    return layers(lambda layer, _: replace(layer, **values) if isinstance(layer, kind) else layer)


def inputs(
    kind: type[Layer], change: Callable[[tuple[str, ...]], tuple[str, ...]]
) -> Callable[[Program], Program]:
    """Other inputs of every layer of a kind."""

    def apply(model: Model) -> Model:
        nodes = tuple(
            replace(node, inputs=change(node.inputs)) if isinstance(node.layer, kind) else node
            for node in model.nodes
        )
        return replace(model, nodes=nodes)

    return graph(apply)


def appended(layer: Layer) -> Callable[[Program], Program]:
    """One more layer at the end."""

    def apply(model: Model) -> Model:
        nodes = (*model.nodes, Node("extra", layer, model.outputs))
        return replace(model, nodes=nodes, outputs=("extra",))

    return graph(apply)


def updates(change: Callable[[Update], Update]) -> Callable[[Program], Program]:
    """A change to the update."""
    return lambda program: replace(program, updates=tuple(change(update) for update in program.updates))


def terms(change: Callable[[Term], Term]) -> Callable[[Program], Program]:
    """A change to the terms of the loss."""
    return updates(lambda update: replace(update, terms=tuple(map(change, update.terms))))


def loss(**values: Any) -> Callable[[Program], Program]:
    """Other numbers in the loss."""
    return terms(lambda term: replace(term, loss=replace(term.loss, **values)))


def optimizer(**values: Any) -> Callable[[Program], Program]:
    """Other numbers in the optimizer."""
    return updates(lambda update: replace(update, optimizer=replace(update.optimizer, **values)))


def schedule(change: Callable[[Any], Schedule]) -> Callable[[Program], Program]:
    """A change to the learning rate's schedule."""

    def apply(update: Update) -> Update:
        optimizer: Any = update.optimizer
        return replace(update, optimizer=replace(optimizer, learning_rate=change(optimizer.learning_rate)))

    return updates(apply)


def clipping(share: float) -> Callable[[Program], Program]:
    """Another limit of the gradient's norm, as a share of the right one."""

    def apply(update: Update) -> Update:
        assert update.clip_norm is not None
        return replace(update, clip_norm=update.clip_norm * share)

    return updates(apply)


def _momentum_reversed(layer: Layer, shape: tuple[int, ...]) -> Layer:
    return replace(layer, momentum=1 - layer.momentum) if isinstance(layer, BatchNorm) else layer


def _other_variance(layer: Layer, shape: tuple[int, ...]) -> Layer:
    if not isinstance(layer, BatchNorm):
        return layer
    return replace(layer, running_variance="biased" if layer.running_variance == "unbiased" else "unbiased")


def _no_bias(layer: Layer, shape: tuple[int, ...]) -> Layer:
    return replace(layer, bias=False) if isinstance(layer, Dense) and layer.units == 10 else layer


def _padding_on_the_other_side(layer: Layer, shape: tuple[int, ...]) -> Layer:
    if not isinstance(layer, (Conv2D, DepthwiseConv2D)):
        return layer
    (top, bottom), (left, right) = layer.pads(shape)
    return replace(layer, padding=((bottom, top), (right, left)))


def _cropped_on_the_other_side(layer: Layer, shape: tuple[int, ...]) -> Layer:
    """One row and column more, which `EDGED` fills with zeros: the odd pixel goes at the top and the left."""
    if not isinstance(layer, Conv2DTranspose) or layer.padding == "valid":
        return layer
    high, wide = layer.size
    return replace(layer, size=(high + 1, wide + 1))


def _pooled_by_maximum(model: Model) -> Model:
    """The largest pixel of each channel, under the name that the average had."""
    nodes: list[Node] = []
    for node, (shape, *_), _ in model.walk():
        if isinstance(node.layer, GlobalAvgPool2D):
            nodes.append(Node("extra", MaxPool2D((shape[0], shape[1])), node.inputs))
            nodes.append(Node(node.name, Flatten(), ("extra",)))
        else:
            nodes.append(node)
    return replace(model, nodes=tuple(nodes))


def _faster(update: Update) -> Update:
    assert isinstance(update.optimizer, (SGD, Adam))
    assert isinstance(update.optimizer.learning_rate, float)
    optimizer = replace(update.optimizer, learning_rate=update.optimizer.learning_rate * 1.01)
    return replace(update, optimizer=optimizer)


def _coupled(update: Update) -> Update:
    assert isinstance(update.optimizer, Adam)
    penalty = L2(update.optimizer.weight_decay / 2)
    return replace(update, optimizer=replace(update.optimizer, weight_decay=0.0), penalties=(penalty,))


def _scaled_up(program: Program) -> Program:
    """A limit that every gradient exceeds, and as much more rate: to the norm, whatever it was before."""
    share = 2.0**-20
    faster = schedule(lambda rate: replace(rate, start=rate.start / share, end=rate.end / share))
    return clipping(share)(faster(program))


def _over_the_others(term: Term) -> Term:
    """What would be the label's part of the smoothing goes to the other classes."""
    assert isinstance(term.loss, CrossEntropy)
    smoothing = term.loss.label_smoothing * CLASSES / (CLASSES - 1)
    return replace(term, loss=replace(term.loss, label_smoothing=smoothing))


def _saturating(term: Term) -> Term:
    """Away from "false" for towards "true"."""
    return replace(term, loss=BinaryCrossEntropy(0.0), weight=-1.0)


def _of(name: str, change: Callable[[Update], Update]) -> Callable[[Program], Program]:
    return updates(lambda update: change(update) if update.name == name else update)


@dataclass(frozen=True)
class Shifted(Schedule):
    """Another schedule, some steps on."""

    right: Schedule
    steps: int

    def rate(self, done: Any, xp: Any = np) -> Any:
        """The rate that is due after so many steps more."""
        return self.right.rate(done + self.steps, xp)


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


@dataclass(frozen=True)
class Layout:
    """The numbers of tensors at other places: the way there, and the way back."""

    names: tuple[str, ...]
    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]

    def __call__(self, built: Built) -> Built:
        """The program with its tensors so misunderstood, from first to last."""
        return Misunderstood(built, self)

    def apply(self, change: Callable[[np.ndarray], np.ndarray], tensors: Mapping[str, np.ndarray]) -> Tensors:
        """`tensors` with those of the names changed."""
        return {
            name: np.ascontiguousarray(change(tensor)) if name in self.names else tensor
            for name, tensor in tensors.items()
        }


class Misunderstood(Wrapped):
    """Tensors come in and go out in a layout that is not theirs."""

    def __init__(self, built: Built, layout: Layout) -> None:
        super().__init__(built)
        self.layout = layout

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        self.built.load(self.layout.apply(self.layout.there, tensors))

    def tensors(self) -> Tensors:
        return self.layout.apply(self.layout.back, self.built.tensors())

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        loss, found = self.built.gradients(staged, update)
        return loss, self.layout.apply(self.layout.back, found)


FLIPPED = Layout(
    ("model/conv2d_transpose1/kernel",), lambda kernel: kernel[::-1, ::-1], lambda kernel: kernel[::-1, ::-1]
)
"""The kernel's rows and columns from the other end."""

EDGED = Layout(
    ("model/conv2d_transpose1/kernel",),
    lambda kernel: np.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))),
    lambda kernel: kernel[:-1, :-1],
)
"""An edge of zeros at the kernel's end."""

MULTIPLIER_FIRST = Layout(
    ("model/depthwise_conv2d1/kernel",),
    lambda kernel: kernel.swapaxes(2, 3).reshape(kernel.shape),
    lambda kernel: kernel.reshape(*kernel.shape[:2], kernel.shape[3], kernel.shape[2]).swapaxes(2, 3),
)
"""Every channel's first kernel, then every channel's second."""

CHANNELS_FIRST = Layout(
    ("model/dense1/kernel", "model/dense1/bias"),
    lambda tensor: np.moveaxis(tensor.reshape(-1, 2, 3, 3), 1, -1).reshape(tensor.shape),
    lambda tensor: np.moveaxis(tensor.reshape(-1, 3, 3, 2), -1, 1).reshape(tensor.shape),
)
"""What is reshaped to (3, 3, 2) is laid out as (2, 3, 3)."""

TRANSPOSED = Layout(("model/dense2/kernel",), np.transpose, np.transpose)
"""One square kernel the other way round."""


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


class UpdatesSwapped(Wrapped):
    """Of two updates each is asked for by the other's number: evidence of one stays evidence of that one."""

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        return self.built.gradients(staged, 1 - update)


class GeneratorAlone(Wrapped):
    """Of the second update only the generator's gradient is seen, whatever else it moves."""

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        loss, found = self.built.gradients(staged, update)
        seen = found if update == 0 else {n: t for n, t in found.items() if n.startswith("generator/")}
        return loss, seen


FAULTS: dict[str, Fault] = {
    "batch-norm epsilon 1e-3 for 1e-5": Fault("momentum", every(BatchNorm, epsilon=1e-3)),
    "batch-norm momentum the other way round": Fault("momentum", layers(_momentum_reversed)),
    "running variance biased for unbiased and back": Fault("momentum", layers(_other_variance)),
    "learning rate off by 1 %": Fault("momentum", updates(_faster)),
    "Adam's learning rate off by 1 %": Fault("adamw", updates(_faster)),
    "L2 coupled for decoupled": Fault("adamw", updates(_coupled)),
    "loss summed for averaged": Fault("momentum", loss(reduction="sum")),
    "softmax applied twice": Fault("momentum", appended(Softmax())),
    "a missing bias": Fault("momentum", layers(_no_bias)),
    "a transposed kernel": Fault("momentum", wrap=TRANSPOSED),
    "padding on the wrong side": Fault("momentum", layers(_padding_on_the_other_side)),
    "one batch out of order": Fault("momentum", wrap=BatchesSwapped),
    "one gradient tensor zeroed": Fault("momentum", wrap=GradientZeroed),
    "GELU by tanh for exact": Fault("gelu", every(GELU, form="tanh")),
    "GELU exact for by tanh": Fault("gelu", every(GELU, form="exact")),
    "leaky ReLU slope 0.3 for 0.2": Fault("masks", every(LeakyReLU, slope=0.3)),
    "layer-norm epsilon 1e-3 for 1e-5": Fault("vectors", every(LayerNorm, epsilon=1e-3)),
    "layer-norm epsilon 1e-6 for 1e-5": Fault("vectors", every(LayerNorm, epsilon=1e-6)),
    "a skip connection left out": Fault("vectors", inputs(Add, lambda names: (names[-1],) * len(names))),
    "joined in the other order": Fault("vectors", inputs(Concatenate, lambda names: names[::-1])),
    "global pooling by maximum for average": Fault("grid", graph(_pooled_by_maximum)),
    "reshaped channels first": Fault("grid", wrap=CHANNELS_FIRST),
    "depthwise padding on the wrong side": Fault("grid", layers(_padding_on_the_other_side)),
    "depthwise kernels in the other order": Fault("grid", wrap=MULTIPLIER_FIRST),
    "transposed convolution flipped": Fault("masks", wrap=FLIPPED),
    "transposed convolution cropped on the wrong side": Fault(
        "grid", layers(_cropped_on_the_other_side), EDGED
    ),
    "label smoothing left out": Fault("vectors", loss(label_smoothing=0.0)),
    "label smoothing over the other classes alone": Fault("vectors", terms(_over_the_others)),
    "cross-entropy summed over positions": Fault(
        "pixels", terms(lambda term: replace(term, weight=float(PIXELS)))
    ),
    "binary cross-entropy summed for averaged": Fault("masks", loss(reduction="sum")),
    "sigmoid applied twice": Fault("masks", appended(Sigmoid())),
    "objectness alike where there is no object": Fault("detector", loss(no_object=1.0)),
    "coordinates weighted as all else": Fault("detector", loss(coordinate=1.0)),
    "RMSProp's decay 0.99 for 0.9": Fault("pixels", optimizer(rho=0.99)),
    "a schedule one step ahead": Fault("masks", schedule(lambda rate: Shifted(rate, 1))),
    "a schedule one step behind": Fault("gelu", schedule(lambda rate: Shifted(rate, -1))),
    "warm-up left out": Fault("gelu", schedule(lambda rate: replace(rate, warmup=0))),
    "clipping left out": Fault("vectors", updates(lambda update: replace(update, clip_norm=None))),
    "clipping to another norm": Fault("vectors", clipping(1.01)),
    "small gradients scaled up to the norm": Fault("vectors", _scaled_up),
    "updates in the other order": Fault(
        "duel", lambda program: replace(program, updates=program.updates[::-1]), UpdatesSwapped
    ),
    "an update that moves the other model too": Fault(
        "duel",
        _of("deceive", lambda update: replace(update, moves=("generator", "discriminator"))),
        GeneratorAlone,
    ),
    "a term's weight left out": Fault("duel", terms(lambda term: replace(term, weight=1.0))),
    "the generator's loss that saturates": Fault(
        "duel", _of("deceive", lambda update: replace(update, terms=tuple(map(_saturating, update.terms))))
    ),
}
"""Faults that can be planted in any framework from outside."""

PATCHES: dict[str, tuple[str, str]] = {
    "Adam's epsilon before the bias correction": ("adamw", "epsilon_first"),
    "dropout left on in evaluation": ("momentum", "dropout_left_on"),
    "RMSProp's epsilon outside of the root": ("pixels", "epsilon_outside"),
    "the learning rate inside of the velocity": ("vectors", "rate_inside"),
    "clipping by tensor for all together": ("vectors", "clipped_by_tensor"),
    "bilinear upsampling for nearest": ("pixels", "bilinear"),
}
"""Faults inside a framework's own code: the program they are in, and the function of `tests.fault_patches`
that plants one and gives the function that takes it out again.
"""


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


def verdicts(
    backend: str, module: ModuleType, jobs: Mapping[str, Job], faults: bool, precision: Any
) -> dict[str, Any]:
    """What `checked` says of each job's program and, with `faults`, of each fault."""
    right = _once(module.build)
    found = {name: checked(job, right, precision) for name, job in jobs.items()}
    if faults:
        for title, fault in FAULTS.items():
            build = module.build if fault.program else right
            found[title] = checked(jobs[fault.on], _faulty(fault, build), precision)
        patches = importlib.import_module(f"tests.fault_patches.on_{backend}")
        for title, (on, plant) in PATCHES.items():
            undo = getattr(patches, plant)(module)
            found[title] = checked(jobs[on], module.build, precision)
            undo()
    return found


def main() -> None:
    """Prove each program of the proving ground, then each fault against it."""
    precisions = sys.argv[1].split(",")
    jobs = {path.parent.name: Job.read(path) for path in map(Path, sys.argv[3:])}
    backend = next(iter(jobs.values())).backend
    module = load_backend(backend.name, Path(backend.folder))
    # One precision after the other: for some frameworks it is a setting of the process.
    found = {
        precision: verdicts(backend.name, module, jobs, sys.argv[2] == "1", precision)
        for precision in precisions
    }
    titles = found[precisions[0]]
    by_title = {title: {precision: found[precision][title] for precision in precisions} for title in titles}
    print(json.dumps(by_title), flush=True)
    # Frameworks' own threads may hang on the way out.
    os._exit(0)


def _faulty(fault: Fault, build: Build) -> Build:
    change = fault.program or (lambda program: program)
    return lambda program, setting: fault.wrap(build(change(program), setting))


def _once(build: Build) -> Build:
    """What is built is kept, for faults that leave the program as it is: compilers take their time."""
    kept: list[tuple[Program, Built]] = []

    def remembering(program: Program, setting: Setting) -> Built:
        for known, built in kept:
            if known == program:
                return built
        kept.append((program, build(program, setting)))
        return kept[-1][1]

    return remembering


if __name__ == "__main__":
    main()
