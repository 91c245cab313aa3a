"""The two blocks that run: the training loss of an update, and an evaluation.

Each takes a batch's indices and the whole arrays, so that hybridizing it makes one program of the gathering,
the models and the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mxnet.gluon import HybridBlock

from harness.spec.program import Call, Program, Update, output_name, run_calls

from .layers import Graph
from .losses import loss_of, penalty_of


class TrainingLoss(HybridBlock):
    """The loss of one update: its terms and its penalties, a tensor of shape (1,)."""

    def __init__(
        self, program: Program, update: Update, graphs: Mapping[str, Graph], parameters: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.calls = update.calls
        compared = [name for term in update.terms for name in term.inputs]
        self.names = _arrays_used(program, update.calls, compared)
        self.terms = [(loss_of(term.loss), term.inputs, term.weight) for term in update.terms]
        self.penalties = [penalty_of(penalty) for penalty in update.penalties]
        for name in dict.fromkeys(call.model for call in update.calls):
            self.register_child(graphs[name], name)
        # Only an attribute's parameter reaches `hybrid_forward`, by the attribute's name.
        for number, name in enumerate(program.penalized(update) if update.penalties else ()):
            setattr(self, f"kernel{number}", parameters[name])
        self.detached = _detached(program, update)

    def hybrid_forward(self, F: Any, indices: Any, *arrays: Any, **kernels: Any) -> Any:
        """The loss of the batch at `indices`; `kernels` are the penalized parameters."""
        batch = {name: F.take(array, indices) for name, array in zip(self.names, arrays, strict=True)}

        def call_model(name: str, *inputs: Any) -> tuple[Any, ...]:
            outputs = self._children[name](*inputs)
            return tuple(F.stop_gradient(output) for output in outputs) if name in self.detached else outputs

        values = run_calls(self.calls, batch, call_model)
        parts = []
        for function, inputs, weight in self.terms:
            part = function(F, *[values[name] for name in inputs])
            parts.append(part if weight == 1.0 else part * weight)
        parts.extend(penalty(F, kernel) for penalty in self.penalties for kernel in kernels.values())
        return sum(parts[1:], parts[0])


class Evaluation(HybridBlock):
    """The outputs of the program for the batch at `indices`, as a list."""

    def __init__(self, program: Program, graphs: Mapping[str, Graph]) -> None:
        super().__init__()
        self.calls = program.predict
        self.outputs = program.outputs
        self.names = _arrays_used(program, program.predict, program.outputs)
        for name in dict.fromkeys(call.model for call in program.predict):
            self.register_child(graphs[name], name)

    def hybrid_forward(self, F: Any, indices: Any, *arrays: Any) -> list[Any]:
        """The outputs, images channels first."""
        batch = {name: F.take(array, indices) for name, array in zip(self.names, arrays, strict=True)}
        values = run_calls(self.calls, batch, lambda name, *inputs: self._children[name](*inputs))
        return [values[name] for name in self.outputs]


def _arrays_used(program: Program, calls: tuple[Call, ...], also: Iterable[str]) -> list[str]:
    used = {name for call in calls for name in call.inputs}.union(also)
    return [name for name in program.arrays if name in used]


def _detached(program: Program, update: Update) -> set[str]:
    """The models that no gradient need enter: not moved, and never fed by one that is.

    A model with state is not among them: MXNet's batch norm moves its statistics in the backward pass.
    """
    entered: set[str] = set()
    reached: set[str] = set()
    for call in update.calls:
        model = program.models[call.model]
        stateful = any(not parameter.trainable for parameter in model.parameters().values())
        if call.model in update.moves or stateful or reached.intersection(call.inputs):
            entered.add(call.model)
            reached.update(output_name(call, place) for place in range(len(model.outputs)))
    return {call.model for call in update.calls} - entered
