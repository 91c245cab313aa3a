"""The reference: a program run in NumPy from the meaning of its layers, losses and optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from harness.spec.layers.base import Pass
from harness.spec.model import Node
from harness.spec.program import Call, Program, Update, run_calls
from harness.spec.tape import Array, gradients

Tensors = dict[str, np.ndarray]
Batch = Mapping[str, np.ndarray]


class Reference:
    """A program in NumPy at one precision.

    `tensors` holds every parameter and state by name and is replaced, never changed in place. Layers with a
    random part need `random` to run in training. `disturb` gives the program to be used in each next step in
    place of the one before: the proof uses it to see what rounding does.
    """

    def __init__(
        self,
        program: Program,
        initial: Mapping[str, np.ndarray],
        dtype: Any = np.float64,
        random: np.random.Generator | None = None,
        disturb: Callable[[Program], Program] = lambda program: program,
    ) -> None:
        self.exact_program = program
        self.disturb = disturb
        self.program = disturb(program)
        self.dtype = np.dtype(dtype)
        self.random = random
        self.tensors: Tensors = {name: value.astype(self.dtype) for name, value in initial.items()}
        self.count = 0
        self.slots = [
            {name: update.optimizer.slots(self.tensors[name]) for name in program.moved(update)}
            for update in program.updates
        ]

    def predict(self, batch: Batch) -> Tensors:
        """The outputs of an evaluation, each (batch, *shape)."""
        values = self._run(self.program.predict, batch, self._arrays(), training=False)[0]
        return {name: values[name].value for name in self.program.outputs}

    def generate(
        self, batch: Batch, prompt: int, count: int, expected: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`count` tokens after the first `prompt` (at least 1) of the batch's own, each by the largest logit
        and without a cache: integers (batch, count); and the logits, (batch, count, tokens).

        What is `expected`, (batch, count), changes nothing but the time: a program that generates looks back
        only, so one pass gives the logits of every place as far as the tokens before it are right.
        """
        array, call = self.program.tokens_array(), self.program.generating()[0]
        places = slice(prompt, prompt + count)
        tokens = np.array(batch[array])
        tokens[:, prompt:] = 0
        if expected is not None:
            tokens[:, places] = expected
        logits: list[np.ndarray] = []
        while len(logits) < count:
            given = {**batch, array: tokens}
            values, _ = self._run(self.program.predict, given, self._arrays(), training=False)
            found = values[call.name].value[:, prompt - 1 : prompt - 1 + count]
            chosen = np.argmax(found, -1)
            right = np.all(chosen == tokens[:, places], 0)
            for place in range(len(logits), count):
                logits.append(found[:, place])
                tokens[:, prompt + place] = chosen[:, place]
                if expected is None or not right[place]:
                    break
        return tokens[:, places], np.stack(logits, 1)

    def loss(self, update: Update, batch: Batch) -> float:
        """The training loss of one update."""
        return float(self._loss(update, batch, self._arrays())[0].value)

    def loss_and_gradients(self, update: Update, batch: Batch) -> tuple[float, Tensors, Tensors]:
        """The loss, the gradient of every tensor that the update moves, and the new state of the layers."""
        arrays = self._arrays()
        loss, state = self._loss(update, batch, arrays)
        moved = self.program.moved(update)
        found = gradients(loss, [arrays[name] for name in moved])
        return float(loss.value), dict(zip(moved, found, strict=True)), state

    def train(self, batches: Iterable[Batch]) -> list[float]:
        """One step for each batch: every update in turn. Gives the loss of each step, summed over updates."""
        losses = []
        for batch in batches:
            self.count += 1
            self.program = self.disturb(self.exact_program)
            pairs = zip(self.program.updates, self.slots, strict=True)
            losses.append(sum(self._step(update, slots, batch) for update, slots in pairs))
        return losses

    def _step(self, update: Update, slots: dict[str, Tensors], batch: Batch) -> float:
        loss, found, state = self.loss_and_gradients(update, batch)
        moved = {}
        if update.clip_norm is not None:
            norm = float(np.sqrt(sum(np.sum(np.square(gradient)) for gradient in found.values())))
            scale = update.clip_norm / max(norm, update.clip_norm)
            found = {name: gradient * scale for name, gradient in found.items()}
        parameters = self.program.parameters()
        for name, gradient in found.items():
            rule = update.optimizer.of(parameters[name])
            new, slots[name] = rule.step(self.tensors[name], gradient, slots[name], self.count)
            moved[name] = new.astype(self.dtype)
        self.tensors = {**self.tensors, **state, **moved}
        return loss

    def _arrays(self) -> dict[str, Array]:
        return {name: Array(value) for name, value in self.tensors.items()}

    def _loss(self, update: Update, batch: Batch, arrays: dict[str, Array]) -> tuple[Array, Tensors]:
        values, state = self._run(update.calls, batch, arrays, training=True)
        terms = [
            term.loss.apply(*[values[name] for name in term.inputs]) * term.weight for term in update.terms
        ]
        for penalty in update.penalties:
            terms.extend(penalty.apply(arrays[name]) for name in self.program.penalized(update))
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total, state

    def _run(
        self, calls: tuple[Call, ...], batch: Batch, arrays: Mapping[str, Array], training: bool
    ) -> tuple[dict[str, Array], Tensors]:
        current = dict(arrays)
        homes = {name: model.homes() for name, model in self.program.models.items()}
        state: Tensors = {}

        def call_model(name: str, *inputs: Array) -> tuple[Array, ...]:
            def apply(node: Node, *values: Array) -> Array | tuple[Array, ...]:
                this = Pass(training, self.random)
                full = {tensor: f"{name}/{home}" for tensor, home in homes[name][node.name].items()}
                tensors = {tensor: current[home] for tensor, home in full.items()}
                output = node.layer.apply(this, tensors, *values)
                for tensor, new in this.state.items():
                    # A model that is called twice goes on from the state that its first call left.
                    state[full[tensor]] = new.astype(self.dtype)
                    current[full[tensor]] = Array(state[full[tensor]])
                return output

            return self.program.models[name].evaluate(inputs, apply)

        given = {
            name: Array(value.astype(self.dtype) if value.dtype.kind == "f" else value)
            for name, value in batch.items()
        }
        return run_calls(calls, given, call_model), state
