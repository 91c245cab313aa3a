"""Which programs `compile` has words for."""

from __future__ import annotations

from harness.spec.model import Input
from harness.spec.program import Call, Program, Term

from .losses import parted


def compiles(program: Program) -> bool:
    """Whether `compile` can say it: one optimizer, a loss for outputs against arrays of the batch, sample
    weights for each of them or for none, and every model that is called is trained (a layer that is not
    trainable would run as in evaluation).
    """
    if len(program.updates) != 1:
        return False
    (update,) = program.updates
    against_arrays = all(
        term.inputs[0] not in program.arrays
        and term.inputs[1:]
        and all(name in program.arrays for name in term.inputs[1:])
        for term in update.terms
    )
    alike = len(set(map(weighted, update.terms))) == 1
    return against_arrays and alike and {call.model for call in update.calls} <= set(update.moves)


def weighted(term: Term) -> bool:
    """Whether a term has weights beside its targets."""
    return parted(term.loss, [*term.inputs[1:]])[1] is not None


def read(program: Program, *calls: Call) -> dict[str, Input]:
    """The arrays of the batch that these calls read, by name."""
    return {
        name: given
        for call in calls
        for name, given in zip(call.inputs, program.models[call.model].inputs.values(), strict=True)
        if name in program.arrays
    }


def used(program: Program) -> list[str]:
    """The arrays of the batch that the updates take, as a model's input or in a loss."""
    named: set[str] = set()
    for update in program.updates:
        named.update(*(call.inputs for call in update.calls), *(term.inputs for term in update.terms))
    return [name for name in program.arrays if name in named]
