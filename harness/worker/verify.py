"""The proof of one contender: its evidence, in both precisions, against the reference in files.

The folder of a proof holds `batches.npz` (each array, and `order`: the batches' indices), `reference.npz`
(the evidence of the float64 reference) and `tolerances.json`: for each precision, and for `float64 coarse`,
each tensor's tolerance, and under `scale` the size its error is told against.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.spec.program import Program
from harness.spec.proof import PROMPT, Batches, Check, Precision, compare, generated_count, undecided
from harness.worker.job import Job
from harness.worker.protocol import Built, Tensors

PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
"""float32 first: the program that is timed, in a process that has seen nothing else."""


def prove(job: Job, build: Any) -> dict[str, list[dict[str, Any]]]:
    """Each precision's checks, the worst first."""
    folder = Path(job.proof)
    batches = read_batches(folder)
    with np.load(folder / "reference.npz", allow_pickle=False) as archive:
        reference = {name: archive[name] for name in archive.files}
    allowed = json.loads((folder / "tolerances.json").read_text())
    proof: dict[str, list[dict[str, Any]]] = {}
    for precision in PRECISIONS:
        found, coarse = evidence(job, build, batches, precision)
        limits = allowed["float64 coarse" if precision == "float64" and coarse else precision]
        checks = compare(found, reference, allowed["scale"], limits)
        proof[precision] = [_as_data(check) for check in checks]
    return proof


def verdict(proof: Mapping[str, list[dict[str, Any]]]) -> str | None:
    """Why a proof failed: each precision's worst tensor, its error and tolerance, or that float64 decides
    nothing. None if it holds.
    """
    failures = []
    for precision, checks in proof.items():
        reason = undecided({check["tensor"]: check["tolerance"] for check in checks})
        if precision == "float64" and reason is not None:
            failures.append(reason)
        failed = [check for check in checks if check["error"] is None or check["error"] > check["tolerance"]]
        if failed:
            worst = failed[0]
            size = "not a finite number" if worst["error"] is None else f"off by {worst['error']:.2e}"
            failures.append(
                f"{precision}: {worst['tensor']} is {size} (tolerance {worst['tolerance']:.1e}); "
                f"{len(failed)} of {len(checks)} tensors fail"
            )
    return "; ".join(failures) or None


def read_batches(folder: Path) -> Batches:
    """The proof's batches."""
    with np.load(folder / "batches.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "order"}
        return Batches(arrays, archive["order"])


def evidence(job: Job, build: Any, batches: Batches, precision: Precision) -> tuple[Tensors, bool]:
    """A contender's evidence (see `harness.spec.proof`), and whether it takes its numbers coarsely."""
    found: Tensors = {}
    coarse = False
    for part, numbers_are_coarse in parts(job, build, batches, precision):
        found.update(part)
        coarse = numbers_are_coarse
    return found, coarse


def parts(job: Job, build: Any, batches: Batches, precision: Precision) -> Iterator[tuple[Tensors, bool]]:
    """`evidence` bit by bit as it comes about, for who can stop at the first tensor that is wrong: compilers
    take their time.

    As in the reference, evaluation is of the program as it is, training of the one without random layers.
    """
    initial = job.initial()
    program: Program = job.program
    still_program = program.without_randomness()
    whole: Built = build(program, job.setting(precision))
    still: Built = whole if still_program == program else build(still_program, job.setting(precision))
    first = batches.order[:1]
    coarse = whole.coarse_numbers

    whole.load(initial)
    yield _outputs("output", whole, batches, first), coarse
    if program.generates is not None:
        yield _generated(program, whole, batches), coarse
    still.load(initial)
    placed = still.place(batches.arrays)
    for number, update in enumerate(program.updates):
        loss, gradients = still.gradients(still.stage(placed, first), number)
        yield {f"loss/{update.name}": np.asarray(loss)}, coarse
        yield {f"gradient/{name}": gradient for name, gradient in gradients.items()}, coarse
    still.load(initial)
    handle = still.train(still.stage(placed, batches.order))
    still.wait()
    yield {"loss/after steps": np.asarray(still.mean_loss(handle))}, coarse
    trained = still.tensors()
    yield {f"parameter/{name}": tensor for name, tensor in trained.items()}, coarse
    if whole is not still:
        whole.load(trained)
    yield _outputs("output after steps", whole, batches, first), coarse


def _outputs(kind: str, built: Built, batches: Batches, order: np.ndarray) -> Tensors:
    outputs = built.evaluate(built.stage(built.place(batches.arrays), order))
    return {f"{kind}/{name}": output for name, output in outputs.items()}


def _generated(program: Program, built: Built, batches: Batches) -> Tensors:
    """By the decoder and its cache; the reference has none."""
    batch = batches.batch(0)
    decoder = built.decoder(len(batches.order[0]))
    decoder.start(built.place(batch), PROMPT)
    logits = [decoder.logits()]
    for _ in range(generated_count(program) - 1):
        decoder.step()
        logits.append(decoder.logits())
    return {"generated/tokens": decoder.tokens(), "generated/logits": np.stack(logits, 1)}


def _as_data(check: Check) -> dict[str, Any]:
    return {"tensor": check.tensor, "error": check.error, "tolerance": check.tolerance}
