"""Generating tokens one by one: what of a model is computed once, and what anew for each token.

A model of sequences that looks back only (causal attention, recurrent layers that read forwards) gives the
logits of the next token from those before it. To choose a token it need not read them all again: a recurrent
layer goes on from its states, attention keeps its keys and values, and what depends on other inputs alone (an
encoder's output) is computed once. That is a cache; without one the whole model runs anew for each token.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.spec.codec import SpecError, name_of
from harness.spec.layers import (
    Add,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    Positions,
    Softmax,
    Unembedding,
)
from harness.spec.layers.activation import Activation
from harness.spec.layers.recurrent import Recurrent
from harness.spec.model import Model, Node

STEPWISE = (Activation, Add, Concatenate, Dense, Dropout, Embedding, LayerNorm, Softmax, Unembedding)
"""Layers that treat each step of a sequence alone: they have nothing to keep."""


@dataclass(frozen=True)
class Generation:
    """Tokens that a program can generate: those of the model's input `tokens`, (time,), each chosen by the
    largest logit that the model's first output, (time, number of tokens), has at the step before it.
    """

    model: str
    tokens: str


@dataclass(frozen=True)
class Stepping:
    """A model's nodes in their order: `once` does not depend on the generated tokens, `each` does."""

    once: tuple[Node, ...]
    each: tuple[Node, ...]


def stepping(model: Model, tokens: str) -> Stepping:
    """How `model` generates its input `tokens`. Raises SpecError, with the reason, where it cannot."""
    if tokens not in model.inputs or model.inputs[tokens].dtype != "int":
        raise SpecError(f"{tokens!r} is no input of tokens; the model has {sorted(model.inputs)}")
    shapes = model.shapes()
    if len(shapes[tokens]) != 1:
        raise SpecError(f"tokens are a sequence (time,), {tokens!r} is {shapes[tokens]}")
    growing = {tokens}
    once, each = [], []
    for node in model.nodes:
        if growing.isdisjoint(node.inputs):
            once.append(node)
            continue
        reason = _reason(node.layer, [name in growing for name in node.inputs])
        if reason is not None:
            raise SpecError(f"{node.name} ({name_of(node.layer)}) {reason}")
        growing.update(node.outputs())
        each.append(node)
    output = model.outputs[0]
    if output not in growing or len(shapes[output]) != 2:
        raise SpecError(f"the output {output!r} has no logits (time, tokens) that follow from {tokens!r}")
    return Stepping(tuple(once), tuple(each))


def _reason(layer: Layer, growing: list[bool]) -> str | None:
    """Why a layer cannot be computed step by step, given which of its inputs grow; None if it can."""
    if isinstance(layer, Positions) or (isinstance(layer, STEPWISE) and all(growing)):
        return None
    if isinstance(layer, Recurrent):
        if layer.bidirectional:
            return "reads from both ends"
        if layer.lengths:
            return "skips padding: tokens that are generated have none"
        return None if growing == [True] + [False] * (len(growing) - 1) else "begins with a state that grows"
    if isinstance(layer, MultiHeadAttention):
        if layer.memory:
            return "attends to a memory that grows" if any(growing[1:]) else None
        if not layer.causal:
            return "attends to tokens that are not there yet"
        return "skips padding: tokens that are generated have none" if layer.lengths else None
    return "is not computed step by step"
