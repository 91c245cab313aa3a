"""Tasks: how models, a loss and a data set's arrays make a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.spec.codec import SpecError
from harness.spec.layers.base import Shape
from harness.spec.losses import BinaryCrossEntropy, CrossEntropy, Loss, MeanSquaredError, Yolo
from harness.spec.model import Model
from harness.spec.optimizers import Optimizer
from harness.spec.penalties import Penalty
from harness.spec.program import Call, Program, Term, Update, output_name

Models = Mapping[str, Model]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Training:
    """What a suite says of a workload's training, whatever the task."""

    optimizer: Optimizer
    loss: Loss | None = None
    penalties: tuple[Penalty, ...] = ()
    clip_norm: float | None = None


@dataclass(frozen=True)
class Supervised:
    """One model on the array `given`, whose first output is held against the arrays `targets` by `loss`,
    unless the suite names another. `loss` may depend on the targets' shapes.
    """

    given: str
    targets: tuple[str, ...]
    loss: Callable[[Shapes], Loss]

    def program(self, models: Models, shapes: Shapes, training: Training) -> Program:
        """The program. Raises SpecError where models, loss and data do not fit."""
        if set(models) != {"model"}:
            raise SpecError(f"needs one model, the architecture gives {sorted(models)}")
        arrays = _chosen(shapes, (self.given, *self.targets))
        call = Call("output", "model", (self.given,))
        loss = training.loss or self.loss(arrays)
        update = Update(
            "train",
            (call,),
            (Term(loss, ("output", *self.targets)),),
            ("model",),
            training.optimizer,
            training.penalties,
            training.clip_norm,
        )
        outputs = tuple(output_name(call, place) for place in range(len(models["model"].outputs)))
        return Program(arrays, dict(models), (update,), (call,), outputs)


@dataclass(frozen=True)
class Adversarial:
    """A generator from `noise` and a discriminator, each moved by its own update with the same optimizer: the
    discriminator by telling real from made, then the generator by having its own called real (Goodfellow et
    al. 2014, the non-saturating loss).
    """

    def program(self, models: Models, shapes: Shapes, training: Training) -> Program:
        """The program. Raises SpecError where models, loss and data do not fit."""
        if set(models) != {"generator", "discriminator"}:
            raise SpecError(f"needs a generator and a discriminator, the architecture gives {sorted(models)}")
        if training.loss is not None:
            raise SpecError("this task has its own losses")
        make = Call("made", "generator", ("noise",))
        judge_real = Call("real?", "discriminator", ("x",))
        judge_made = Call("made?", "discriminator", ("made",))
        real, made = BinaryCrossEntropy(1.0), BinaryCrossEntropy(0.0)
        common = (training.optimizer, training.penalties, training.clip_norm)
        tell = (Term(real, ("real?",)), Term(made, ("made?",)))
        updates = (
            Update("discriminate", (make, judge_real, judge_made), tell, ("discriminator",), *common),
            Update("generate", (make, judge_made), (Term(real, ("made?",)),), ("generator",), *common),
        )
        return Program(_chosen(shapes, ("x", "noise")), dict(models), updates, (make,), ("made",))


def _chosen(shapes: Shapes, names: tuple[str, ...]) -> dict[str, Shape]:
    missing = [name for name in names if name not in shapes]
    if missing:
        raise SpecError(f"the task needs the arrays {list(names)}; the data have {list(shapes)}")
    return {name: tuple(shapes[name]) for name in dict.fromkeys(names)}


TASKS: dict[str, Supervised | Adversarial] = {
    "classify": Supervised("x", ("y",), lambda _: CrossEntropy()),
    "score": Supervised("x", ("one_hot",), lambda _: MeanSquaredError()),
    "regress": Supervised("x", ("value",), lambda _: MeanSquaredError()),
    "reconstruct": Supervised("x", ("x",), lambda _: MeanSquaredError()),
    "denoise": Supervised("noisy", ("x",), lambda _: MeanSquaredError()),
    "segment": Supervised("x", ("mask",), lambda _: BinaryCrossEntropy()),
    "detect": Supervised("x", ("boxes", "classes"), lambda shapes: Yolo(shapes["boxes"][2])),
    "generate": Adversarial(),
}
