"""The proof: what is compared with the reference, how the error is measured, and where tolerances come from.

Evidence is a set of named tensors that a program gives on the proof's batches:

    output/<name>                 an evaluation at the initial weights
    loss/<update>                 the training loss of the first batch
    gradient/<tensor>             its gradient
    loss/after steps              the mean loss of STEPS optimizer steps
    parameter/<tensor>            every parameter and state after them; its error is told as a share of the
                                  distance that the tensor moved
    output after steps/<name>     an evaluation after them
    generated/tokens              of a program that generates: PROMPT tokens of the first batch, and as many
                                  after them as the model has steps for, at the initial weights
    generated/logits              what each was chosen by

The error of a tensor is the root mean square of the difference over that of the reference.

Tolerances follow from rounding. The reference itself is run several times at the precision in question with
every weight, every input and, anew in each step, every number of the spec (rates, momenta, epsilons) moved by
at most one unit in its last place. The largest error that this brings, but at least that of the median tensor
of the same kind and a unit in the last place of the largest one, is what the computation loses by itself. And
MULTIPLE times that is allowed, but never less than FLOOR (COARSE_FLOOR where a backend's kernels hold their
constants as float32). The median is there because a tensor of few elements may come off well by luck:
repeated values are rounded the same way in every run. The largest is there because what is zero in the
reference, to the last digit, may be the difference of large numbers in a framework.

In float32 the reference is also run with all that moved by MULTIPLE units at once, which is allowed as it is:
where a number lies so near the kink of a ReLU, or so near to another in a maximum, that rounding decides, it
falls on the other side in some of these runs too, and what that brings is no multiple of a small error.

A tolerance above 1 says that this precision cannot decide the tensor: its gradient is zero but for
rounding, as of a bias before batch normalization.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.spec import codec
from harness.spec.program import Program
from harness.spec.reference import Reference, Tensors

Precision = Literal["float64", "float32"]

Disturbance = Callable[[Program], Program]

STEPS = 10
"""Optimizer steps in a proof."""
PROMPT = 2
"""Tokens that a proof's generation begins with."""
MULTIPLE: dict[Precision, float] = {"float64": 100.0, "float32": 8.0}
"""Allowed error over what the same computation loses by itself. float64 has digits to spare for what
frameworks compute otherwise than NumPy, such as a variance in one pass: a convention stands far above.
"""
RUNS: dict[Precision, tuple[float, ...]] = {
    "float64": (1.0,) * 6,
    "float32": (*(1.0,) * 6, *(MULTIPLE["float32"],) * 3),
}
"""Runs of the reference from which the loss by rounding is taken: by how many units numbers are moved."""
FLOOR: dict[Precision, float] = {"float64": 1e-10, "float32": 8 * 2.0**-23}
"""The least tolerance: "near 1e-10" in float64; a few units in the last place in float32."""
COARSE_FLOOR = 2.0**-23
"""The least tolerance in float64 where kernels hold their numbers, their own constants too, as float32."""
COARSE_RUNS = 3
"""Runs of the reference from which is taken what becomes of those constants."""
DECISIVE = 1e-2
"""The largest median tolerance of the parameters after the steps at which float64 still decides them."""
NEGLIGIBLE = 1e-6
"""A tensor smaller than this share of the largest one of its kind is measured against that share instead: a
gradient that is zero but for rounding has no relative error."""


@dataclass(frozen=True)
class Check:
    """One tensor of the evidence held against the reference. An `error` of None was not a finite number."""

    tensor: str
    error: float | None
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error is not None and self.error <= self.tolerance


@dataclass(frozen=True)
class Batches:
    """The proof's batches: `first` for forward pass and gradient, `steps` for the optimizer steps."""

    arrays: Mapping[str, np.ndarray]
    order: np.ndarray
    """Indices into the arrays: int32 (STEPS, batch)."""

    def batch(self, step: int) -> Tensors:
        """The arrays of one batch."""
        return {name: np.asarray(array[self.order[step]]) for name, array in self.arrays.items()}


