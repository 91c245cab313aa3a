"""What onespec itself spends on a run outside of the jobs' processes, by part, for `run.json`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

from harness.store import Store

Part = Literal["data", "environments", "inputs", "ceilings", "jobs", "report"]
"""`inputs` are weights, batch orders and the reference's side of the proof; `jobs` is from the first job's
start to the last one's end, with what is done between them."""


class Spent:
    """Seconds by part. A part that is entered again, as in a run that is resumed, adds to what it has."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, part: Part) -> Iterator[None]:
        """Count what the block takes."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + perf_counter() - start

    def keep(self, store: Store) -> None:
        """Add to what `run.json` has, and begin anew."""
        kept: dict[str, float] = store.meta().get("spent") or {}
        parts = {**kept, **self.seconds}
        total = {part: kept.get(part, 0.0) + self.seconds.get(part, 0.0) for part in parts}
        store.amend({"spent": total})
        self.seconds = {}
