"""Faults in attention, positions, tables and the order of a Transformer's block."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.spec.layers import Add, Embedding, MultiHeadAttention, Positions
from harness.spec.model import Model
from harness.spec.program import Program
from tests.faults.changes import Change, at, both, every, graph, inputs, left_out, told
from tests.faults.fault import Fault, changed, wrapped
from tests.faults.wraps import Given, Misread, Placed, added, exchanged, layout
from tests.sequence_ground import TIME, WIDTH, tied

HEADS = 2
PER_HEAD = WIDTH // HEADS
LAYERS = ("multi_head_attention1", "multi_head_attention2")
"""Of the program `masked`: of what the first gives the second step is read, of the other the last one."""


def _tensors(*names: str) -> tuple[str, ...]:
    return tuple(f"model/{layer}/{name}" for layer in LAYERS for name in names)


def _scores_times(factor: float) -> Misread:
    """By the queries, in which they are linear."""
    names = _tensors("query_kernel", "query_bias")
    return layout(names, lambda tensor: tensor * factor, lambda tensor: tensor / factor)


def _every_other(heads: int) -> Callable[[np.ndarray], np.ndarray]:
    """The last axis as (width / heads, heads) for (heads, width / heads)."""
    return lambda tensor: tensor.reshape(*tensor.shape[:-1], heads, -1).swapaxes(-1, -2).reshape(tensor.shape)


SPLIT = layout(
    _tensors(*(f"{part}_{kind}" for part in ("query", "key", "value") for kind in ("kernel", "bias"))),
    _every_other(HEADS),
    _every_other(PER_HEAD),
)
"""Every second column is of one head."""

JOINED = layout(
    _tensors("output_kernel"),
    lambda kernel: _every_other(HEADS)(kernel.T).T,
    lambda kernel: _every_other(PER_HEAD)(kernel.T).T,
)
"""What the heads give is joined column by column."""

OTHER_ORDER = exchanged(
    *(
        (f"model/{layer}/key_{kind}", f"model/{layer}/value_{kind}")
        for layer in LAYERS
        for kind in ("kernel", "bias")
    )
)
"""Query, value, key."""


def _second_sees(steps: Callable[[np.ndarray], np.ndarray]) -> tuple[Change, Placed]:
    """The second step sees so many steps, made of the lengths: what any mask leaves it is the first few."""
    change = both(at(LAYERS[0], 0, 1, causal=False), told(LAYERS[0], "reach"))
    return change, Placed(lambda arrays: {"reach": steps(arrays["lengths"])})


def _either() -> tuple[Change, Placed]:
    """Masks or'ed: the second step sees two or what is no padding, the last one what lies before it: all."""
    change, placed = _second_sees(lambda lengths: np.maximum(lengths, 2))
    return both(change, at(LAYERS[1], 0, causal=False, lengths=False)), placed


def _waves(table: np.ndarray) -> tuple[Change, Misread]:
    """A table added that is loaded, in place of the one that is computed."""
    return every(Positions, form="learned"), added(lambda _: {"model/positions1/table": table})


def _concatenated() -> np.ndarray:
    """All sines, then all cosines (tensor2tensor)."""
    waves = Positions("sinusoidal").waves((TIME, WIDTH))
    return np.concatenate([waves[:, ::2], waves[:, 1::2]], axis=1)


def _from_one() -> np.ndarray:
    return Positions("sinusoidal").waves((TIME + 1, WIDTH))[1:]


ROLLED = layout(
    ("model/positions1/table",),
    lambda table: np.roll(table, -1, axis=0),
    lambda table: np.roll(table, 1, axis=0),
)
"""The first step is taken for the second."""


def _untied(model: Model) -> Model:
    return replace(model, nodes=tuple(replace(node, shares=None) for node in model.nodes))


def _copied(tensors: Given) -> Given:
    return {"model/unembedding1/table": tensors["model/embedding1/table"]}


def _norm_last(program: Program) -> Program:
    """The same layers by the same names, the norm behind the sum."""
    return replace(program, models=tied(norm_first=False).models)


FAULTS: dict[str, Fault] = {
    "the causal mask left out": Fault("masked", changed(every(MultiHeadAttention, causal=False))),
    "a step that sees the next one": Fault(
        "masked", changed(*_second_sees(lambda lengths: np.minimum(lengths, 3)))
    ),
    "padding attended to": Fault("masked", changed(at(LAYERS[1], 0, lengths=False))),
    "either mask for both": Fault("masked", changed(*_either())),
    "attention without biases": Fault("masked", changed(every(MultiHeadAttention, bias=False))),
    "scores not divided": Fault("masked", wrapped(_scores_times(math.sqrt(PER_HEAD)))),
    "scores divided by the root of the whole width": Fault(
        "masked", wrapped(_scores_times(math.sqrt(PER_HEAD / WIDTH)))
    ),
    "scores divided by the width of a head": Fault("masked", wrapped(_scores_times(1 / math.sqrt(PER_HEAD)))),
    "heads split and joined column by column": Fault("masked", wrapped(SPLIT, JOINED)),
    "heads joined column by column": Fault("masked", wrapped(JOINED)),
    "keys for values": Fault("masked", wrapped(OTHER_ORDER)),
    "sines and cosines side by side": Fault("masked", changed(*_waves(_concatenated()))),
    "waves one place on": Fault("masked", changed(*_waves(_from_one()))),
    "learned positions left out": Fault("tied", changed(left_out(Positions))),
    "learned positions one place on": Fault("tied", wrapped(ROLLED)),
    "post-norm for pre-norm": Fault("tied", changed(_norm_last)),
    "a residual of what is normalized": Fault(
        "tied", changed(inputs(Add, lambda names: ("layer_norm1", names[1])))
    ),
    "an embedding not scaled": Fault("tied", changed(every(Embedding, scaled=False))),
    "a table of its own for tied ones": Fault("tied", changed(graph(_untied), added(_copied))),
}
