"""A model as a Gluon block."""

from __future__ import annotations

import functools
from typing import Any

from mxnet.gluon import HybridBlock

from harness.spec.generation import STEPWISE
from harness.spec.layers import Shape
from harness.spec.layers.recurrent import Recurrent
from harness.spec.model import Model, Node
from harness.worker.protocol import Unsupported

# Each of these modules registers its lowerings.
from . import attention, layers, recurrent, sequences  # noqa: F401
from .lowering import Lowered, Place, Slot, lower, tie
from .normalization import Normalization


class Graph(HybridBlock):
    """A model: a child for each node, by its name."""

    def __init__(self, model: Model, batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.tensors: dict[str, Slot] = {}
        self.time_first = time_first(model)
        homes = model.homes()
        read = {name for node in model.nodes for name in node.inputs}.union(model.outputs)
        for node, incoming, _ in model.walk():
            used = frozenset(more for more in node.layer.further if f"{node.name}.{more}" in read)
            lowered = lower(node.layer, Place(tuple(incoming), batch_size, used))
            self.register_child(lowered.block, node.name)
            self._settle(node.name, lowered, homes[node.name])

    def _settle(self, node: str, lowered: Lowered, homes: dict[str, str]) -> None:
        """Take in a node's tensors; those that have a home already become the ones there."""
        for name, (own, layout) in lowered.tensors.items():
            home = homes[name]
            if home not in self.tensors:
                self.tensors[home] = own, layout
                continue
            shared, its_layout = self.tensors[home]
            if layout != its_layout:
                raise Unsupported(f"{node} cannot share {home}: MXNet's layers hold it in different layouts")
            tie(lowered.block, own, shared)

    def hybrid_forward(self, F: Any, *inputs: Any) -> tuple[Any, ...]:
        """The outputs; images are channels first on both sides, sequences batch first."""
        found = self.model.evaluate(inputs, functools.partial(self.run, F))
        return tuple(map(functools.partial(self.batch_first, F), self.model.outputs, found))

    def run(self, F: Any, node: Node, *values: Any) -> Any:
        """What a node makes of its inputs, each tensor as it travels."""
        is_recurrent, own = isinstance(node.layer, Recurrent), node.name in self.time_first
        read = []
        for place, (name, value) in enumerate(zip(node.inputs, values, strict=True)):
            wanted = own and not (is_recurrent and place)
            turned = wanted != (name in self.time_first)
            read.append(F.swapaxes(value, 0, 1) if turned else value)
        return self._children[node.name](*read)

    def batch_first(self, F: Any, name: str, value: Any) -> Any:
        """A tensor of the model with its batch first."""
        return F.swapaxes(value, 0, 1) if name in self.time_first else value

    def block(self, node: str) -> Any:
        """The block of a node."""
        return self._children[node]

    def slots(self) -> dict[str, Slot]:
        """Every tensor of the model by the name `node/tensor`; a shared one by its first node's."""
        return self.tensors

    def normalizations(self) -> list[Normalization]:
        """Its batch normalizations."""
        return [block for block in self._children.values() if isinstance(block, Normalization)]

    def moves_twice(self) -> bool:
        """Whether one call moves the same running statistics twice: two batch normalizations share them."""
        means = [block.running_mean for block in self.normalizations()]
        return len(set(means)) < len(means)


def time_first(model: Model) -> set[str]:
    """The tensors that travel as (time, batch, features), as MXNet's recurrent layers read and give them:
    what these give, what is made of that by layers that treat each step alone, and what such layers make for
    recurrent ones and no other, as embeddings do.
    """
    shapes = model.shapes()
    alone = {node.name for node in model.nodes if _is_stepwise(node, shapes)}
    readers: dict[str, list[Node]] = {}
    for node in model.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    found: set[str] = set()
    for node in reversed(model.nodes):
        theirs = [
            isinstance(reader.layer, Recurrent) or reader.name in found
            for reader in readers.get(node.name, [])
        ]
        if node.name in alone and len(node.inputs) == 1 and theirs and all(theirs):
            found.add(node.name)
    found.difference_update(model.outputs)
    for node in model.nodes:
        is_recurrent = isinstance(node.layer, Recurrent)
        if is_recurrent or (node.name in alone and found.issuperset(node.inputs)):
            found.add(node.name)
    return found


def _is_stepwise(node: Node, shapes: dict[str, Shape]) -> bool:
    """Whether a layer gives a sequence and treats each of its steps alone."""
    return isinstance(node.layer, STEPWISE) and len(shapes[node.name]) == 2
