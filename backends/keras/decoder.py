"""Tokens one by one, by the model's own layers and variables.

The two functions, for the prompt and for one token more, are pure and compiled as the framework compiles
(`framework.compiled`): `jax.jit`, `tf.function`; PyTorch runs them as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from harness.spec.generation import STEPWISE, stepping
from harness.spec.model import Node
from harness.spec.program import Program
from harness.worker.protocol import Decoder

from .framework import framework
from .graph import Graph

Values = dict[str, Any]


class KerasDecoder(Decoder):
    """Goes on from the memory that each layer keeps (`Lowered.first`, `Lowered.following`)."""

    def __init__(self, program: Program, graph: Graph, variables: list[keras.Variable]) -> None:
        call, given = program.generating()
        model = graph.model
        self.graph = graph
        self.arrays = dict(zip(model.inputs, call.inputs, strict=True))
        self.generated = given.tokens
        self.capacity = model.inputs[given.tokens].shape[0]
        self.output = model.outputs[0]
        self.nodes = stepping(model, given.tokens)
        self.last = self._last()
        self.prefill = framework.compiled(self._prefill, variables)
        self.go_on = framework.compiled(self._go_on, variables, donates=True)

    def start(self, placed: Mapping[str, np.ndarray], prompt: int) -> None:
        """Read the prompt."""
        given = {name: placed[array] for name, array in self.arrays.items()}
        given[self.generated] = given[self.generated][:, :prompt]
        inputs = keras.tree.map_structure(ops.convert_to_tensor, given)
        self.memory, self.token, self.scores = self.prefill(inputs)
        self.place = prompt
        self.chosen = [self.token]

    def step(self) -> None:
        """Read the last token."""
        place = framework.number(self.place)
        self.memory, self.token, self.scores = self.go_on(self.memory, self.token, place)
        self.place += 1
        self.chosen.append(self.token)

    def wait(self) -> None:
        """As the framework waits."""
        framework.wait([self.token])

    def tokens(self) -> np.ndarray:
        """Those chosen."""
        found = [keras.ops.convert_to_numpy(token) for token in self.chosen]
        return np.concatenate(found, 1).astype(np.int32)

    def logits(self) -> np.ndarray:
        """The last token's."""
        return np.array(keras.ops.convert_to_numpy(self.scores))

    def _prefill(self, inputs: Values) -> tuple[Values, Any, Any]:
        values, memory = dict(inputs), {}
        for node in self.nodes.once:
            found = self.graph.lowered[node.name](*[values[name] for name in node.inputs])
            values.update(_named(node, found))
        for node in self.nodes.each:
            taken = [values[name] for name in node.inputs]
            if node.name in self.last:
                taken = [
                    value if name in self.last else _at_end(value)
                    for name, value in zip(node.inputs, taken, strict=True)
                ]
            found, memory[node.name] = self.graph.lowered[node.name].first(self.capacity, *taken)
            values.update(_named(node, found))
        return memory, *_chosen(values[self.output])

    def _go_on(self, memory: Values, token: Any, place: Any) -> tuple[Values, Any, Any]:
        values, memory = {self.generated: token}, dict(memory)
        for node in self.nodes.each:
            taken = [values.get(name) for name in node.inputs]
            lowered = self.graph.lowered[node.name]
            found, memory[node.name] = lowered.following(memory[node.name], place, *taken)
            values.update(_named(node, found))
        return memory, *_chosen(values[self.output])

    def _last(self) -> set[str]:
        """The nodes of which a prompt needs the last step alone: no layer after them looks at the others."""
        whole: set[str] = set()
        last: set[str] = set()
        for node in reversed(self.nodes.each):
            if isinstance(node.layer, STEPWISE) and whole.isdisjoint(node.outputs()):
                last.add(node.name)
            else:
                whole.update(node.inputs)
        return last


def _named(node: Node, found: Any) -> Values:
    """What a node gives, by name."""
    return dict(zip(node.outputs(), found if node.layer.further else (found,), strict=True))


def _at_end(value: Any) -> Any:
    """The last step of a sequence; a state is that already."""
    return value[:, -1:] if len(value.shape) == 3 else value


def _chosen(logits: Any) -> tuple[Any, Any]:
    """The token (N, 1) after the last of the steps, and its logits."""
    scores = logits[:, -1]
    return ops.cast(ops.argmax(scores, -1, keepdims=True), "int32"), scores
