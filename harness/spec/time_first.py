"""Sequences with their time before their batch: a backend may let them travel as recurrent layers read them.

A recurrent layer takes all sequences' first step, then all their second one. Where a sequence lies batch
first, each step is gathered from all over it, or the whole is turned before and after. What treats each step
alone, an embedding before such a layer or a projection behind it, does not care; nor does a mean over all
positions. So the turn may be made where it is cheapest: of tokens and labels, a number a step.
"""

from __future__ import annotations

from harness.spec.generation import STEPWISE
from harness.spec.layers.base import Shape
from harness.spec.layers.recurrent import Recurrent
from harness.spec.losses import CrossEntropy
from harness.spec.model import Model, Node
from harness.spec.program import Program, Update


def time_first(model: Model) -> frozenset[str]:
    """The tensors of a model that best travel as (time, batch, features): what its recurrent layers give,
    what is made of that by layers that treat each step alone, and what such layers make for recurrent ones
    and no other, as embeddings do.
    """
    shapes = model.shapes()
    alone = {node.name for node in model.nodes if _is_stepwise(node, shapes)}
    readers: dict[str, list[Node]] = {}
    for node in model.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    found: set[str] = set()
    for node in reversed(model.nodes):
        theirs = [
            isinstance(reader.layer, Recurrent) or reader.name in found
            for reader in readers.get(node.name, [])
        ]
        if node.name in alone and len(node.inputs) == 1 and theirs and all(theirs):
            found.add(node.name)
    found.difference_update(model.outputs)
    for node in model.nodes:
        is_recurrent = isinstance(node.layer, Recurrent)
        if is_recurrent or (node.name in alone and found.issuperset(node.inputs)):
            found.add(node.name)
    return frozenset(found)


def turns(node: Node, found: frozenset[str]) -> tuple[bool, ...]:
    """Of each input of a node whether batch and time must change places before it is read, where the tensors
    `found` travel time first. A recurrent layer takes its sequence so, but not its states or lengths; any
    other layer all that it takes, if what it gives is among `found`.
    """
    recurrent, own = isinstance(node.layer, Recurrent), node.name in found
    return tuple(
        (own and not (recurrent and place > 0)) != (name in found) for place, name in enumerate(node.inputs)
    )


def left_time_first(program: Program, update: Update) -> frozenset[str]:
    """The calls of an update whose model's first output may be left time first: cross-entropies alone look
    at it, as their logits, and sum over its positions in whatever order, if their labels and weights have
    the same one.
    """
    found = set()
    for call in update.calls:
        model = program.models[call.model]
        mine = [term for term in update.terms if call.name in term.inputs]
        if (
            [other.model for other in update.calls].count(call.model) == 1
            and not any(call.name in other.inputs for other in update.calls)
            and model.outputs[0] in time_first(model)
            and all(isinstance(t.loss, CrossEntropy) and t.inputs.index(call.name) == 0 for t in mine)
            and not any({other.name for other in update.calls} & set(t.inputs[1:]) for t in mine)
        ):
            found.add(call.name)
    return frozenset(found)


def _is_stepwise(node: Node, shapes: dict[str, Shape]) -> bool:
    """Whether a layer gives a sequence and treats each of its steps alone."""
    return isinstance(node.layer, STEPWISE) and len(shapes[node.name]) == 2
