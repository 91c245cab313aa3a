"""Disturbances of known size, planted in a job so that `onespec calibrate` can see what is measured of them.

No clock knows of them: they stand where a slower or a larger framework would.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any, cast

import numpy as np

from harness.worker.job import Planted
from harness.worker.protocol import Built


def slowed(built: Built, planted: Planted | None) -> Built:
    """The program, each of whose training calls takes longer by a share of its own time."""
    if planted is None or not planted.slowdown:
        return built
    return cast(Built, _Slowed(built, planted.slowdown))


def loaded(planted: Planted | None) -> np.ndarray:
    """Memory that is held, every page of it, as long as what this gives is kept."""
    return np.ones(planted.memory_bytes if planted else 0, np.uint8)


class _Slowed:
    def __init__(self, built: Built, share: float) -> None:
        self._built = built
        self._share = share

    def __getattr__(self, name: str) -> Any:
        return getattr(self._built, name)

    def train(self, staged: Any) -> Any:
        start = perf_counter()
        handle = self._built.train(staged)
        self._built.wait()
        now = perf_counter()
        # Not asleep: a sleep ends late by some 0.1 ms, and lets the core's clock fall.
        until = now + self._share * (now - start)
        while perf_counter() < until:
            pass
        return handle
