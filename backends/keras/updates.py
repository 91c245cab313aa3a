"""Programs that `compile` has no words for: a `keras.Model` with a training step of its own.

The GAN of Keras's guide "Customizing what happens in `fit()`", for any models and updates. What differs
between the frameworks, `train_step` and the gradient, is in `on_*.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from harness.spec import losses as spec
from harness.spec.layers import Shape
from harness.spec.program import Call, Program, Update, run_calls

from .expressible import weighted
from .losses import loss_of, parted, regularizer_of, target_of


@dataclass(frozen=True)
class Loss:
    """One term of an update's loss."""

    spec: spec.Loss
    inputs: tuple[str, ...]
    native: keras.losses.Loss
    weight: float

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Its value for tensors by name."""
        prediction, *given = [values[name] for name in self.inputs]
        targets, weights = parted(self.spec, given)
        value = self.native(target_of(self.spec, prediction, *targets), prediction, weights)
        return value if self.weight == 1.0 else value * self.weight


@dataclass(frozen=True)
class Move:
    """One update: its calls and the terms of its loss, and the variables that it moves and penalizes."""

    calls: tuple[Call, ...]
    losses: list[Loss]
    moved: list[keras.Variable]
    penalized: list[keras.Variable]
    regularizer: keras.Regularizer | None


class Optimizers(keras.optimizers.Optimizer):
    """The optimizers of the updates under the one name that `fit` knows: it asks for their variables."""

    def __init__(self, parts: list[keras.optimizers.Optimizer]) -> None:
        super().__init__(learning_rate=1.0)
        self.parts = parts
        self.built = True

    @property
    def variables(self) -> list[keras.Variable]:
        """Those of each part, in their order."""
        return [variable for part in self.parts for variable in part.variables]


class Updates(keras.Model):
    """Models that a training step moves by several updates in turn. `x` is the batch by the arrays' names."""

    def __init__(
        self,
        program: Program,
        models: dict[str, keras.Model],
        variables: Mapping[str, keras.Variable],
    ) -> None:
        super().__init__()
        self.models = models
        self.moves = [
            Move(
                update.calls,
                _losses(program, update),
                [variables[name] for name in program.moved(update)],
                [variables[name] for name in program.penalized(update)],
                regularizer_of(update.penalties),
            )
            for update in program.updates
        ]
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.built = True

    @property
    def metrics(self) -> list[keras.Metric]:
        """The loss of a step, summed over updates."""
        return [self.loss_tracker]

    def call_model(self, name: str, *inputs: Any) -> tuple[Any, ...]:
        """A model's outputs in training."""
        return tuple(keras.tree.flatten(self.models[name](plain([*inputs]), training=True)))

    def loss_of(self, move: Move, x: Mapping[str, Any]) -> Any:
        """The loss of an update on a batch, with its penalties."""
        values = run_calls(move.calls, x, self.call_model)
        total = sum(loss(values) for loss in move.losses)
        return total + sum(map(move.regularizer, move.penalized)) if move.regularizer else total


def _losses(program: Program, update: Update) -> list[Loss]:
    def shapes_of(name: str, *shapes: Shape) -> tuple[Shape, ...]:
        inside = program.models[name].shapes()
        return tuple(inside[output] for output in program.models[name].outputs)

    shapes = run_calls(update.calls, program.arrays, shapes_of)
    losses = []
    for term in update.terms:
        native, share = loss_of(term.loss, shapes[term.inputs[0]], weighted(term))
        losses.append(Loss(term.loss, term.inputs, native, term.weight * share))
    return losses


def plain(items: list[Any]) -> Any:
    """One item as itself, which is how Keras's users write it; several as a tuple."""
    return items[0] if len(items) == 1 else tuple(items)