def reference_evidence(
    program: Program,
    initial: Mapping[str, np.ndarray],
    batches: Batches,
    dtype: Any = np.float64,
    disturb: Disturbance = lambda program: program,
    expected: np.ndarray | None = None,
) -> Tensors:
    """The evidence that the reference gives at a precision. Evaluation is of `program` as it is; training is
    of the program without its random layers, as for every contender. Tokens that are `expected` to be
    generated save time.
    """
    first = batches.batch(0)
    evidence: Tensors = {}
    for name, output in Reference(program, initial, dtype, disturb=disturb).predict(first).items():
        evidence[f"output/{name}"] = output
    still = Reference(program.without_randomness(), initial, dtype, disturb=disturb)
    for update in still.program.updates:
        loss, found, _ = still.loss_and_gradients(update, first)
        evidence[f"loss/{update.name}"] = np.asarray(loss)
        evidence.update((f"gradient/{name}", gradient) for name, gradient in found.items())
    losses = still.train(batches.batch(step) for step in range(len(batches.order)))
    evidence["loss/after steps"] = np.asarray(np.mean(losses))
    evidence.update((f"parameter/{name}", tensor) for name, tensor in still.tensors.items())
    after = Reference(program, still.tensors, dtype, disturb=disturb).predict(first)
    evidence.update((f"output after steps/{name}", output) for name, output in after.items())
    if program.generates is not None:
        tokens, logits = Reference(program, initial, dtype, disturb=disturb).generate(
            first, PROMPT, generated_count(program), expected
        )
        evidence |= {"generated/tokens": tokens, "generated/logits": logits}
    return {name: np.asarray(tensor, np.float64) for name, tensor in evidence.items()}


def generated_count(program: Program) -> int:
    """How many tokens a proof generates."""
    return program.arrays[program.tokens_array()][0] - PROMPT


