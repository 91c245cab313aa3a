"""A model of the spec as layers of Keras, and as a function of tensors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras

from harness.spec.model import Model, split_name

# The lowerings of the layers, which `lower` finds by their class.
from . import attention, layers, recurrent, sequence  # noqa: F401
from .lowering import Lowered, Place, Slot, activation_of, lower


class Graph:
    """The layers of a model, and the model as a function of symbolic tensors.

    An activation that alone follows a layer with an `activation` of its own becomes that.
    """

    def __init__(self, model: Model, batch_size: int, regularizer: keras.Regularizer | None) -> None:
        self.model = model
        self.lowered: dict[str, Lowered] = {}
        uses = Counter([*model.outputs, *[name for node in model.nodes for name in node.inputs]])
        for node, incoming, _ in model.walk():
            before = self.lowered.get(node.inputs[0], Lowered())
            activation = activation_of(node.layer)
            if activation and uses[node.inputs[0]] == 1 and before.takes_activation:
                before.layers[-1].activation = keras.activations.get(activation)
                self.lowered[node.name] = Lowered()
            else:
                place = Place(tuple(incoming), batch_size, regularizer)
                self.lowered[node.name] = lower(node.layer, place)

    def __call__(self, *inputs: keras.KerasTensor) -> tuple[keras.KerasTensor, ...]:
        """The outputs for these inputs. The first call builds the layers."""

        def apply(node: Any, *values: keras.KerasTensor) -> Any:
            return self.lowered[node.name](*values)

        outputs = self.model.evaluate(inputs, apply)
        for node, tensors in self.model.homes().items():
            for name, home in tensors.items():
                owner, shared = split_name(home)
                if owner != node:
                    self.lowered[node].tensors[name].become(self.lowered[owner].tensors[shared])
        return outputs

    def slots(self) -> dict[str, Slot]:
        """Every tensor of the model by the name `node/tensor`, once the layers are built."""
        return {
            home: self.lowered[node].tensors[name].slot
            for node, tensors in self.model.homes().items()
            for name, home in tensors.items()
            if home == f"{node}/{name}"
        }
