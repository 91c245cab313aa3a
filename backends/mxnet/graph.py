"""A model as a Gluon block."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from mxnet.gluon import HybridBlock

from harness.spec.model import Model, Node
from harness.spec.time_first import time_first, turns
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
        return self.outputs(F, inputs, first_as_it_is=False)

    def outputs(self, F: Any, inputs: Sequence[Any], *, first_as_it_is: bool) -> tuple[Any, ...]:
        """The outputs, the first of them as it travels if so asked for."""
        found = self.model.evaluate(tuple(inputs), functools.partial(self.run, F))
        return tuple(
            value if first_as_it_is and place == 0 else self.batch_first(F, name, value)
            for place, (name, value) in enumerate(zip(self.model.outputs, found, strict=True))
        )

    def run(self, F: Any, node: Node, *values: Any) -> Any:
        """What a node makes of its inputs, each tensor as it travels."""
        turned = zip(values, turns(node, self.time_first), strict=True)
        return self._children[node.name](*[F.swapaxes(x, 0, 1) if turn else x for x, turn in turned])

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