def scales(evidence: Tensors, initial: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The size against which each tensor's error is told (see the module's docstring and NEGLIGIBLE)."""
    sizes = {name: _rms(_moved(name, tensor, initial)) for name, tensor in evidence.items()}
    largest = _by_kind(sizes, np.max)
    return {name: max(size, NEGLIGIBLE * largest[_kind(name)]) or 1.0 for name, size in sizes.items()}


def errors(evidence: Tensors, reference: Tensors, scale: Mapping[str, float]) -> dict[str, float]:
    """The error of each tensor of the reference; infinite where the evidence lacks it, has another shape or a
    number that is not finite.
    """
    found = {}
    for name, wanted in reference.items():
        given = evidence.get(name)
        if given is None or given.shape != wanted.shape or not np.all(np.isfinite(given)):
            found[name] = math.inf
        else:
            found[name] = _rms(given.astype(np.float64) - wanted) / scale[name]
    return found


def tolerances(
    program: Program,
    initial: Mapping[str, np.ndarray],
    batches: Batches,
    reference: Tensors,
    precision: Precision,
    *,
    coarse_numbers: bool = False,
) -> dict[str, float]:
    """The tolerance of each tensor at a precision, from what the reference loses by itself.

    With `coarse_numbers` each run has the numbers of the spec moved once, by a unit of float32, whatever the
    precision: for a framework whose kernels take them so. Such kernels hold constants of their own (that of
    GELU, for one) as float32 too, which later steps may magnify; so what the reference makes of weights and
    inputs that are moved by a unit of float32 is allowed as well, as it is.
    """
    random = np.random.Generator(np.random.PCG64(20))
    scale = scales(reference, initial)
    tokens = reference.get("generated/tokens")
    worst = dict.fromkeys(reference, 0.0)

    for units in RUNS[precision]:

        def disturb(exact: Program, units: float = units) -> Program:
            return _shake_numbers(exact, precision, units, random)

        shaken = Batches(_shake(batches.arrays, precision, units, random), batches.order)
        theirs = _shake_numbers(program, "float32", units, random) if coarse_numbers else program
        moved = _shake(initial, precision, units, random)
        evidence = reference_evidence(theirs, moved, shaken, precision, disturb, tokens)
        for name, error in errors(evidence, reference, scale).items():
            worst[name] = max(worst[name], error / units)
    inside = dict.fromkeys(reference, 0.0)
    for _ in range(COARSE_RUNS if coarse_numbers else 0):
        shaken = Batches(_shake(batches.arrays, "float32", 1.0, random), batches.order)
        moved = _shake(initial, "float32", 1.0, random)
        evidence = reference_evidence(program, moved, shaken, precision, expected=tokens)
        for name, error in errors(evidence, reference, scale).items():
            inside[name] = max(inside[name], error)
    floor = max(FLOOR[precision], COARSE_FLOOR if coarse_numbers else 0.0)
    unit = float(np.finfo(precision).eps)
    usual, largest = _by_kind(worst, np.median), _by_kind(scale, np.max)
    return {
        name: max(
            floor,
            inside[name],
            MULTIPLE[precision] * max(error, usual[_kind(name)], unit * largest[_kind(name)] / scale[name]),
        )
        for name, error in worst.items()
    }


def _kind(name: str) -> str:
    """`gradient/model/dense1/bias` is a gradient."""
    return name.split("/")[0]


def _by_kind(found: Mapping[str, float], of: Callable[[list[float]], Any]) -> dict[str, float]:
    """The median, or the like, of each kind of tensor."""
    kinds: dict[str, list[float]] = {}
    for name, value in found.items():
        kinds.setdefault(_kind(name), []).append(value)
    return {kind: float(of(values)) for kind, values in kinds.items()}


def compare(
    evidence: Tensors, reference: Tensors, scale: Mapping[str, float], allowed: Mapping[str, float]
) -> list[Check]:
    """Every tensor of the reference with its error and tolerance, the worst (error over tolerance) first."""
    found = errors(evidence, reference, scale)
    checks = [
        Check(name, error if math.isfinite(error) else None, allowed[name]) for name, error in found.items()
    ]
    return sorted(
        checks, key=lambda check: -math.inf if check.error is None else -check.error / check.tolerance
    )


def undecided(allowed: Mapping[str, float]) -> str | None:
    """Why the float64 tolerances `allowed` decide nothing about the steps; None where they do.

    A training that multiplies rounding at each step (too large a rate for so small a batch) may end anywhere:
    whatever a framework computes would pass.
    """
    moved = [tolerance for name, tolerance in allowed.items() if _kind(name) == "parameter"]
    median = float(np.median(moved)) if moved else 0.0
    if median <= DECISIVE:
        return None
    return (
        "float64 cannot decide the steps: rounding alone moves the parameters so far that the median "
        f"tolerance is {median:.1g}. Take a smaller learning rate or a larger proof_batch"
    )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _moved(name: str, tensor: np.ndarray, initial: Mapping[str, np.ndarray]) -> np.ndarray:
    kind, _, rest = name.partition("/")
    return tensor - initial[rest] if kind == "parameter" else tensor


def _shake(
    tensors: Mapping[str, np.ndarray], precision: Precision, units: float, random: np.random.Generator
) -> dict[str, np.ndarray]:
    unit = units * float(np.finfo(precision).eps)
    return {
        name: value.astype(np.float64) * (1 + unit * random.uniform(-1, 1, value.shape))
        if value.dtype.kind == "f"
        else value
        for name, value in tensors.items()
    }


def _shake_numbers(
    program: Program, precision: Precision, units: float, random: np.random.Generator
) -> Program:
    unit = units * float(np.finfo(precision).eps)

    def shake(data: Any) -> Any:
        if isinstance(data, float):
            return data * (1 + unit * random.uniform(-1, 1))
        if isinstance(data, Mapping):
            return {key: shake(item) for key, item in data.items()}
        if isinstance(data, Sequence) and not isinstance(data, str):
            return [shake(item) for item in data]
        return data

    return codec.decode(Program, shake(codec.encode(program)))
