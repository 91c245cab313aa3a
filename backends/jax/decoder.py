"""Tokens one by one: a jitted call for the prompt, then one for each token, with a cache between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from harness.spec.generation import stepping
from harness.spec.model import Node
from harness.spec.program import Program
from harness.worker.protocol import Decoder

from .cached import Cached
from .models import Arrays, Models
from .recurrent import Recurrence

Chosen = tuple[Any, Any, Any]
"""Caches and place, logits, token."""


class CachedDecoder(Decoder):
    """Both calls are pure functions of the tensors; the caches' buffers are donated from one to the next.
    What is chosen stays on the device.
    """

    def __init__(self, program: Program, models: Models, state: Arrays) -> None:
        call, self.given = program.generating()
        self.models = models
        self.state = state
        self.model = program.models[self.given.model]
        self.arrays = dict(zip(self.model.inputs, call.inputs, strict=True))
        (self.logits_name, *_) = self.model.outputs
        wanted = _wanted(reversed(self.model.nodes), {self.logits_name})
        found = stepping(self.model, self.given.tokens)
        self.once = [node for node in found.once if node in wanted]
        self.each = [node for node in found.each if node in wanted]
        (self.capacity,) = self.model.inputs[self.given.tokens].shape
        self.begin = jax.jit(self._begin, static_argnums=2)
        self.go_on = jax.jit(self._go_on, donate_argnums=1)
        self.cache: Any = None
        self.scores: Any = None
        self.chosen: list[Any] = []

    def start(self, placed: Arrays, prompt: int) -> None:
        """One call; it is compiled anew for each length of the prompt."""
        inputs = {name: placed[array] for name, array in self.arrays.items()}
        self.cache, self.scores, token = self.begin(self.state, inputs, prompt)
        self.chosen = [token]

    def step(self) -> None:
        """One call, which knows the place from the device."""
        self.cache, self.scores, token = self.go_on(self.state, self.cache, self.chosen[-1])
        self.chosen.append(token)

    def tokens(self) -> np.ndarray:
        """Fetched from the device."""
        return np.stack(jax.device_get(self.chosen), 1)

    def logits(self) -> np.ndarray:
        """Fetched from the device."""
        return np.array(self.scores)

    def _begin(self, state: Arrays, inputs: Arrays, prompt: int) -> Chosen:
        layers = self.models.layers(self.given.model, state)
        values = {**inputs, self.given.tokens: inputs[self.given.tokens][:, :prompt]}
        caches: Arrays = {}
        for node in self.once:
            _keep(node, _applied(layers[node.name], *[values[name] for name in node.inputs]), values)
        last = _last_alone(self.each, layers)
        for node in self.each:
            layer = layers[node.name]
            given = [values[name] for name in node.inputs]
            if node.name in last:
                given = [x[:, -1:] for x in given]
            if isinstance(layer, Cached):
                found, caches[node.name] = layer.begin(self.capacity, *given)
            else:
                found = layer(*given)
            _keep(node, found, values)
        return self._choose(caches, jnp.asarray(prompt, jnp.int32), values)

    def _go_on(self, state: Arrays, cache: Any, token: Any) -> Chosen:
        layers = self.models.layers(self.given.model, state)
        kept, place = cache
        caches: Arrays = {}
        values = {self.given.tokens: token[:, None]}
        for node in self.each:
            layer = layers[node.name]
            if isinstance(layer, Cached):
                found, caches[node.name] = layer.go_on(kept[node.name], place, values[node.inputs[0]])
            else:
                found = layer(*[values[name] for name in node.inputs])
            _keep(node, found, values)
        return self._choose(caches, place + 1, values)

    def _choose(self, caches: Arrays, place: Any, values: Arrays) -> Chosen:
        logits = values[self.logits_name][:, -1]
        return (caches, place), logits, jnp.argmax(logits, -1).astype(jnp.int32)


def _applied(layer: Any, *given: Any) -> Any:
    return layer.batch_first(*given) if isinstance(layer, Recurrence) else layer(*given)


def _keep(node: Node, found: Any, values: Arrays) -> None:
    values.update(zip(node.outputs(), found if node.layer.further else (found,), strict=True))


def _wanted(backwards: Iterable[Node], names: set[str]) -> list[Node]:
    """The nodes that the tensors of these names follow from."""
    found = []
    for node in backwards:
        if not names.isdisjoint(node.outputs()):
            found.append(node)
            names = names.union(node.inputs)
    return found


def _last_alone(nodes: Sequence[Node], layers: Arrays) -> set[str]:
    """The nodes of which a prompt's last step is enough: nothing that remembers reads what they give."""
    whole: set[str] = set()
    alone: set[str] = set()
    for node in reversed(nodes):
        if isinstance(layers[node.name], Cached) or not whole.isdisjoint(node.outputs()):
            whole.update(node.inputs)
        else:
            alone.add(node.name)
    return alone
