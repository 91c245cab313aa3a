"""Latency: one call at a time with a wait after each, as an interactive user or a service would feel it.

Throughput is another matter (`harness.worker.measure`): there many steps are started before one wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

import numpy as np

from harness.spec.program import Program
from harness.worker.job import Protocol
from harness.worker.protocol import Built, Decoder

MOST_CALLS = 200
"""Beside the first one. Enough for the 99th percentile; each is stored."""


def train_latency(
    built: Built, placed: Any, batches: Iterator[np.ndarray], batch_size: int, protocol: Protocol
) -> dict[str, Any]:
    """Of training steps, each on a batch of its own, of the recipe's size."""

    def step(staged: Any) -> None:
        built.train(staged)
        built.wait()

    staged = (built.stage(placed, batch[np.newaxis]) for batch in batches)
    timed = _timed(built, staged, step, protocol.latency_seconds)
    return {"kind": "train", "batch_size": batch_size, **timed}


def evaluate_latency(
    built: Built, arrays: Mapping[str, np.ndarray], protocol: Protocol
) -> list[dict[str, Any]]:
    """Of the evaluation of one batch, its outputs in NumPy, for each batch size of the protocol.

    Each is a split of its own, of the first examples: a backend makes its graph for a split's one batch size.
    """
    found = []
    for batch in protocol.latency_batches:
        staged = repeat(
            built.stage(built.place(_first(arrays, batch)), np.arange(batch, dtype=np.int32)[np.newaxis])
        )
        timed = _timed(built, staged, built.evaluate, protocol.latency_seconds)
        found.append({"kind": "evaluate", "batch_size": batch, **timed})
    return found


def generate_latency(
    built: Built, program: Program, arrays: Mapping[str, np.ndarray], protocol: Protocol
) -> list[dict[str, Any]]:
    """Of generation with a cache, for each batch size of the protocol: `prefill`, which reads half as many
    `tokens` as the model has steps in one go and chooses the next one, and each `token` after it until the
    steps are used up, again and again; once there are `token` calls enough, `prefill` alone. Nothing of a
    program that generates no tokens.
    """
    if program.generates is None:
        return []
    steps = program.arrays[program.tokens_array()][0]
    prompt = max(steps // 2, 1)
    found = []
    for batch in protocol.latency_batches:
        placed = built.place(_first(arrays, batch))
        decoder = built.decoder(batch)
        built.wait()
        seconds: dict[str, list[float]] = {"prefill": [], "token": []}
        begun = perf_counter()
        while _going_on(seconds["prefill"], begun, protocol.latency_seconds):
            seconds["prefill"].append(_decoded(decoder, partial(decoder.start, placed, prompt)))
            if len(seconds["token"]) <= MOST_CALLS:
                seconds["token"] += [_decoded(decoder, decoder.step) for _ in range(steps - prompt - 1)]
            if len(seconds["prefill"]) == 1:
                begun = perf_counter()
        found += [
            {"kind": kind, "batch_size": batch, "tokens": tokens, **_split(seconds[kind][: MOST_CALLS + 1])}
            for kind, tokens in (("prefill", prompt), ("token", 1))
            if seconds[kind]
        ]
    return found


def _first(arrays: Mapping[str, np.ndarray], batch: int) -> dict[str, np.ndarray]:
    """The first examples, from the start again where there are fewer."""
    return {name: array[np.arange(batch) % len(array)] for name, array in arrays.items()}


def _decoded(decoder: Decoder, call: Callable[[], None]) -> float:
    """The seconds until the token that `call` chooses is there."""
    start = perf_counter()
    call()
    decoder.wait()
    return perf_counter() - start


def _going_on(seconds: list[float], begun: float, limit_seconds: float) -> bool:
    """Whether there are to be more calls than these, the first one among them: one after it at least, and as
    many as begin within the limit, up to MOST_CALLS.
    """
    return len(seconds) < 2 or (len(seconds) <= MOST_CALLS and perf_counter() - begun < limit_seconds)


def _split(seconds: list[float]) -> dict[str, Any]:
    # To the clock's own nanosecond: the digits after it would be half of a record.
    first, *later = (round(each, 9) for each in seconds)
    return {"first_seconds": first, "seconds": later}


def _timed(
    built: Built, staged: Iterator[Any], call: Callable[[Any], Any], limit_seconds: float
) -> dict[str, Any]:
    """`first_seconds` is of the first call, which may compile for this batch size; `seconds` of those after
    it. What is staged is ready before the clock starts.
    """
    seconds: list[float] = []
    begun = perf_counter()
    while _going_on(seconds, begun, limit_seconds):
        batches = next(staged)
        built.wait()
        start = perf_counter()
        call(batches)
        seconds.append(perf_counter() - start)
        if len(seconds) == 1:
            begun = perf_counter()
    return _split(seconds)
