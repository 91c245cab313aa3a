"""Tasks: how models, a loss and a data set's arrays make a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.spec.codec import SpecError
from harness.spec.generation import Generation
from harness.spec.layers.base import Shape
from harness.spec.losses import BinaryCrossEntropy, CrossEntropy, Loss, MeanSquaredError, Sharpe, Yolo
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
    """One model on the arrays that its inputs are called after (`x`, `lengths`), or that `given` names for
    them. Its first output is held against the arrays `targets` by `loss`, unless the suite names another.
    `loss` may depend on the targets' shapes. The input `generates` is of tokens that can be generated.
    """

    targets: tuple[str, ...]
    loss: Callable[[Shapes], Loss]
    given: Mapping[str, str] = field(default_factory=dict)
    generates: str | None = None

    def program(self, models: Models, shapes: Shapes, training: Training) -> Program:
        """The program. Raises SpecError where models, loss and data do not fit."""
        if set(models) != {"model"}:
            raise SpecError(f"needs one model, the architecture gives {sorted(models)}")
        given = tuple(self.given.get(name, name) for name in models["model"].inputs)
        arrays = _chosen(shapes, (*given, *self.targets))
        call = Call("output", "model", given)
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
        generates = None if self.generates is None else Generation("model", self.generates)
        return Program(arrays, dict(models), (update,), (call,), outputs, generates)


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
    "classify": Supervised(("y",), lambda _: CrossEntropy()),
    "score": Supervised(("one_hot",), lambda _: MeanSquaredError()),
    "regress": Supervised(("value",), lambda _: MeanSquaredError()),
    "reconstruct": Supervised(("x",), lambda _: MeanSquaredError()),
    "denoise": Supervised(("x",), lambda _: MeanSquaredError(), {"x": "noisy"}),
    "segment": Supervised(("mask",), lambda _: BinaryCrossEntropy()),
    "detect": Supervised(("boxes", "classes"), lambda shapes: Yolo(shapes["boxes"][2])),
    "generate": Adversarial(),
    "forecast": Supervised(("value",), lambda _: MeanSquaredError()),
    "language": Supervised(("y",), lambda _: CrossEntropy(), generates="x"),
    "fill": Supervised(("x", "weights"), lambda _: CrossEntropy(), {"x": "masked"}),
    "translate": Supervised(("y", "weights"), lambda _: CrossEntropy(), generates="target"),
    "allocate": Supervised(("returns",), lambda _: Sharpe()),
}
