"""A model: a graph of layers, and the shapes, parameters and cost that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from harness.errors import unknown
from harness.spec.codec import SpecError, later, name_of
from harness.spec.layers.base import Layer, Parameter, Shape

V = TypeVar("V")


@dataclass(frozen=True)
class Input:
    """One input of a model: the shape of an example (channels last) and what its numbers are."""

    shape: tuple[int, ...]
    dtype: Literal["float", "int"] = "float"


@dataclass(frozen=True)
class Node:
    """A layer at its place: `inputs` names model inputs or earlier nodes. What a layer gives beside its
    output is `name.hidden` and the like (`Layer.further`).

    With `shares`, the name of an earlier node, the tensors that both layers have by the same name are one:
    those of the earlier node (tied embeddings).
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    shares: str | None = later(None)

    def outputs(self) -> tuple[str, ...]:
        """The names of all it gives, its output first."""
        return (self.name, *[f"{self.name}.{more}" for more in self.layer.further])


@dataclass(frozen=True)
class Model:
    """A directed graph of layers, its nodes in an order of evaluation.

    A call gives its inputs in the alphabetical order of their names: a table in JSON has no other.
    Raises SpecError where a name is unknown or used twice, or where shapes do not fit.
    """

    inputs: dict[str, Input]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", dict(sorted(self.inputs.items())))
        known = set(self.inputs)
        for index, node in enumerate(self.nodes):
            here = ("nodes", index)
            check_plain(node.name, (*here, "name"))
            if node.layer.arity not in (None, len(node.inputs)):
                message = (
                    f"{node.name} ({name_of(node.layer)}) takes {node.layer.arity}, got {len(node.inputs)}"
                )
                raise SpecError(message, (*here, "inputs"))
            for name in node.inputs:
                if name not in known:
                    raise SpecError(str(unknown("tensor", name, known)), (*here, "inputs"))
            for name in node.outputs():
                if name in known:
                    raise SpecError(f"the name {name!r} is taken", (*here, "name"))
                known.add(name)
        for name in self.outputs:
            if name not in known:
                raise SpecError(str(unknown("tensor", name, known)), ("outputs",))
        self.homes()

    def shapes(self) -> dict[str, Shape]:
        """The shape of one example of every tensor: inputs and nodes."""
        shapes: dict[str, Shape] = {name: tuple(given.shape) for name, given in self.inputs.items()}
        for index, node in enumerate(self.nodes):
            incoming = [shapes[name] for name in node.inputs]
            try:
                found = node.layer.output_shape(*incoming), *node.layer.further_shapes(*incoming)
            except SpecError as error:
                where = f"{node.name} ({name_of(node.layer)})"
                message = f"{where}: {error.message}"
                raise SpecError(message, ("nodes", index, "layer", *error.path)) from None
            shapes.update(zip(node.outputs(), found, strict=True))
        return shapes

    def walk(self) -> Iterator[tuple[Node, list[Shape], Shape]]:
        """Each node with the example shapes that come in and that of its output."""
        shapes = self.shapes()
        for node in self.nodes:
            yield node, [shapes[name] for name in node.inputs], shapes[node.name]

    def homes(self) -> dict[str, dict[str, str]]:
        """Where each node's tensors are, by node and tensor: `{"dense1": {"kernel": "dense1/kernel"}}`, or
        those of the node that it shares them with. Raises SpecError where they cannot be shared.
        """
        homes: dict[str, dict[str, str]] = {}
        declared: dict[str, Parameter] = {}
        for index, (node, incoming, _) in enumerate(self.walk()):
            own = node.layer.parameters(*incoming)
            homes[node.name] = {name: f"{node.name}/{name}" for name in own}
            if node.shares is not None:
                here = ("nodes", index, "shares")
                if node.shares not in homes or node.shares == node.name:
                    raise SpecError(str(unknown("node", node.shares, set(homes) - {node.name})), here)
                shared = {name: home for name, home in homes[node.shares].items() if name in own}
                for name, home in shared.items():
                    if own[name].shape != declared[home].shape:
                        shapes = f"{own[name].shape} here and {declared[home].shape} in {home}"
                        raise SpecError(f"{node.name}: {name} is {shapes}", here)
                if not shared:
                    raise SpecError(f"{node.name} and {node.shares} have no tensor of one name", here)
                homes[node.name].update(shared)
            for name, home in homes[node.name].items():
                declared.setdefault(home, own[name])
        return homes

    def parameters(self) -> dict[str, Parameter]:
        """Every tensor of the model by the name `node/tensor`; a shared one once, by its first node."""
        homes = self.homes()
        found: dict[str, Parameter] = {}
        for node, incoming, _ in self.walk():
            for name, parameter in node.layer.parameters(*incoming).items():
                found.setdefault(homes[node.name][name], parameter)
        return found

    def flops(self) -> int:
        """Floating-point operations of a forward pass for one example."""
        return sum(node.layer.flops(*incoming) for node, incoming, _ in self.walk())

    def evaluate(self, inputs: Sequence[V], apply: Callable[..., Any]) -> tuple[V, ...]:
        """Run the graph: `apply(node, *values)` computes one node, a sequence of values where its layer gives
        more than its output. Gives the outputs, in their order.

        What a value is, is the caller's affair: a tensor of any framework, a symbol, a NumPy array.
        """
        values: dict[str, V] = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            found = apply(node, *[values[name] for name in node.inputs])
            values.update(zip(node.outputs(), found if node.layer.further else (found,), strict=True))
        return tuple(values[name] for name in self.outputs)

    def is_chain(self) -> bool:
        """Whether the graph is a plain chain: one input, each node fed by the one before, the last is out."""
        fed = [*self.inputs, *[node.name for node in self.nodes]]
        return (
            len(self.inputs) == 1
            and all(node.inputs == (before,) for node, before in zip(self.nodes, fed, strict=False))
            and self.outputs == (fed[-1],)
        )

    def without_randomness(self) -> Model:
        """The same model with every random layer switched off."""
        nodes = tuple(replace(node, layer=node.layer.without_randomness()) for node in self.nodes)
        return replace(self, nodes=nodes)


