"""Tasks: how a model, a loss and a data set's arrays make a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.spec.layers.base import Shape
from harness.spec.losses import CrossEntropy, Loss, MeanSquaredError
from harness.spec.model import Model
from harness.spec.optimizers import Optimizer
from harness.spec.penalties import Penalty
from harness.spec.program import Call, Program, Term, Update


@dataclass(frozen=True)
class Task:
    """`arrays` gives the arrays of a batch for a data set's example shape; the model's output is held against
    `target`; `loss` is used where a suite names none.
    """

    arrays: Callable[[Shape], Mapping[str, Shape]]
    target: str
    loss: Loss

    def program(
        self,
        model: Model,
        shape: Shape,
        loss: Loss | None,
        optimizer: Optimizer,
        penalties: tuple[Penalty, ...],
    ) -> Program:
        """One model on `x`, one update. Raises SpecError where model, loss and data do not fit."""
        call = Call("output", "model", ("x",))
        update = Update(
            "train",
            (call,),
            (Term(loss or self.loss, ("output", self.target)),),
            ("model",),
            optimizer,
            penalties,
        )
        return Program(dict(self.arrays(shape)), {"model": model}, (update,), (call,), ("output",))


TASKS = {
    "classify": Task(lambda shape: {"x": shape, "y": ()}, "y", CrossEntropy()),
    "reconstruct": Task(lambda shape: {"x": shape}, "x", MeanSquaredError()),
}
