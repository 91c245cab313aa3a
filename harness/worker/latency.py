"""Latency: one call at a time with a wait after each, as an interactive user or a service would feel it.

Throughput is another matter (`harness.worker.measure`): there many steps are started before one wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from time import perf_counter
from typing import Any

import numpy as np

from harness.worker.job import Protocol
from harness.worker.protocol import Built

MOST_CALLS = 200
"""Enough for the 99th percentile; each is stored."""


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
        examples = {name: array[np.arange(batch) % len(array)] for name, array in arrays.items()}
        staged = repeat(built.stage(built.place(examples), np.arange(batch, dtype=np.int32)[np.newaxis]))
        timed = _timed(built, staged, built.evaluate, protocol.latency_seconds)
        found.append({"kind": "evaluate", "batch_size": batch, **timed})
    return found


def _timed(
    built: Built, staged: Iterator[Any], call: Callable[[Any], Any], limit_seconds: float
) -> dict[str, Any]:
    """`first_seconds` is of the first call, which may compile for this batch size; `seconds` of those after
    it, one at least, as many as begin within the limit. What is staged is ready before the clock starts.
    """
    seconds: list[float] = []
    begun = perf_counter()
    while len(seconds) < 2 or (len(seconds) <= MOST_CALLS and perf_counter() - begun < limit_seconds):
        batches = next(staged)
        built.wait()
        start = perf_counter()
        call(batches)
        # To the clock's own nanosecond: the digits after it would be half of a record.
        seconds.append(round(perf_counter() - start, 9))
        if len(seconds) == 1:
            begun = perf_counter()
    return {"first_seconds": seconds[0], "seconds": seconds[1:]}