def sequential(shape: Sequence[int], *layers: Layer, dtype: Literal["float", "int"] = "float") -> Model:
    """A chain of layers on one input `x`; nodes are named by layer and number: dense1, relu1, dense2."""
    net = Network(shape, dtype)
    return net.model(net.chain("x", *layers))


class Network:
    """A graph being built: what an architecture that is no chain is written with.

        net = Network((32, 32, 3))
        y = net.add(Conv2D(16, (3, 3)), "x")
        y = net.add(ReLU(), y)
        model = net.model(y)

    Nodes are named by layer and number, as in `sequential`.
    """

    def __init__(self, shape: Sequence[int], dtype: Literal["float", "int"] = "float") -> None:
        self.inputs: dict[str, Input] = {}
        self.input("x", shape, dtype)
        self.nodes: list[Node] = []
        self.counts: dict[str, int] = {}

    def input(self, name: str, shape: Sequence[int] = (), dtype: Literal["float", "int"] = "int") -> str:
        """Another input beside `x`, such as each sequence's length; its name."""
        self.inputs[name] = Input(tuple(shape), dtype)
        return name

    def add(self, layer: Layer, *inputs: str, shares: str | None = None) -> str:
        """Add a layer behind `inputs`, with the tensors of the node `shares`; the name of its output."""
        kind = name_of(layer)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.nodes.append(Node(f"{kind}{self.counts[kind]}", layer, inputs, shares))
        return self.nodes[-1].name

    def chain(self, last: str, *layers: Layer) -> str:
        """Add layers one behind the other; the name of the last one's output."""
        for layer in layers:
            last = self.add(layer, last)
        return last

    def model(self, *outputs: str) -> Model:
        """The model with these outputs."""
        return Model(self.inputs, tuple(self.nodes), outputs)


def check_plain(name: str, path: tuple[str | int, ...]) -> None:
    """Raise SpecError where a name is empty or has a slash, which parts the names in a tensor's name."""
    if not name or "/" in name:
        raise SpecError(f"a name is not empty and has no slash, got {name!r}", path)


def split_name(name: str) -> tuple[str, str]:
    """`model/dense1/kernel` as (`model/dense1`, `kernel`)."""
    owner, _, tensor = name.rpartition("/")
    return owner, tensor


def grouped(tensors: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{"dense1/kernel": k, "dense1/bias": b} as {"dense1": {"kernel": k, "bias": b}}."""
    groups: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        owner, part = split_name(name)
        groups.setdefault(owner, {})[part] = tensor
    return groups
