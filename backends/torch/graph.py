"""A model of the spec as modules, and the code that runs them in the graph's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from harness.spec import layers as spec
from harness.spec.model import Model, Node, split_name
from harness.spec.time_first import time_first
from harness.worker.protocol import Unsupported

from .blocks import channels_first, channels_last
from .layers import Lowered, Native, Place, lower


@dataclass(frozen=True)
class Slot:
    """A tensor of the spec: the native tensor that holds it, and the way to it."""

    tensor: torch.Tensor
    native: Native

    def write(self, value: np.ndarray) -> None:
        """Copy the spec's tensor in place: a compiled program keeps its addresses."""
        with torch.no_grad():
            self.native.part(self.tensor).copy_(torch.from_numpy(self.native.layout.to_native(value)))

    def read(self, whole: torch.Tensor) -> np.ndarray:
        """The spec's tensor from the native one, or from its gradient."""
        return self.native.layout.to_canonical(self.native.part(whole.detach()).cpu().numpy().copy())


class Graph:
    """A model: a module for each node, by the node's name."""

    def __init__(self, model: Model, batch_size: int) -> None:
        # An image that is only flattened or reshaped needs no other view of itself.
        self.flattened = {
            name
            for name in model.inputs
            if name not in model.outputs
            and all(
                isinstance(node.layer, (spec.Flatten, spec.Reshape))
                for node in model.nodes
                if name in node.inputs
            )
        }
        self.model = model
        self.shapes = model.shapes()
        self.homes = model.homes()
        called = {node.name: (node.layer, tuple(incoming)) for node, incoming, _ in model.walk()}
        used = {name for node in model.nodes for name in node.inputs} | set(model.outputs)
        turned = time_first(model)
        self.lowered: dict[str, Lowered] = {}
        for node in model.nodes:
            layer, incoming = called[node.name]
            kin = tuple(called[name] for name in self._kin(node.name))
            wanted = frozenset(more for more in layer.further if f"{node.name}.{more}" in used)
            flat, swapped = node.inputs[0] in self.flattened, node.name in turned
            place = Place(incoming, flat, batch_size, kin, wanted, swapped)
            self.lowered[node.name] = lower(layer, place)

    def enter(self, name: str, x: Any) -> Any:
        """An input of the model, images channels last, as the modules take it."""
        return channels_first(x) if len(self.shapes[name]) == 3 and name not in self.flattened else x

    def trace(self, inputs: Sequence[fx.Proxy], call_node: Callable[..., fx.Proxy]) -> tuple[fx.Proxy, ...]:
        """The outputs for symbolic inputs, images channels last; `call_node(name, *values)` runs a module."""

        def call(node: Node, *values: fx.Proxy) -> fx.Proxy | tuple[fx.Proxy, ...]:
            found = call_node(node.name, *values)
            if not node.layer.further:
                return found
            # A symbol cannot be counted.
            return tuple(found[number] for number in range(len(node.outputs())))

        given = [self.enter(name, x) for name, x in zip(self.model.inputs, inputs, strict=True)]
        outputs = self.model.evaluate(given, call)
        return tuple(
            channels_last(y) if len(self.shapes[name]) == 3 else y
            for name, y in zip(self.model.outputs, outputs, strict=True)
        )

    def share(self) -> None:
        """Give nodes that share tensors the same ones. To be done when the tensors are where they will stay:
        torch replaces buffers as it moves them.
        """
        for node, homes in self.homes.items():
            for name, home in homes.items():
                owner, _ = split_name(home)
                if owner == node:
                    continue
                mine, shared = self.lowered[node].tensors[name], self.lowered[owner].tensors[name]
                if (mine.layout, mine.rows) != (shared.layout, shared.rows):
                    raise Unsupported(f"the torch backend holds {home} otherwise for {node} than for {owner}")
                mine.set(self.lowered[node].module, shared.get(self.lowered[owner].module))

    def slots(self) -> dict[str, Slot]:
        """Every tensor of the model by the name `node/tensor`; a shared one once, by its first node."""
        return {
            f"{node}/{name}": Slot(native.get(lowered.module), native)
            for node, lowered in self.lowered.items()
            for name, native in lowered.tensors.items()
            if self.homes[node][name] == f"{node}/{name}"
        }

    def _kin(self, name: str) -> list[str]:
        """The nodes that have a tensor in common with this one, itself among them."""
        own = set(self.homes[name].values())
        return [node for node, homes in self.homes.items() if not own.isdisjoint(homes.values())]
