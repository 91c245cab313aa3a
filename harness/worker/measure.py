"""The clocks: how one contender is measured in one process. The same code for every framework.

Data are on the device and batches are staged before a clock starts. A block of steps is started, waited for
once at its end, and its time stored as it is; nothing is averaged here.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from harness.spec import metrics
from harness.spec.program import Program
from harness.spec.reference import Batch
from harness.spec.tape import Array
from harness.worker import energy
from harness.worker.generate import generate
from harness.worker.job import Job
from harness.worker.latency import evaluate_latency, generate_latency, train_latency
from harness.worker.memory import memory_bytes
from harness.worker.planted import slowed
from harness.worker.protocol import Built, Tensors
from harness.worker.settings import settle
from harness.worker.turns import own
from harness.worker.usage import Usage

EVALUATION_BATCH = 256
"""Examples in a batch of an evaluation, or all of them where there are fewer."""


class Diverged(Exception):
    """Training left the finite numbers."""


def measure(job: Job, build: Any) -> dict[str, Any]:
    """Build, first step, steady steps, evaluation and, where asked for, training by the recipe."""
    start = perf_counter()
    built = slowed(build(job.program, job.setting()), job.planted)
    built.load(job.initial())
    train = built.place(_read(job, "train"))
    built.wait()
    build_seconds = perf_counter() - start

    batches = _endless(job.epochs())
    first_step_seconds = _block(built, train, batches, 1)
    settle(job.protocol)
    train_blocks, steady, used = _steady_blocks(job, built, train, batches)
    test = Evaluation(job, built, "test")
    evaluate_passes = _evaluate_passes(job, test)
    latency = [
        train_latency(built, train, batches, job.batch_size, job.protocol),
        *evaluate_latency(built, _read(job, "test"), job.protocol),
        *generate_latency(built, job.program, _read(job, "test"), job.protocol),
    ]
    return {
        "build_seconds": build_seconds,
        "first_step_seconds": first_step_seconds,
        "batch_size": job.batch_size,
        "train_blocks": train_blocks,
        "steady": steady,
        "energy": used,
        "evaluate_passes": evaluate_passes,
        "latency": latency,
        "learning": learn(job, built, train, test) if job.protocol.learn else None,
        "device_peak_bytes": built.device_peak_bytes(),
    }


def exercise(job: Job, build: Any, steps: int) -> dict[str, int | None]:
    """The memory pass: build, the first of `steps` training steps, the others, and one evaluation.

    Resident memory after each phase; at rest is after the steps, when garbage was collected.
    """
    found: dict[str, int | None] = {}
    built: Built = build(job.program, job.setting())
    built.load(job.initial())
    train = built.place(_read(job, "train"))
    built.wait()
    found["build_bytes"] = memory_bytes("resident")
    batches = _endless(job.epochs())
    _block(built, train, batches, 1)
    found["first_step_bytes"] = memory_bytes("resident")
    _block(built, train, batches, steps - 1)
    gc.collect()
    found["rest_bytes"] = memory_bytes("resident")
    Evaluation(job, built, "test").outputs()
    found["peak_bytes"] = memory_bytes("peak")
    found["device_peak_bytes"] = built.device_peak_bytes()
    return found


def _read(job: Job, split: str) -> dict[str, np.ndarray]:
    """A split's arrays that the program reads; what only metrics need stays on the host."""
    arrays = job.arrays(split)
    return {name: arrays[name] for name in job.program.arrays}


