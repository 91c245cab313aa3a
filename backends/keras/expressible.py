"""Which programs `compile` and `fit` can express, and the arrays that their model reads."""

from __future__ import annotations

import keras

from harness.spec.model import Input
from harness.spec.program import Call, Program, Update
from harness.worker.protocol import Unsupported


def only_update(program: Program) -> Update:
    """The program's update. Unsupported where `compile` has no words for it."""
    if len(program.updates) != 1:
        raise _unsupported(f"one loss and one optimizer; this program has {len(program.updates)} updates")
    (update,) = program.updates
    for term in update.terms:
        if len(term.inputs) != 2 or term.inputs[0] in program.arrays or term.inputs[1] not in program.arrays:
            raise _unsupported(f"losses of an output and an array of the batch, not of {list(term.inputs)}")
    kept = sorted({call.model for call in update.calls} - set(update.moves))
    if kept:
        raise _unsupported(
            f"models that are trained whole; this program calls {kept} in training and does not move it, "
            "and a layer that is not trained runs as in evaluation"
        )
    return update


def inputs_of(program: Program) -> dict[str, Input]:
    """The arrays that the model reads, by name. Unsupported where evaluation reads others than training."""
    read = [_read(program, calls) for calls in (program.updates[0].calls, program.predict)]
    if read[0].keys() != read[1].keys():
        raise _unsupported(f"one set of inputs; training reads {list(read[0])}, evaluation {list(read[1])}")
    return read[0]


def _read(program: Program, calls: tuple[Call, ...]) -> dict[str, Input]:
    return {
        name: given
        for call in calls
        for name, given in zip(call.inputs, program.models[call.model].inputs.values(), strict=True)
        if name in program.arrays
    }


def _unsupported(what: str) -> Unsupported:
    return Unsupported(f"keras {keras.__version__}: Model.compile takes {what}")
