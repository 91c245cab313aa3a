"""The table of latencies: single calls, each waited for."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

from harness.analyse.latency import PERCENTILES
from harness.analyse.run import Run
from harness.report.columns import Cell, Grid
from harness.report.numbers import significant, span, whole

_CALLS = {
    "train": "training step",
    "evaluate": "inference",
    "prefill": "generation, prompt",
    "token": "generation, next token",
}


def latency(run: Run, workload: str) -> Grid | None:
    """Percentiles by call, batch size and contender, in ms; None where no call was timed by itself."""
    mine = run.latencies[run.latencies["workload"] == workload]
    if mine.empty:
        return None
    order = mine.assign(call=mine["kind"].map(list(_CALLS).index))
    ordered = order.sort_values(["call", "batch_size", "p50"])
    titles = ("Call", "Batch", "Contender", *(f"p{rank} (ms)" for rank in PERCENTILES), "Calls")
    rows = tuple(_row(row) for row in ordered.to_dict("records"))
    return Grid(titles, rows, (1, 3, 4, 5, 6))


def _row(row: dict[Hashable, Any]) -> tuple[Cell, ...]:
    percentiles = []
    for rank in PERCENTILES:
        middle, low, high = (significant(row[f"p{rank}{end}"] * 1000) for end in ("", "_low", "_high"))
        percentiles.append(Cell(middle, span(low, high)))
    tokens = row["tokens"]
    return (
        Cell(_CALLS[row["kind"]], "" if math.isnan(tokens) else f"{tokens:.0f} tokens an example"),
        Cell(whole(row["batch_size"])),
        Cell(row["contender"]),
        *percentiles,
        Cell(whole(row["calls"])),
    )
