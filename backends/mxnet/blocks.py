"""The two blocks that run: the training loss of an update, and an evaluation.

Each takes a batch's indices and the whole arrays, so that hybridizing it makes one program of the gathering,
the models and the loss.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from mxnet.gluon import HybridBlock

from harness.spec.layers import Shape
from harness.spec.program import Call, Program, Update, output_name, run_calls
from harness.spec.time_first import left_time_first

from .graph import Graph
from .losses import loss_of, penalty_of
from .normalization import Normalization, following, statistics


class Unmoved(HybridBlock):
    """The calls of an update that no gradient need enter, for the batch at `indices`: their `outputs`, behind
    them what the `states` become, which MXNet moves in the backward pass alone.

    It runs unrecorded. Under `stop_gradient` MXNet would run the whole backward pass on zeros.
    """

    def __init__(self, program: Program, calls: tuple[Call, ...], graphs: Mapping[str, Graph]) -> None:
        super().__init__()
        self.calls = calls
        self.names = _arrays_used(program, calls, ())
        self.outputs = [
            output_name(call, place)
            for call in calls
            for place in range(len(program.models[call.model].outputs))
        ]
        for name in dict.fromkeys(call.model for call in calls):
            self.register_child(graphs[name], name)
        self.states = statistics(_normalizations(self._children.values()))

    def hybrid_forward(self, F: Any, indices: Any, *arrays: Any) -> list[Any]:
        """Outputs and states."""
        batch = {name: F.take(array, indices) for name, array in zip(self.names, arrays, strict=True)}
        with following(_normalizations(self._children.values())) as states:
            values = run_calls(self.calls, batch, lambda name, *inputs: self._children[name](*inputs))
        return [*[values[name] for name in self.outputs], *states]


class TrainingLoss(HybridBlock):
    """The loss of one update, its terms and its penalties: a tensor of shape (1,). Behind it, what the
    `states` become, those of models that move some of them more than once.
    """

    def __init__(
        self,
        program: Program,
        update: Update,
        unmoved: Unmoved | None,
        graphs: Mapping[str, Graph],
        parameters: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.made = unmoved.outputs if unmoved else []
        self.calls = tuple(call for call in update.calls if call.name not in self.made)
        compared = [name for term in update.terms for name in term.inputs]
        self.names = _arrays_used(program, self.calls, compared)
        shapes = _shapes(program, update)
        self.terms = [
            (loss_of(term.loss, *[shapes[name] for name in term.inputs]), term.inputs, term.weight)
            for term in update.terms
        ]
        self.penalties = [penalty_of(penalty) for penalty in update.penalties]
        self.turned = left_time_first(program, update).intersection(call.name for call in self.calls)
        called = [call.model for call in self.calls]
        for name in dict.fromkeys(called):
            self.register_child(graphs[name], name)
        # Only an attribute's parameter reaches `hybrid_forward`, by the attribute's name.
        for number, name in enumerate(program.penalized(update) if update.penalties else ()):
            setattr(self, f"kernel{number}", parameters[name])
        self.again = [
            name for name in dict.fromkeys(called) if called.count(name) > 1 or graphs[name].moves_twice()
        ]
        self.states = statistics(_normalizations(graphs[name] for name in self.again))

    def hybrid_forward(self, F: Any, indices: Any, *arrays: Any, **kernels: Any) -> Any:
        """The loss of the batch at `indices`, given the whole arrays and what the unmoved models made of the
        batch; `kernels` are the penalized parameters.
        """
        whole = zip(self.names, arrays[: len(self.names)], strict=True)
        batch = {name: F.take(array, indices) for name, array in whole}
        batch.update(zip(self.made, arrays[len(self.names) :], strict=True))
        with following(_normalizations(self._children[name] for name in self.again)) as states:
            values = run_calls(self.calls, batch, functools.partial(self._outputs, F))
        parts = []
        for function, inputs, weight in self.terms:
            compared = [values[name] for name in inputs]
            if inputs[0] in self.turned:
                compared[1:] = [F.transpose(value) for value in compared[1:]]
            part = function(F, *compared)
            parts.append(part if weight == 1.0 else part * weight)
        parts.extend(penalty(F, kernel) for penalty in self.penalties for kernel in kernels.values())
        loss = sum(parts[1:], parts[0])
        # Hybridized, every output has a backward pass, even one whose gradient nobody asks for.
        return [loss, *map(F.stop_gradient, states)] if states else loss

    def _outputs(self, F: Any, name: str, *inputs: Any) -> Any:
        """A model's outputs; its logits as they travel where their order does not matter."""
        if any(call.model == name and call.name in self.turned for call in self.calls):
            return self._children[name].outputs(F, inputs, first_as_it_is=True)
        return self._children[name](*inputs)


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


def _shapes(program: Program, update: Update) -> dict[str, Shape]:
    """The shape of one example of every array and of every output of the update's calls."""
    shapes: dict[str, Shape] = {name: tuple(shape) for name, shape in program.arrays.items()}
    for call in update.calls:
        model = program.models[call.model]
        inside = model.shapes()
        for place, output in enumerate(model.outputs):
            shapes[output_name(call, place)] = inside[output]
    return shapes


def _normalizations(graphs: Iterable[Graph]) -> list[Normalization]:
    return [block for graph in graphs for block in graph.normalizations()]


def unmoved(program: Program, update: Update) -> tuple[Call, ...]:
    """The calls that no gradient need enter: of models that are not moved, and never fed by one that is."""
    entered, before = set(update.moves), set[str]()
    while entered != before:
        before = set(entered)
        reached: set[str] = set()
        for call in update.calls:
            if call.model in entered or reached.intersection(call.inputs):
                entered.add(call.model)
                outputs = range(len(program.models[call.model].outputs))
                reached.update(output_name(call, place) for place in outputs)
    return tuple(call for call in update.calls if call.model not in entered)
