"""Tokens generated one by one: the prompt in one go, then a step a token on what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.proxy import GraphAppendingTracer as Code

from harness.spec import layers as spec
from harness.spec.generation import STEPWISE, stepping
from harness.spec.model import Node
from harness.spec.program import Program
from harness.worker.protocol import Decoder

from .caches import Cache, Place, Room, cache_of
from .modules import Modules


class TorchDecoder(Decoder):
    """A model and its caches. The parameters are the program's own, not copies.

    The prompt is read node by node, as it comes; the step is straight-line code, like a training step's.
    """

    def __init__(self, modules: Modules, program: Program, batch_size: int, compiled: bool) -> None:
        call, given = program.generating()
        self.modules = modules
        self.graph = modules.graphs[given.model]
        model = self.graph.model
        self.arrays = dict(zip(model.inputs, call.inputs, strict=True))
        self.growing = given.tokens
        self.output = model.outputs[0]
        plan = stepping(model, self.growing)
        needed = self._needed()
        self.once = [node for node in plan.once if node.name in needed]
        self.each = [node for node in plan.each if node.name in needed]
        self.last_alone = self._last_alone()
        room = Room(batch_size, model.inputs[self.growing].shape[0])
        self.caches = self._caches(room)
        step = self._step_function()
        self.step_function = torch.compile(step) if compiled else step
        self.compiled = compiled
        self.token: torch.Tensor
        self.place: Place
        self.chosen: list[torch.Tensor]

    def start(self, placed: dict[str, torch.Tensor], prompt: int) -> None:
        """As the protocol says. Where only the last step counts, only that one is computed."""
        self.modules.eval()
        with torch.inference_mode():
            values: dict[str, Any] = {
                name: self.graph.enter(name, placed[array]) for name, array in self.arrays.items()
            }
            values[self.growing] = values[self.growing][:, :prompt]
            for node in self.once:
                self._keep(values, node, self.graph.lowered[node.name].module(*self._given(values, node)))
            for node in self.each:
                cache = self.caches.get(node.name)
                given = self._given(values, node)
                if cache is not None:
                    values[node.name] = cache.begin(*given)
                    continue
                if node.name in self.last_alone:
                    given = [value[:, -1:] for value in given]
                values[node.name] = self.graph.lowered[node.name].module(*given)
            self.last = values[self.output][:, -1]
            self.token = self.last.argmax(-1, keepdim=True)
            self.place = torch.tensor([prompt], device=self.token.device) if self.compiled else prompt
        self.modules.train()
        self.chosen = [self.token]

    def step(self) -> None:
        """One token."""
        with torch.inference_mode():
            self.last, self.token = self.step_function(self.token, self.place)
            self.place += 1
        self.chosen.append(self.token)

    def tokens(self) -> np.ndarray:
        """(batch, chosen)."""
        return torch.cat(self.chosen, 1).int().cpu().numpy()

    def logits(self) -> np.ndarray:
        """(batch, number of tokens)."""
        return self.last.cpu().numpy()

    def _needed(self) -> set[str]:
        """The nodes that the logits depend on."""
        names = {self.output}
        for node in reversed(self.graph.model.nodes):
            if not names.isdisjoint(node.outputs()):
                names.update((node.name, *node.inputs))
        return names

    def _last_alone(self) -> set[str]:
        """The nodes of which only the prompt's last step is wanted: nothing that they feed looks back."""
        found: set[str] = set()
        for node in reversed(self.each):
            users = [user.name for user in self.each if node.name in user.inputs]
            if isinstance(node.layer, STEPWISE) and found.issuperset(users):
                found.add(node.name)
        return found

    def _caches(self, room: Room) -> dict[str, Cache]:
        shapes = self.graph.shapes
        found = {}
        for node in self.each:
            incoming = tuple(shapes[name] for name in node.inputs)
            cache = cache_of(node.layer, self.graph.lowered[node.name].module, incoming, room)
            if cache is not None:
                found[node.name] = cache
        return found

    def _step_function(self) -> Any:
        """From tokens (batch, 1) and their place to logits (batch, number of tokens) and the next tokens."""
        root = nn.Module()
        code = Code(fx.Graph())
        values = {self.growing: code.create_proxy("placeholder", "token", (), {})}
        place = code.create_proxy("placeholder", "place", (), {})
        for node in self.each:
            if isinstance(node.layer, spec.Dropout):
                values[node.name] = values[node.inputs[0]]
                continue
            cache = self.caches.get(node.name)
            root.add_module(node.name, cache or self.graph.lowered[node.name].module)
            # Of what is computed once a cache has all that it needs.
            given = [values[name] for name in node.inputs if name in values]
            arguments = (given[0], place) if cache is not None else tuple(given)
            values[node.name] = code.create_proxy("call_module", node.name, arguments, {})
        logits = values[self.output][:, -1]
        code.graph.output(code.create_arg((logits, logits.argmax(-1, keepdim=True))))
        return fx.GraphModule(root, code.graph).forward

    def _given(self, values: dict[str, Any], node: Node) -> list[Any]:
        return [values[name] for name in node.inputs]

    def _keep(self, values: dict[str, Any], node: Node, found: Any) -> None:
        values.update(zip(node.outputs(), found if node.layer.further else (found,), strict=True))
