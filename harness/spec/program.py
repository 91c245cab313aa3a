"""A program: models, the updates that a training step consists of, and what is evaluated.

A classifier has one model and one update. A GAN has two of each, taken in turn: the discriminator's update
calls the generator and then itself twice; the generator's calls both and moves the generator alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from harness.errors import unknown
from harness.spec.codec import SpecError, later, name_of
from harness.spec.generation import Generation, stepping
from harness.spec.initializers import draw
from harness.spec.layers.base import Parameter, Shape, check_positive
from harness.spec.losses import Loss
from harness.spec.model import Model, check_plain
from harness.spec.optimizers import Optimizer
from harness.spec.penalties import Penalty

V = TypeVar("V")


@dataclass(frozen=True)
class Call:
    """`name = model(inputs)`: inputs are arrays of the batch or earlier calls, in the order of the model's.
    Of several outputs of a model the first is `name`, the others are `name.1`, `name.2`.
    """

    name: str
    model: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Term:
    """One term of a loss: `weight * loss(inputs)`."""

    loss: Loss
    inputs: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Update:
    """One move: the loss is the sum of `terms` and of `penalties` on the moved models; its gradient moves the
    models named in `moves` by `optimizer`. With `clip_norm` the gradient is scaled first so that the norm of
    all its tensors together is at most that: times min(1, clip_norm / norm) (Pascanu et al. 2013).
    """

    name: str
    calls: tuple[Call, ...]
    terms: tuple[Term, ...]
    moves: tuple[str, ...]
    optimizer: Optimizer
    penalties: tuple[Penalty, ...] = ()
    clip_norm: float | None = later(None)

    def __post_init__(self) -> None:
        if self.clip_norm is not None:
            check_positive(clip_norm=self.clip_norm)


@dataclass(frozen=True)
class Program:
    """What is computed. `arrays` gives the shape of one example of each array of a batch.

    A training step runs the updates in their order; `predict` are the calls of an evaluation and `outputs`
    the tensors that it gives. `generates` says which tokens it can also generate one by one. Raises SpecError
    where names or shapes do not fit.
    """

    arrays: dict[str, tuple[int, ...]]
    models: dict[str, Model]
    updates: tuple[Update, ...]
    predict: tuple[Call, ...]
    outputs: tuple[str, ...]
    generates: Generation | None = later(None)

    def __post_init__(self) -> None:
        for name in self.models:
            check_plain(name, ("models", name))
        for index, update in enumerate(self.updates):
            here = ("updates", index)
            if update.name in (earlier.name for earlier in self.updates[:index]):
                raise SpecError(f"the name {update.name!r} is taken", (*here, "name"))
            if not update.terms:
                raise SpecError("needs at least one term", (*here, "terms"))
            shapes = self._shapes(update.calls, (*here, "calls"))
            for place, term in enumerate(update.terms):
                where = (*here, "terms", place)
                incoming = [_known(name, shapes, (*where, "inputs")) for name in term.inputs]
                if term.loss.arity not in (None, len(incoming)):
                    message = f"{name_of(term.loss)} takes {term.loss.arity}, got {len(incoming)}"
                    raise SpecError(message, (*where, "inputs"))
                try:
                    term.loss.check(*incoming)
                except SpecError as error:
                    raise error.under(*where, "loss") from None
            for name in update.moves:
                _known(name, self.models, (*here, "moves"))
        shapes = self._shapes(self.predict, ("predict",))
        for name in self.outputs:
            _known(name, shapes, ("outputs",))
        if self.generates is not None:
            self._check_generation(self.generates)

    def _check_generation(self, given: Generation) -> None:
        model = _known(given.model, self.models, ("generates", "model"))
        try:
            stepping(model, given.tokens)
        except SpecError as error:
            raise error.under("generates", "tokens") from None
        calls = [call for call in self.predict if call.model == given.model]
        if len(calls) != 1 or not set(calls[0].inputs) <= set(self.arrays):
            message = f"needs one call of {given.model!r} in `predict`, on arrays of the batch"
            raise SpecError(message, ("generates", "model"))

    def generating(self) -> tuple[Call, Generation]:
        """The call of an evaluation whose tokens the program generates; its first output are their logits.
        ValueError where it generates none.
        """
        if self.generates is None:
            raise ValueError("the program generates no tokens")
        (call,) = [call for call in self.predict if call.model == self.generates.model]
        return call, self.generates

    def tokens_array(self) -> str:
        """The name of the batch's array that is the generated tokens' input."""
        call, given = self.generating()
        return call.inputs[list(self.models[given.model].inputs).index(given.tokens)]

    def _shapes(self, calls: tuple[Call, ...], path: tuple[str | int, ...]) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {name: tuple(shape) for name, shape in self.arrays.items()}
        for index, call in enumerate(calls):
            here = (*path, index)
            model = _known(call.model, self.models, (*here, "model"))
            incoming = [_known(name, shapes, (*here, "inputs")) for name in call.inputs]
            expected = [tuple(given.shape) for given in model.inputs.values()]
            if incoming != expected:
                raise SpecError(f"model {call.model!r} takes {expected}, got {incoming}", (*here, "inputs"))
            inside = model.shapes()
            for place, output in enumerate(model.outputs):
                name = output_name(call, place)
                if name in shapes:
                    raise SpecError(f"the name {name!r} is taken", (*here, "name"))
                shapes[name] = inside[output]
        return shapes

    def output_shapes(self) -> dict[str, Shape]:
        """The shape of one example of each output of an evaluation."""
        shapes = self._shapes(self.predict, ("predict",))
        return {name: shapes[name] for name in self.outputs}

    def parameters(self) -> dict[str, Parameter]:
        """Every tensor of every model by the name `model/node/tensor`."""
        return {
            f"{name}/{tensor}": parameter
            for name, model in self.models.items()
            for tensor, parameter in model.parameters().items()
        }

    def moved(self, update: Update) -> list[str]:
        """The names of the tensors that `update` trains."""
        return [
            name
            for name, parameter in self.parameters().items()
            if parameter.trainable and name.split("/")[0] in update.moves
        ]

    def penalized(self, update: Update) -> list[str]:
        """The names of the tensors that the penalties of `update` act on."""
        parameters = self.parameters()
        return [name for name in self.moved(update) if parameters[name].penalized]

    def count(self) -> int:
        """The number of trainable numbers."""
        return sum(math.prod(p.shape) for p in self.parameters().values() if p.trainable)

    def flops(self) -> int:
        """Floating-point operations of one evaluation of one example."""
        return sum(self.models[call.model].flops() for call in self.predict)

    def training_flops(self) -> int:
        """Floating-point operations of one training step for one example, by the usual count: a backward pass
        is twice the forward one, half of it for the parameters and half for the inputs.

        A call of a model that is not moved has no gradient of parameters, and none at all unless it is fed by
        one that is. Losses, penalties and optimizers are not counted.
        """
        total = 0
        for update in self.updates:
            differentiated: set[str] = set()
            for call in update.calls:
                model, moved = self.models[call.model], call.model in update.moves
                passed = not differentiated.isdisjoint(call.inputs)
                if moved or passed:
                    outputs = range(len(model.outputs))
                    differentiated.update(output_name(call, place) for place in outputs)
                total += model.flops() * (3 if moved else 2 if passed else 1)
        return total

    def initial(self, seed: int) -> dict[str, np.ndarray]:
        """The initial value of every tensor: float64, representable in float32."""
        return {
            name: draw(name, p.shape, p.initializer, p.fan_in, p.fan_out, seed)
            for name, p in self.parameters().items()
        }

    def without_randomness(self) -> Program:
        """The same program with every random layer switched off."""
        return replace(self, models={name: model.without_randomness() for name, model in self.models.items()})


def output_name(call: Call, place: int) -> str:
    """The name of a call's output number `place`."""
    return call.name if place == 0 else f"{call.name}.{place}"


def run_calls(
    calls: tuple[Call, ...], batch: Mapping[str, V], call_model: Callable[..., tuple[V, ...]]
) -> dict[str, V]:
    """Run `calls` on a batch; `call_model(name, *inputs)` gives a model's outputs. Every tensor by name."""
    values = dict(batch)
    for call in calls:
        outputs = call_model(call.model, *[values[name] for name in call.inputs])
        values.update((output_name(call, place), output) for place, output in enumerate(outputs))
    return values


def _known(name: str, known: Mapping[str, V], path: tuple[str | int, ...]) -> V:
    if name not in known:
        raise SpecError(str(unknown("name", name, known)), path)
    return known[name]
