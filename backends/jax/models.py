"""A program's models as NNX modules, for the pure functions that are compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from harness.spec.model import Model, Node
from harness.spec.time_first import time_first, turns
from harness.worker.protocol import Layout, Unsupported

from . import attention, recurrent, sequence  # noqa: F401
from .layers import Place, lower

Arrays = dict[str, Any]
Path = tuple[Any, ...]
"""Model, number of the node, attributes."""
CallModel = Callable[..., tuple[Any, ...]]


class Models:
    """The models of a program, split once into their structure and their tensors (`nnx.split`), and merged
    again wherever a pure function is traced. Nothing of NNX is left in what is compiled.
    """

    def __init__(self, models: Mapping[str, Model], batch_size: int) -> None:
        self.models = models
        self.time_first = {name: time_first(model) for name, model in models.items()}
        lowered = {
            name: [
                lower(node.layer, Place(tuple(incoming), batch_size)) for node, incoming, _ in model.walk()
            ]
            for name, model in models.items()
        }
        self.layouts: dict[str, Layout] = {}
        paths: dict[str, Path] = {}
        shared: list[tuple[Path, Path]] = []
        for name, layers in lowered.items():
            homes = models[name].homes()
            for index, (node, layer) in enumerate(zip(models[name].nodes, layers, strict=True)):
                for tensor, (attributes, layout) in layer.tensors.items():
                    canonical = f"{name}/{homes[node.name][tensor]}"
                    here = (name, index, *attributes.split("."))
                    if self.layouts.setdefault(canonical, layout) != layout:
                        raise Unsupported(f"{canonical} has one shape in NNX, and {node.name} needs another")
                    if paths.setdefault(canonical, here) != here:
                        shared.append((here, paths[canonical]))

        def make() -> dict[str, nnx.List]:
            rngs = nnx.Rngs(0)
            modules = {
                name: nnx.List([layer.module(rngs) for layer in layers]) for name, layers in lowered.items()
            }
            for here, home in shared:
                setattr(_owner(modules, here), here[-1], getattr(_owner(modules, home), home[-1]))
            return modules

        # Shapes alone: every number comes from `load`.
        modules = nnx.eval_shape(make)
        self.variables = nnx.to_flat_state(nnx.state(modules))
        names = {path: canonical for canonical, path in paths.items()}
        self.names = {path: names.get(path) or "/".join(map(str, path)) for path, _ in self.variables}
        # A stream draws by its key and a counter. Only the counter moves; the keys are part of the program.
        self.keys = jax.jit(lambda: self._values(make(), nnx.RngKey))()
        self.counts = {
            self.names[path]: variable
            for path, variable in self.variables
            if isinstance(variable, nnx.RngCount)
        }
        for model in modules.values():
            model.train()
        self.training_structure = nnx.graphdef(modules)
        for model in modules.values():
            model.eval()
        self.evaluation_structure = nnx.graphdef(modules)

    def fresh_counts(self) -> Arrays:
        """The counters of the random streams at their start."""
        return {name: jnp.zeros(count.shape, count.dtype) for name, count in self.counts.items()}

    def training(
        self, state: Arrays, as_they_are: Collection[str] = ()
    ) -> tuple[CallModel, Callable[[], Arrays]]:
        """How to call a model in training, and what to ask afterwards for the tensors that this changed. The
        first output of models `as_they_are` comes as it travels, time first or not.
        """
        modules = self._merge(self.training_structure, state)

        def changed() -> Arrays:
            return self._values(modules, nnx.BatchStat, nnx.RngCount)

        return self._caller(modules, as_they_are), changed

    def evaluation(self, state: Arrays) -> CallModel:
        """How to call a model in evaluation."""
        return self._caller(self._evaluated(state))

    def layers(self, name: str, state: Arrays) -> dict[str, Callable[..., Any]]:
        """The layers of a model in evaluation, by their nodes' names."""
        return self._named(name, self._evaluated(state))

    def _evaluated(self, state: Arrays) -> dict[str, nnx.List]:
        canonical = {
            name: state[name] / layout.factor for name, layout in self.layouts.items() if layout.factor != 1.0
        }
        return self._merge(self.evaluation_structure, {**state, **canonical})

    def _named(self, name: str, modules: dict[str, nnx.List]) -> dict[str, Callable[..., Any]]:
        nodes = self.models[name].nodes
        return {node.name: layer for node, layer in zip(nodes, modules[name], strict=True)}

    def _values(self, modules: dict[str, nnx.List], *kinds: type) -> Arrays:
        found = nnx.to_flat_state(nnx.state(modules, nnx.Any(*kinds)))
        return {self.names[path]: variable.get_value() for path, variable in found}

    def _merge(self, structure: nnx.GraphDef, state: Arrays) -> dict[str, nnx.List]:
        values = {**state, **self.keys}
        flat = [(path, variable.replace(values[self.names[path]])) for path, variable in self.variables]
        modules: dict[str, nnx.List] = nnx.merge(structure, nnx.from_flat_state(flat))
        return modules

    def _caller(self, modules: dict[str, nnx.List], as_they_are: Collection[str] = ()) -> CallModel:
        def call_model(name: str, *inputs: Any) -> tuple[Any, ...]:
            model, layers, turned = self.models[name], self._named(name, modules), self.time_first[name]

            def apply(node: Node, *values: Any) -> Any:
                return layers[node.name](*map(_swapped, values, turns(node, turned)))

            found = model.evaluate(inputs, apply)
            back = [output in turned for output in model.outputs]
            back[0] &= name not in as_they_are
            return tuple(map(_swapped, found, back))

        return call_model


def _swapped(value: Any, wanted: bool) -> Any:
    """Batch and time in each other's place, if wanted."""
    return value.swapaxes(0, 1) if wanted else value


def _owner(modules: dict[str, nnx.List], path: Path) -> Any:
    """The module that has the last attribute of a path."""
    model, index, *attributes = path[:-1]
    return functools.reduce(getattr, attributes, modules[model][index])
