"""Generation: a graph that reads a prompt and one that reads a token, over variables for what is kept.

The parameters are captured as they are: a variable's value that a graph holds is copied before it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from harness.spec.generation import stepping
from harness.spec.layers import MultiHeadAttention
from harness.spec.layers.recurrent import Recurrent
from harness.spec.model import Node
from harness.spec.program import Program
from harness.worker.protocol import Decoder

from .layers import Output, Pass, lower_batch_first
from .stepwise import Site, begin, go_on, kept_shapes
from .variables import Variables


class CachedDecoder(Decoder):
    """Graphs over the state of a batch: the token chosen last, its place, and what layers keep."""

    def __init__(
        self,
        program: Program,
        owners: Mapping[str, Variables],
        batch_size: int,
        compiled: bool,
        device: str,
        dtype: Any,
    ) -> None:
        call, given = program.generating()
        self.model = program.models[given.model]
        self.arrays = dict(zip(self.model.inputs, call.inputs, strict=True))
        self.given = given.tokens
        self.compiled, self.device = compiled, device
        found = stepping(self.model, self.given)
        needed = _needed(self.model.nodes, self.model.outputs[0])
        self.once = [node for node in found.once if node.name in needed]
        self.each = [node for node in found.each if node.name in needed]
        shapes = self.model.shapes()
        capacity = shapes[self.given][0]
        values = {
            variable.ref(): variable.read_value() for own in owners.values() for variable in own.values()
        }
        with tf.device(device):
            self.place = tf.Variable(tf.zeros((), tf.int64), trainable=False)
            self.token = tf.Variable(tf.zeros(batch_size, tf.int64), trainable=False)
            kept = {
                node.name: tuple(
                    tf.Variable(tf.zeros((batch_size, *shape), dtype), trainable=False)
                    for shape in kept_shapes(node.layer, capacity, *[shapes[name] for name in node.inputs])
                )
                for node in self.each
            }
        self.sites = {
            node.name: Site(
                {name: values[variable.ref()] for name, variable in owners[node.name].items()},
                kept.get(node.name, ()),
                capacity,
                Pass(False, compiled),
            )
            for node in (*self.once, *self.each)
        }
        self.readers: dict[int, Callable[..., tuple[tf.Tensor, tf.Tensor]]] = {}
        self.stepper: Callable[[], tuple[tf.Tensor, tf.Tensor]] | None = None
        self.chosen: list[tf.Tensor] = []

    def start(self, placed: Any, prompt: int) -> None:
        """One call of the prompt's graph, of which there is one for each length."""
        arrays = [placed.arrays[name] for name in self.arrays.values()]
        if prompt not in self.readers:
            self.readers[prompt] = self._graph(lambda *given: self._read(prompt, given), *arrays)
        token, self.last = self.readers[prompt](*arrays)
        self.chosen = [token]

    def step(self) -> None:
        """One call of the token's graph, which takes nothing: all it needs is in variables."""
        if self.stepper is None:
            self.stepper = self._graph(self._step)
        token, self.last = self.stepper()
        self.chosen.append(token)

    def tokens(self) -> np.ndarray:
        """Gathered from the device."""
        return tf.stack(self.chosen, 1).numpy().astype(np.int32)

    def logits(self) -> np.ndarray:
        """As the last graph gave them."""
        return self.last.numpy()

    def _graph(self, function: Callable[..., Any], *arguments: tf.Tensor) -> Callable[..., Any]:
        traced = tf.function(function, autograph=False, jit_compile=self.compiled)
        with tf.device(self.device):
            return traced.get_concrete_function(
                *[tf.TensorSpec(argument.shape, argument.dtype) for argument in arguments]
            )

    def _read(self, prompt: int, given: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        values: dict[str, tf.Tensor] = dict(zip(self.arrays, given, strict=True))
        values[self.given] = values[self.given][:, :prompt]
        for node in self.once:
            site = self.sites[node.name]
            inputs = [values[name] for name in node.inputs]
            _store(values, node, lower_batch_first(node.layer, site.tensors, site.this, *inputs))
        # What nothing mixes over time any more is computed for the prompt's last step alone.
        last: dict[str, tf.Tensor] = {}
        whole = _whole(self.each)
        place = tf.constant(prompt - 1, tf.int64)
        for node in self.each:
            site = self.sites[node.name]
            if node.name in whole or isinstance(node.layer, MIXING):
                inputs = [values[name] for name in node.inputs]
                _store(values, node, begin(node.layer, site, *inputs))
            else:
                inputs = [last[name] if name in last else values[name][:, -1] for name in node.inputs]
                _store(last, node, go_on(node.layer, site, place, *inputs))
        output = self.model.outputs[0]
        return self._choose(last[output] if output in last else values[output][:, -1], place + 1)

    def _step(self) -> tuple[tf.Tensor, tf.Tensor]:
        place = self.place.read_value()
        values = {self.given: self.token.read_value()}
        for node in self.each:
            growing = [values[name] for name in node.inputs if name in values]
            _store(values, node, go_on(node.layer, self.sites[node.name], place, *growing))
        return self._choose(values[self.model.outputs[0]], place + 1)

    def _choose(self, logits: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The token of the largest logit, to be read next and at `place`."""
        token = tf.argmax(logits, -1)
        self.token.assign(token)
        self.place.assign(place)
        return token, logits


MIXING = (Recurrent, MultiHeadAttention)
"""Layers whose output at a step depends on other steps."""


def _needed(nodes: tuple[Node, ...], output: str) -> set[str]:
    """The nodes that `output` depends on."""
    needed = {output}
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs()):
            needed.update((node.name, *node.inputs))
    return needed


def _whole(nodes: list[Node]) -> set[str]:
    """What a prompt needs at all of its steps: whatever a layer that mixes them depends on."""
    whole: set[str] = set()
    for node in reversed(nodes):
        if isinstance(node.layer, MIXING) or node.name in whole:
            whole.update(node.inputs)
    return whole


def _store(values: dict[str, tf.Tensor], node: Node, found: Output) -> None:
    values.update(zip(node.outputs(), found if node.layer.further else (found,), strict=True))
