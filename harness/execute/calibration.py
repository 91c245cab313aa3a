"""From what a calibration's pilot cost to how many blocks fit the time."""

from __future__ import annotations

import math

from harness.store import Record, Store


def blocks_within(store: Store, budget_seconds: float, least: int) -> int:
    """As many blocks as the budget leaves time for after the proof, the memory passes and the pilot; `least`
    in any case. It follows from what processes cost, not from what they measured.
    """
    records = store.records()
    spent = _seconds([record for record in records if record["kind"] in ("memory", "pilot", "verify")])
    block = _seconds([record for record in records if record["kind"] == "pilot"])
    return max(least, int((budget_seconds - spent) // block)) if block else least


def _seconds(records: list[Record]) -> float:
    # A record made of a result that an interrupted run left does not know its time.
    return math.fsum(record["wall_seconds"] or 0.0 for record in records)
