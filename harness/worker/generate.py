"""Tokens that a trained program generates for a split, by the backend's decoder: never timed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.spec.program import Program
from harness.worker.job import Generating
from harness.worker.protocol import Built

MOST_AT_ONCE = 128
"""Examples in a batch, or all of them where there are fewer."""


def generate(
    built: Built, program: Program, arrays: Mapping[str, np.ndarray], wanted: Generating
) -> np.ndarray:
    """The tokens chosen after the prompt for the first `wanted.examples` of a split: int32 (examples, count).

    `arrays` are those of the split that the program reads. The last batch is filled up with the first
    example, whose surplus tokens are dropped.
    """
    examples = min(wanted.examples, len(next(iter(arrays.values()))))
    batch = min(MOST_AT_ONCE, examples)
    chosen = np.zeros(-(-examples // batch) * batch, np.int64)
    chosen[:examples] = np.arange(examples)
    decoder = built.decoder(batch)
    parts = []
    for rows in chosen.reshape(-1, batch):
        placed = built.place({name: np.asarray(arrays[name][rows]) for name in program.arrays})
        decoder.start(placed, wanted.prompt)
        for _ in range(wanted.count - 1):
            decoder.step()
        parts.append(decoder.tokens())
    found: np.ndarray = np.concatenate(parts)[:examples].astype(np.int32)
    return found
