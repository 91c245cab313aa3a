"""Changes to programs: what a fault makes of the right one before it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.spec.layers import Layer
from harness.spec.model import Input, Model, Node
from harness.spec.program import Program, Term, Update
from harness.spec.schedules import Schedule

Change = Callable[[Program], Program]


def both(*changes: Change) -> Change:
    """One change after the other."""

    def apply(program: Program) -> Program:
        for change in changes:
            program = change(program)
        return program

    return apply


def graph(change: Callable[[Model], Model]) -> Change:
    """A change to the model."""
    return lambda program: replace(program, models={"model": change(program.models["model"])})


def layers(change: Callable[[Layer, tuple[int, ...]], Layer]) -> Change:
    """A change to layers, told the shape that comes in."""

    def apply(model: Model) -> Model:
        nodes = tuple(
            replace(node, layer=change(node.layer, incoming[0])) for node, incoming, _ in model.walk()
        )
        return replace(model, nodes=nodes)

    return graph(apply)


def every(kind: type[Layer], **values: Any) -> Change:
    """Other numbers in every layer of a kind."""
    return layers(lambda layer, _: replace(layer, **values) if isinstance(layer, kind) else layer)


def inputs(kind: type[Layer], change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Change:
    """Other inputs of every layer of a kind."""

    def apply(model: Model) -> Model:
        nodes = tuple(
            replace(node, inputs=change(node.inputs)) if isinstance(node.layer, kind) else node
            for node in model.nodes
        )
        return replace(model, nodes=nodes)

    return graph(apply)


def at(name: str, *places: int, **values: Any) -> Change:
    """Other numbers in one layer, and of its inputs those at `places`, in that order."""

    def apply(model: Model) -> Model:
        return replace(model, nodes=tuple(map(change, model.nodes)))

    def change(node: Node) -> Node:
        if node.name != name:
            return node
        return replace(
            node, layer=replace(node.layer, **values), inputs=tuple(node.inputs[place] for place in places)
        )

    return graph(apply)


def left_out(kind: type[Layer]) -> Change:
    """Layers of a kind are passed by: who reads one reads its input."""

    def apply(model: Model) -> Model:
        past = {node.name: node.inputs[0] for node in model.nodes if isinstance(node.layer, kind)}
        nodes = tuple(
            replace(node, inputs=tuple(past.get(name, name) for name in node.inputs))
            for node in model.nodes
            if node.name not in past
        )
        return replace(model, nodes=nodes)

    return graph(apply)


def appended(layer: Layer) -> Change:
    """One more layer at the end."""

    def apply(model: Model) -> Model:
        nodes = (*model.nodes, Node("extra", layer, model.outputs))
        return replace(model, nodes=nodes, outputs=("extra",))

    return graph(apply)


def inserted(layer: Layer, behind: str, before: str, place: int) -> Change:
    """One more layer, `behind` a node, whose output is the input number `place` of another."""

    def apply(model: Model) -> Model:
        nodes: list[Node] = []
        for node in model.nodes:
            if node.name == before:
                nodes.append(Node("extra", layer, (behind,)))
                given = (*node.inputs[:place], "extra", *node.inputs[place + 1 :])
                nodes.append(replace(node, inputs=given))
            else:
                nodes.append(node)
        return replace(model, nodes=tuple(nodes))

    return graph(apply)


def told(name: str, array: str) -> Change:
    """One layer's last input is another array of the batch, an integer for each example: of a program whose
    arrays are called as its model's inputs are.
    """

    def apply(model: Model) -> Model:
        nodes = tuple(
            replace(node, inputs=(*node.inputs[:-1], array)) if node.name == name else node
            for node in model.nodes
        )
        return replace(model, inputs={**model.inputs, array: Input((), "int")}, nodes=nodes)

    def change(program: Program) -> Program:
        model = apply(program.models["model"])
        calls = tuple(replace(call, inputs=tuple(model.inputs)) for call in program.predict)
        return replace(
            program,
            arrays={**program.arrays, array: ()},
            models={"model": model},
            updates=tuple(replace(update, calls=calls) for update in program.updates),
            predict=calls,
        )

    return change


def updates(change: Callable[[Update], Update]) -> Change:
    """A change to the update."""
    return lambda program: replace(program, updates=tuple(change(update) for update in program.updates))


def of(name: str, change: Callable[[Update], Update]) -> Change:
    """A change to one of several updates."""
    return updates(lambda update: change(update) if update.name == name else update)


def terms(change: Callable[[Term], Term]) -> Change:
    """A change to the terms of the loss."""
    return updates(lambda update: replace(update, terms=tuple(map(change, update.terms))))


def loss(**values: Any) -> Change:
    """Other numbers in the loss."""
    return terms(lambda term: replace(term, loss=replace(term.loss, **values)))


def optimizer(**values: Any) -> Change:
    """Other numbers in the optimizer."""
    return updates(lambda update: replace(update, optimizer=replace(update.optimizer, **values)))


def schedule(change: Callable[[Any], Schedule]) -> Change:
    """A change to the learning rate's schedule."""

    def apply(update: Update) -> Update:
        optimizer: Any = update.optimizer
        return replace(update, optimizer=replace(optimizer, learning_rate=change(optimizer.learning_rate)))

    return updates(apply)


def clipping(share: float) -> Change:
    """Another limit of the gradient's norm, as a share of the right one."""

    def apply(update: Update) -> Update:
        assert update.clip_norm is not None
        return replace(update, clip_norm=update.clip_norm * share)

    return updates(apply)
