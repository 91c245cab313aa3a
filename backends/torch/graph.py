"""A model of the spec as modules, and the code that runs them in the graph's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import fx

from harness.spec import layers as spec
from harness.spec.model import Model
from harness.worker.protocol import Layout

from .blocks import channels_first, channels_last
from .layers import Place, lower

Slot = tuple[torch.Tensor, Layout]
"""A native tensor and the way to it from the spec's layout."""


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
        self.lowered = {
            node.name: lower(node.layer, Place(incoming[0], node.inputs[0] in self.flattened, batch_size))
            for node, incoming, _ in model.walk()
        }

    def trace(self, inputs: Sequence[fx.Proxy], call_node: Callable[..., fx.Proxy]) -> tuple[fx.Proxy, ...]:
        """The outputs for symbolic inputs, images channels last; `call_node(name, *values)` runs a module."""
        shapes = self.model.shapes()
        given = [
            channels_first(x) if len(shapes[name]) == 3 and name not in self.flattened else x
            for name, x in zip(self.model.inputs, inputs, strict=True)
        ]
        outputs = self.model.evaluate(given, lambda node, *values: call_node(node.name, *values))
        return tuple(
            channels_last(y) if len(shapes[name]) == 3 else y
            for name, y in zip(self.model.outputs, outputs, strict=True)
        )

    def slots(self) -> dict[str, Slot]:
        """Every tensor of the model by the name `node/tensor`."""
        return {
            f"{node}/{name}": (getattr(lowered.module, attribute), layout)
            for node, lowered in self.lowered.items()
            for name, (attribute, layout) in lowered.tensors.items()
        }
