"""A program's models as one `torch.nn.Module`, and the functions that its steps call.

The functions are written out by `torch.fx` from the spec's graphs: straight-line code such as
`cross_entropy(self.model_dense2(self.model_relu1(...)), y)`, which is what one would write by hand. A loop
over the graph at every step costs a small model some five per cent.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import GraphAppendingTracer as Code

from harness.spec.layers import Shape
from harness.spec.program import Call, Program, Update, run_calls
from harness.spec.time_first import left_time_first

from .graph import Graph
from .losses import loss_of, penalty_of

Batch = dict[str, torch.Tensor]


class Modules(nn.Module):
    """Every node of every model, under the name `model_node`."""

    def __init__(self, graphs: Mapping[str, Graph]) -> None:
        super().__init__()
        self.graphs = graphs
        self.still = nn.Module()
        for name, graph in graphs.items():
            for node, lowered in graph.lowered.items():
                self.add_module(f"{name}_{node}", lowered.module)

    def loss_function(self, program: Program, update: Update) -> Callable[[Batch], torch.Tensor]:
        """The loss of an update as a function of a batch by name. To be made when the parameters are where
        they will stay: a model that the update does not move is called through twins of its modules.
        """
        code = Code(fx.Graph())
        still = {call.model for call in update.calls} - set(update.moves)
        for name in still:
            self._add_still(name)
        values = self._trace(code, program, update.calls, still)
        shapes = _shapes(program, update.calls)
        turned = left_time_first(program, update)
        parts = []
        for term in update.terms:
            loss_function = loss_of(term.loss, *[shapes[name] for name in term.inputs])
            compared = [values[name] for name in term.inputs]
            if term.inputs[0] in turned:
                # As the logits lie in memory: to flatten them otherwise would copy them.
                compared = [value.transpose(0, 1) for value in compared]
            loss = loss_function(*compared)
            parts.append(loss if term.weight == 1.0 else loss * term.weight)
        for penalty in update.penalties:
            for name in program.penalized(update):
                parts.append(penalty_of(penalty)(self._tensor(code, name)))
        return self._function(code, sum(parts[1:], parts[0]))

    def predict_function(self, program: Program) -> Callable[[Batch], tuple[torch.Tensor, ...]]:
        """The outputs of an evaluation as a function of a batch by name."""
        code = Code(fx.Graph())
        values = self._trace(code, program, program.predict)
        return self._function(code, tuple(values[name] for name in program.outputs))

    def _trace(
        self, code: Code, program: Program, calls: tuple[Call, ...], still: Collection[str] = ()
    ) -> dict[str, fx.Proxy]:
        """Write code that runs `calls`, the models `still` by their twins; each tensor in it by name."""
        batch = code.create_proxy("placeholder", "batch", (), {})

        def call_model(name: str, *inputs: fx.Proxy) -> tuple[fx.Proxy, ...]:
            prefix = f"still.{name}" if name in still else name
            return self.graphs[name].trace(
                inputs, lambda node, *values: code.create_proxy("call_module", f"{prefix}_{node}", values, {})
            )

        return run_calls(calls, {name: batch[name] for name in program.arrays}, call_model)

    def _add_still(self, name: str) -> None:
        """A twin of each module of a model, over the same memory, whose parameters ask for no gradient: none
        is computed for them, nor for what only they feed.
        """
        for node, lowered in self.graphs[name].lowered.items():
            module = lowered.module
            same: dict[int, Any] = {id(tensor): tensor for tensor in module.buffers()}
            for tensor in module.parameters():
                same[id(tensor)] = nn.Parameter(tensor.detach(), requires_grad=False)
            self.still.add_module(f"{name}_{node}", copy.deepcopy(module, same))

    def _tensor(self, code: Code, name: str) -> fx.Proxy:
        model, node, tensor = name.split("/")
        native = self.graphs[model].lowered[node].tensors[tensor]
        return native.part(code.create_proxy("get_attr", f"{model}_{node}.{native.attribute}", (), {}))

    def _function(self, code: Code, result: Any) -> Callable[..., Any]:
        code.graph.output(code.create_arg(result))
        return fx.GraphModule(self, code.graph).forward


def _shapes(program: Program, calls: tuple[Call, ...]) -> dict[str, Shape]:
    """The example shape of every tensor that `calls` give or take."""

    def call_model(name: str, *_: Shape) -> tuple[Shape, ...]:
        model = program.models[name]
        shapes = model.shapes()
        return tuple(shapes[output] for output in model.outputs)

    return run_calls(calls, program.arrays, call_model)
