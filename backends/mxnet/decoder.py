"""Tokens one by one: the model's nodes over a prompt, then over one token after another, with a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock

from harness.spec.generation import Stepping, stepping
from harness.spec.layers import MultiHeadAttention, Positions
from harness.spec.layers.recurrent import Recurrent
from harness.spec.model import Node
from harness.spec.program import Program
from harness.worker.protocol import Decoder

from .graph import Graph


class Once(HybridBlock):
    """What does not depend on the generated tokens: the values that the other nodes read, `names`, and behind
    them each memory's keys and values.
    """

    def __init__(self, graph: Graph, steps: Stepping) -> None:
        super().__init__()
        self.nodes = steps.once
        self.memories = [node for node in steps.each if has_memory(node)]
        read = {name for node in steps.each for name in reads(node, first=True)}
        self.names = [name for node in self.nodes for name in node.outputs() if name in read]
        needed = {name for node in self.nodes for name in node.inputs}
        needed.update(node.inputs[1] for node in self.memories)
        self.inputs = [name for name in graph.model.inputs if name in needed]
        for node in self.nodes:
            self.register_child(graph.block(node.name), node.name)
        for node in self.memories:
            attention = graph.block(node.name)
            for part in ("key", "value"):
                self.register_child(attention.part(part), f"{node.name}.{part}")
        self.block, self.run, self.batch_first = graph.block, graph.run, graph.batch_first

    def hybrid_forward(self, F: Any, *inputs: Any) -> list[Any]:
        """The values, then keys and values."""
        values = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            found = self.run(F, node, *[values[name] for name in node.inputs])
            values.update(zip(node.outputs(), found if node.layer.further else (found,), strict=True))
        found = [self.batch_first(F, name, values[name]) for name in self.names]
        for node in self.memories:
            memory = self.batch_first(F, node.inputs[1], values[node.inputs[1]])
            found.extend(self.block(node.name).keys_and_values(F, memory))
        return found


class Reading(HybridBlock):
    """The nodes that depend on the generated tokens, over the next `time` of these: the token chosen (batch,
    1), its logits (batch, tokens), and what the nodes keep.

    The `first` reads the prompt: given are the tokens (batch, most) and the numbers of the prompt's places
    (time,). A step is given its token (batch, 1), the number of its place (1,) and all that is kept: a
    recurrent layer's states, causal attention's keys and values. It gives new states, and of keys and values
    those of its own token. Both are also given the values called `names` and each memory's keys and values;
    None for places if not `placed`.
    """

    def __init__(self, graph: Graph, steps: Stepping, tokens: str, time: int, *, first: bool) -> None:
        super().__init__()
        self.nodes, self.tokens, self.time, self.first = steps.each, tokens, time, first
        self.output = graph.model.outputs[0]
        self.memories = [node.name for node in self.nodes if has_memory(node)]
        self.keeping = [node for node in self.nodes if kept_by(node)]
        self.growing = {tokens, *[name for node in self.nodes for name in node.outputs()]}
        read = [name for node in self.nodes for name in reads(node, first=first)]
        self.names = [name for name in dict.fromkeys(read) if name not in self.growing]
        kinds = Positions if first else (Positions, MultiHeadAttention)
        self.placed = any(isinstance(node.layer, kinds) and not has_memory(node) for node in self.nodes)
        for node in self.nodes:
            block = graph.block(node.name)
            if has_memory(node):
                for part in ("query", "output"):
                    self.register_child(block.part(part), f"{node.name}.{part}")
            else:
                is_step = isinstance(node.layer, Recurrent) and not first
                self.register_child(block.cell() if is_step else block, node.name)
        self.block = graph.block

    def hybrid_forward(self, F: Any, tokens: Any, places: Any, *arrays: Any) -> list[Any]:
        """Token, logits and what is kept."""
        rest = iter(arrays)
        values = {name: next(rest) for name in self.names}
        kept = {name: [next(rest), next(rest)] for name in self.memories}
        if not self.first:
            kept.update({node.name: [next(rest) for _ in range(kept_by(node))] for node in self.keeping})
        values[self.tokens] = F.slice_axis(tokens, axis=1, begin=0, end=self.time)
        last = self.time == 1
        fresh: list[Any] = []
        for place, node in enumerate(self.nodes):
            later = self.nodes[place:]
            if not last and not any(map(kept_by, later)):
                # What follows treats each step alone, and only the last one's logits are asked for.
                needed = {self.output, *[name for node in later for name in node.inputs]} & self.growing
                values.update({name: self._last(F, values[name]) for name in values if name in needed})
                last = True
                if self.placed:
                    places = F.slice_axis(places, axis=0, begin=self.time - 1, end=self.time)
            inputs = [values[name] for name in reads(node, first=self.first)]
            found, new = self._apply(F, node, inputs, places, kept.get(node.name, []))
            fresh.extend(new)
            values.update(zip(node.outputs(), found, strict=True))
        logits = values[self.output] if last else self._last(F, values[self.output])
        logits = F.reshape(logits, shape=(-3, 0))
        return [F.expand_dims(F.argmax(logits, axis=1), axis=1), logits, *fresh]

    def _apply(
        self, F: Any, node: Node, inputs: list[Any], places: Any, kept: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """What a node gives, and what it keeps."""
        block, layer = self.block(node.name), node.layer
        if isinstance(layer, Recurrent):
            if self.first:
                given = F.swapaxes(inputs[0], 0, 1)
                output, *states = block.read(F, given, self.time, None, inputs[1:])
                return [F.swapaxes(output, 0, 1), *states], states
            given = F.reshape(inputs[0], shape=(-3, 0))
            output, *states = block.step(F, self._children[node.name], given, kept)
            return [F.expand_dims(output, axis=1), *states], states
        if isinstance(layer, MultiHeadAttention):
            query = block.queries(F, inputs[0])
            if layer.memory:
                return [block.attend(F, query, *kept, *inputs[1:])], []
            key, value = block.keys_and_values(F, inputs[0])
            if self.first:
                return [block.attend(F, query, key, value)], [key, value]
            return [block.attend_behind(F, query, key, value, *kept, places)], [key, value]
        if isinstance(layer, Positions):
            return [block(inputs[0], places)], []
        return [block(*inputs)], []

    def _last(self, F: Any, value: Any) -> Any:
        return F.slice_axis(value, axis=1, begin=self.time - 1, end=self.time)


class CachedDecoder(Decoder):
    """Greedy generation; `evaluating` is around what is run once, as around any evaluation."""

    def __init__(
        self,
        program: Program,
        graph: Graph,
        batch_size: int,
        array: Callable[[np.ndarray], Any],
        hybridize: bool,
        evaluating: Callable[[], AbstractContextManager[None]],
    ) -> None:
        call, given = program.generating()
        self.graph, self.name, self.steps = graph, given.tokens, stepping(graph.model, given.tokens)
        self.arrays = dict(zip(graph.model.inputs, call.inputs, strict=True))
        self.hybridize, self.evaluating = hybridize, evaluating
        most = graph.model.inputs[given.tokens].shape[0]
        self.places = array(np.arange(most))
        self.place = [self.places[place : place + 1] for place in range(most)]
        once = Once(graph, self.steps)
        self.once = self._made(once) if once.nodes or once.memories else None
        self.prompts: dict[int, Reading] = {}
        self.reader = self._reading(1, first=False)
        self.caches = {
            node.name: [array(np.zeros(shape)) for shape in shapes]
            for node, shapes in _cache_shapes(graph, self.steps, batch_size, most)
        }

    def start(self, placed: Any, prompt: int) -> None:
        """Everything once, then the prompt."""
        if prompt not in self.prompts:
            self.prompts[prompt] = self._reading(prompt, first=True)
        self.values = {name: placed[array] for name, array in self.arrays.items()}
        self.memories: list[Any] = []
        if self.once is not None:
            with self.evaluating():
                found = self.once(*[self.values[name] for name in self.once.inputs])
            self.values.update(zip(self.once.names, found, strict=False))
            self.memories = found[len(self.once.names) :]
        self.read, self.kept = 0, dict[str, list[Any]]()
        self.chosen: list[Any] = []
        self._take(self._run(self.prompts[prompt], self.values[self.name], self.places[:prompt]), prompt)

    def step(self) -> None:
        """One token."""
        kept = [tensor for node in self.reader.keeping for tensor in self.kept[node.name]]
        self._take(self._run(self.reader, self.chosen[-1], self.place[self.read], *kept), 1)

    def _run(self, reading: Reading, tokens: Any, places: Any, *kept: Any) -> list[Any]:
        given = [self.values[name] for name in reading.names]
        found: list[Any] = reading(tokens, places if reading.placed else None, *given, *self.memories, *kept)
        return found

    def tokens(self) -> np.ndarray:
        """Those chosen."""
        found: np.ndarray = nd.concat(*self.chosen, dim=1).asnumpy()
        return found.astype(np.int32)

    def logits(self) -> np.ndarray:
        """Of the last one."""
        found: np.ndarray = self.scores.asnumpy()
        return found

    def _take(self, found: list[Any], time: int) -> None:
        """Keep what a reading of `time` tokens gave; keys and values go to their place in the cache."""
        token, self.scores, *rest = found
        self.chosen.append(token)
        fresh = iter(rest)
        for node in self.reader.keeping:
            new = [next(fresh) for _ in range(kept_by(node))]
            if node.name in self.caches:
                for cache, part in zip(self.caches[node.name], new, strict=True):
                    begin, end = (None, self.read, None), (None, self.read + time, None)
                    nd._internal._slice_assign(cache, part, begin=begin, end=end, out=cache)
                new = self.caches[node.name]
            self.kept[node.name] = new
        self.read += time

    def _reading(self, time: int, *, first: bool) -> Reading:
        return self._made(Reading(self.graph, self.steps, self.name, time, first=first))

    def _made(self, block: Any) -> Any:
        if self.hybridize:
            block.hybridize(static_alloc=True, static_shape=True)
        return block


def kept_by(node: Node) -> int:
    """How many tensors a node keeps from token to token."""
    if isinstance(node.layer, Recurrent):
        return len(node.layer.further)
    return 2 if isinstance(node.layer, MultiHeadAttention) and not node.layer.memory else 0


def has_memory(node: Node) -> bool:
    """Whether it is attention to a memory."""
    return isinstance(node.layer, MultiHeadAttention) and node.layer.memory


def reads(node: Node, *, first: bool) -> tuple[str, ...]:
    """The inputs of a node that a reading reads: of a memory there are keys and values already, and after the
    first reading there are states.
    """
    if has_memory(node):
        return (node.inputs[0], *node.inputs[2:])
    return node.inputs[:1] if isinstance(node.layer, Recurrent) and not first else node.inputs


def _cache_shapes(
    graph: Graph, steps: Stepping, batch_size: int, most: int
) -> Iterator[tuple[Node, list[tuple[int, ...]]]]:
    """Of causal attention: keys and values, (batch * heads, most, width / heads)."""
    shapes = graph.model.shapes()
    for node in steps.each:
        layer = node.layer
        if isinstance(layer, MultiHeadAttention) and not layer.memory:
            width = shapes[node.name][-1]
            yield node, [(batch_size * layer.heads, most, width // layer.heads)] * 2
