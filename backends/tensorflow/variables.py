"""A model's variables, and which tensors of the spec live in each."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from harness.spec import layers as spec
from harness.spec.model import Model

Variables = Mapping[str, tf.Variable]


@dataclass(frozen=True)
class Held:
    """A variable, and the names of the tensors that lie in it side by side along its last axis, all of one
    shape. Mostly it is one tensor.
    """

    variable: tf.Variable
    names: tuple[str, ...]

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Take the values of its tensors."""
        parts = [tensors[name] for name in self.names]
        self.variable.assign(np.concatenate(parts, -1).astype(self.variable.dtype.as_numpy_dtype))

    def apart(self, whole: tf.Variable | tf.Tensor) -> dict[str, np.ndarray]:
        """The values of its tensors, or of their gradients, by name; `whole` is as the variable."""
        return dict(zip(self.names, np.split(whole.numpy(), len(self.names), -1), strict=True))


@functools.singledispatch
def joined(layer: spec.Layer) -> dict[str, tuple[str, ...]]:
    """The layer's tensors that one op reads together, by the name of the variable that they share then."""
    return {}


def variables_of(model: Model, dtype: Any) -> tuple[list[Held], dict[str, Variables]]:
    """The model's variables, of zeros; and each node's own, by node and by the name of the tensor or of what
    is `joined`. A shared tensor is one variable in both nodes.
    """
    homes, parameters = model.homes(), model.parameters()
    groups = _groups(model, homes)
    held = {}
    for group in dict.fromkeys(groups[name] for name in parameters):
        first = parameters[group[0]]
        zeros = tf.concat([tf.zeros(first.shape, dtype)] * len(group), -1)
        held[group] = Held(tf.Variable(zeros, trainable=first.trainable, name=group[0]), group)
    owners: dict[str, Variables] = {}
    for node in model.nodes:
        own = homes[node.name]
        alone = {name: (home,) for name, home in own.items()}
        together = {name: tuple(own[part] for part in parts) for name, parts in joined(node.layer).items()}
        owners[node.name] = {
            name: held[group].variable for name, group in (alone | together).items() if group in held
        }
    return list(held.values()), owners


def _groups(model: Model, homes: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """With whom each tensor lies in a variable: alone where not all of its nodes join it with the same."""
    read: dict[str, set[tuple[str, ...]]] = {}
    for node in model.nodes:
        own = homes[node.name]
        groups = [tuple(own[part] for part in parts) for parts in joined(node.layer).values()]
        groups += [(home,) for home in set(own.values()).difference(*groups)]
        for group in groups:
            for home in group:
                read.setdefault(home, set()).add(group)
    return {
        home: group if all(read[other] == {group} for other in group) else (home,)
        for home, (group, *_) in read.items()
    }