def _endless(epochs: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of indices, epoch after epoch, from the first again after the last."""
    while True:
        for epoch in epochs:
            yield from epoch


def _block(built: Built, placed: Any, batches: Iterator[np.ndarray], steps: int) -> float:
    return _run(built, built.stage(placed, _next(batches, steps)))


def _next(batches: Iterator[np.ndarray], steps: int) -> np.ndarray:
    return np.stack([next(batches) for _ in range(steps)])


def _run(built: Built, staged: Any) -> float:
    """The seconds of the steps that are staged."""
    built.wait()
    start = perf_counter()
    built.train(staged)
    built.wait()
    return perf_counter() - start


def _steady_blocks(
    job: Job, built: Built, placed: Any, batches: Iterator[np.ndarray]
) -> tuple[list[dict[str, Any]], dict[str, float], dict[str, Any]]:
    """Warm-up blocks that at most double until one is long enough, then the timed ones. All are stored.

    Beside them is what was used from the first timed block to the last: by this process (`Usage.since`), and
    of energy by the machine (`energy.between`).
    How many steps are enough is told by the fastest block so far: a disturbance must not make blocks short.
    A block that is an epoch or longer has the batches of the one before it, which are staged once.
    """
    protocol = job.protocol
    blocks: list[dict[str, Any]] = []
    steps, enough, spent = 1, 2, 0.0
    fastest_step_seconds = float("inf")
    while spent < protocol.warmup_seconds or steps < enough:
        seconds = _block(built, placed, batches, steps)
        blocks.append({"steps": steps, "seconds": seconds, "warmup": True})
        spent += seconds
        fastest_step_seconds = min(fastest_step_seconds, seconds / steps)
        enough = max(1, round(protocol.block_seconds / fastest_step_seconds))
        steps = min(2 * steps, enough)
    turns = own()
    # The machine's meters would count the other process's turns as well.
    metered = turns.alone
    meters = energy.read(job.device) if metered else {}
    before = Usage.now()
    turns.next()
    whole_epochs = steps >= len(job.epochs()[0])
    for number in range(protocol.train_blocks):
        if number == 0 or not whole_epochs:
            staged = built.stage(placed, _next(batches, steps))
        blocks.append({"steps": steps, "seconds": _run(built, staged), "warmup": False})
        turns.next()
    steady = before.since()
    reason = energy.lacking(job.device) if metered else "another process took turns with this one"
    used = energy.between(meters, energy.read(job.device), reason)
    return blocks, steady, used


class Evaluation:
    """A split staged for evaluation. The last batch is filled up with the first example, whose surplus
    outputs are dropped.
    """

    def __init__(self, job: Job, built: Built, split: str) -> None:
        self.job = job
        self.built = built
        self.arrays = job.arrays(split)
        self.examples = len(next(iter(self.arrays.values())))
        batch = min(EVALUATION_BATCH, self.examples)
        order = np.zeros((-(-self.examples // batch), batch), np.int32)
        order.reshape(-1)[: self.examples] = np.arange(self.examples)
        self.staged = built.stage(built.place(_read(job, split)), order)

    def outputs(self) -> Tensors:
        """The program's outputs for the split in its order, each (examples, *shape)."""
        found = self.built.evaluate(self.staged)
        return {name: found[name][: self.examples] for name in self.job.program.outputs}

    def timed(self) -> tuple[Tensors, float]:
        """The outputs, and the seconds until they were in NumPy."""
        start = perf_counter()
        outputs = self.outputs()
        return outputs, perf_counter() - start

    def scores(self, outputs: Tensors) -> dict[str, float]:
        """Of the split's outputs: the loss (every update's terms, in float64) and each metric in NumPy."""
        if not all(np.all(np.isfinite(output)) for output in outputs.values()):
            raise Diverged("the outputs are not finite numbers")
        scores = metrics.compute(self.job.metrics, outputs, self.arrays)
        loss = evaluation_loss(self.job.program, outputs, self.arrays)
        return scores if loss is None else {"loss": loss, **scores}


def evaluation_loss(program: Program, outputs: Tensors, arrays: Batch) -> float | None:
    """The loss terms that evaluated outputs and the split's arrays suffice for; None if there are none."""
    values = {
        name: Array(np.asarray(value, np.float64) if value.dtype.kind == "f" else np.asarray(value))
        for name, value in {**arrays, **outputs}.items()
    }
    terms = [
        float(term.loss.apply(*[values[name] for name in term.inputs]).value) * term.weight
        for update in program.updates
        for term in update.terms
        if all(name in values for name in term.inputs)
    ]
    return sum(terms) if terms else None


def _evaluate_passes(job: Job, evaluation: Evaluation) -> list[dict[str, Any]]:
    passes = []
    for number in range(job.protocol.evaluate_passes + 1):
        _, seconds = evaluation.timed()
        passes.append({"samples": evaluation.examples, "seconds": seconds, "warmup": number == 0})
    return passes


def learn(job: Job, built: Built, train: Any, test: Evaluation) -> dict[str, Any]:
    """Train by the recipe from the initial weights: the curve, the validation after each epoch, the test at
    the end, of which the job says what is left behind. `seconds` is the time spent in training alone, that of
    a validation up to there; `evaluation_seconds` that of the evaluations.

    Raises Diverged at the first loss that is not finite.
    """
    built.load(job.initial())
    validation = Evaluation(job, built, "validation") if "validation" in job.data else None
    curve: list[dict[str, Any]] = []
    validations: list[dict[str, Any]] = []
    step, seconds, evaluation_seconds = 0, 0.0, 0.0
    for epoch, order in enumerate(job.epochs(), 1):
        for batches in np.array_split(order, min(job.protocol.curve_points, len(order))):
            staged = built.stage(train, batches)
            start = perf_counter()
            handle = built.train(staged)
            built.wait()
            seconds += perf_counter() - start
            step += len(batches)
            loss = built.mean_loss(handle)
            if not np.isfinite(loss):
                raise Diverged(f"the training loss is {loss} by step {step} of epoch {epoch}")
            curve.append({"step": step, "loss": loss})
        if validation is not None:
            outputs, lasted = validation.timed()
            evaluation_seconds += lasted
            scores = validation.scores(outputs)
            validations.append({"epoch": epoch, "step": step, "seconds": seconds, **scores})
    outputs, lasted = test.timed()
    scores = test.scores(outputs)
    if job.outputs is not None:
        left = {name: outputs[name] for name in (job.program.outputs if job.left is None else job.left)}
        if job.generate is not None:
            left["generated"] = generate(built, job.program, test.arrays, job.generate)
        with Path(job.outputs).open("wb") as file:
            # Before NumPy 2.1 `allow_pickle` would be one more array.
            np.savez(file, **left)  # type: ignore[arg-type]
    return {
        "train": curve,
        "validation": validations,
        "test": scores,
        "seconds": seconds,
        "evaluation_seconds": evaluation_seconds + lasted,
    }
