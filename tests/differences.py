"""What tests of the spec language share: gradients held to central differences, words for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.spec import codec
from harness.spec.program import Program, Update
from harness.spec.reference import Batch, Reference
from harness.spec.tape import Array, gradients, total

Values = npt.NDArray[Any]

STEP = 1e-6
AGREEMENT = 1e-7
"""Central differences with STEP in float64 err by some 1e-9 of the function's size."""


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def agree(slope: float, expected: float, size: float) -> None:
    """A slope by central differences is the one that a gradient promises."""
    assert abs(slope - expected) <= AGREEMENT * max(size, 1.0), f"{expected} promised, {slope} found"


def check_gradients(
    function: Callable[..., Array], *values: Values, directions: int = 3, seed: int = 0
) -> None:
    """The tape's gradient of `function` by each of its arguments is the one of central differences.

    A random weighting of the outputs makes the function a scalar; each argument is moved along random
    directions.
    """
    random = generator(seed)
    weights = random.normal(size=function(*map(Array, values)).shape)

    def scalar(*arguments: Array) -> Array:
        return total(function(*arguments) * Array(weights))

    arrays = [Array(value) for value in values]
    found = gradients(scalar(*arrays), arrays)
    for place, gradient in enumerate(found):
        assert gradient.shape == values[place].shape
        for _ in range(directions):
            direction = random.normal(size=values[place].shape)

            def at(step: float, place: int = place, direction: Values = direction) -> float:
                moved = list(values)
                moved[place] = values[place] + step * direction
                return float(scalar(*map(Array, moved)).value)

            slope = (at(STEP) - at(-STEP)) / (2 * STEP)
            agree(slope, float(np.sum(gradient * direction)), abs(at(0.0)) + float(np.abs(gradient).sum()))


def check_update(
    program: Program,
    update: Update,
    tensors: Mapping[str, Values],
    batch: Batch,
    directions: int = 2,
    seed: int = 0,
) -> None:
    """The reference's gradient by each tensor that an update moves is the one of central differences."""
    random = generator(seed)
    loss, found, _ = Reference(program, tensors).loss_and_gradients(update, batch)
    assert set(found) == set(program.moved(update))
    for name, gradient in found.items():
        for _ in range(directions):
            direction = random.normal(size=gradient.shape)

            def at(step: float, name: str = name, direction: Values = direction) -> float:
                moved = {**tensors, name: tensors[name] + step * direction}
                return Reference(program, moved).loss(update, batch)

            slope = (at(STEP) - at(-STEP)) / (2 * STEP)
            agree(slope, float(np.sum(gradient * direction)), abs(loss) + float(np.abs(gradient).sum()))


def anywhere(tensors: Mapping[str, Values], seed: int = 0) -> dict[str, Values]:
    """The tensors moved away from where biases are zero and scales one, variances kept positive."""
    random = generator(seed)
    return {
        name: value
        + random.uniform(0.05, 0.3, value.shape)
        * (1 if name.endswith("variance") else random.choice([-1, 1]))
        for name, value in tensors.items()
    }


@contextmanager
def words(**added: type) -> Iterator[None]:
    """The language with these members, each in its family under its name, while the context lasts."""
    before = {base: dict(names) for base, names in codec._FAMILIES.items()}
    try:
        for name, cls in added.items():
            codec.member(name)(cls)
        yield
    finally:
        for base, names in before.items():
            codec._FAMILIES[base].clear()
            codec._FAMILIES[base].update(names)
