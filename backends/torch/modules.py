"""A program's models as one `torch.nn.Module`, and the functions that its steps call.

The functions are written out by `torch.fx` from the spec's graphs: straight-line code such as
`cross_entropy(self.model_dense2(self.model_relu1(...)), y)`, which is what one would write by hand. A loop
over the graph at every step costs a small model some five per cent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import GraphAppendingTracer as Code

from harness.spec.program import Call, Program, Update, run_calls

from .layers import Graph
from .losses import loss_of, penalty_of

Batch = dict[str, torch.Tensor]


class Modules(nn.Module):
    """Every node of every model, under the name `model_node`."""

    def __init__(self, graphs: Mapping[str, Graph]) -> None:
        super().__init__()
        self.graphs = graphs
        for name, graph in graphs.items():
            for node, lowered in graph.lowered.items():
                self.add_module(f"{name}_{node}", lowered.module)

    def loss_function(self, program: Program, update: Update) -> Callable[[Batch], torch.Tensor]:
        """The loss of an update as a function of a batch by name."""
        code = Code(fx.Graph())
        values = self._trace(code, program, update.calls)
        parts = []
        for term in update.terms:
            loss = loss_of(term.loss)(*[values[name] for name in term.inputs])
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

    def _trace(self, code: Code, program: Program, calls: tuple[Call, ...]) -> dict[str, fx.Proxy]:
        """Write code that runs `calls`; each tensor in it by name."""
        batch = code.create_proxy("placeholder", "batch", (), {})

        def call_model(name: str, *inputs: fx.Proxy) -> tuple[fx.Proxy, ...]:
            return self.graphs[name].trace(
                inputs, lambda node, *values: code.create_proxy("call_module", f"{name}_{node}", values, {})
            )

        return run_calls(calls, {name: batch[name] for name in program.arrays}, call_model)

    def _tensor(self, code: Code, name: str) -> fx.Proxy:
        model, node, tensor = name.split("/")
        attribute, _ = self.graphs[model].lowered[node].tensors[tensor]
        return code.create_proxy("get_attr", f"{model}_{node}.{attribute}", (), {})

    def _function(self, code: Code, result: Any) -> Callable[..., Any]:
        code.graph.output(code.create_arg(result))
        return fx.GraphModule(self, code.graph).forward
