"""The table of latencies: single calls, each waited for."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

from harness.analyse.latency import PERCENTILES
from harness.analyse.run import Run
from harness.report.columns import Cell, Grid
from harness.report.numbers import significant, span, whole

METHOD = (
    "Percentiles are taken in each process, without its first call; the mean of their logarithms over "
    "processes with its 95 % t interval. "
    + " ".join(
        f"The p{rank} is told where each process has at least {calls} calls."
        for rank, calls in PERCENTILES.items()
        if calls > 1
    )
    + " The rate is that of calls as long as the p50, one after the other. Inference counts the way of the "
    "outputs to the host."
)
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
    titles = ("Call", "Batch", "Contender", *(f"p{rank} (ms)" for rank in PERCENTILES), "Rate", "Calls")
    rows = tuple(_row(row) for row in ordered.to_dict("records"))
    return Grid(titles, rows, (1, 3, 4, 5, 6, 7))


def _row(row: dict[Hashable, Any]) -> tuple[Cell, ...]:
    percentiles = []
    for rank in PERCENTILES:
        middle, low, high = (significant(row[f"p{rank}{end}"] * 1000) for end in ("", "_low", "_high"))
        percentiles.append(Cell(middle, span(low, high)))
    tokens = row["tokens"]
    unit = "samples" if math.isnan(row["tokens_per_second"]) else "tokens"
    fewest = f"at least {whole(row['least_calls'])} a process" if row["processes"] > 1 else ""
    return (
        Cell(_CALLS[row["kind"]], "" if math.isnan(tokens) else f"{tokens:.0f} tokens an example"),
        Cell(whole(row["batch_size"])),
        Cell(row["contender"]),
        *percentiles,
        Cell(significant(row[f"{unit}_per_second"]), f"{unit}/s"),
        Cell(whole(row["calls"]), fewest),
    )
