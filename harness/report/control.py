"""The table of a run's A/A control: the twin beside its contender, workload by workload."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from harness.analyse.contrasts import ABOVE, BELOW
from harness.analyse.control import Control
from harness.report.columns import Cell, Grid
from harness.report.numbers import percent, probability, significant, span, whole

_TITLES = ("Workload", "Measure", "Ratio (95 %)", "Found", "Could detect", "p, t test", "Pairs")
_MEASURES = {"step_seconds": "step time", "peak_mib": "peak memory"}


def sentence(control: Control) -> str:
    """What the table shows, and what follows from it."""
    return (
        f"{control.contender} entered twice. A ratio is that of its twin to itself, over pairs from the same "
        "block or the same round of memory passes. It *differs* where a t test tells them apart at 5 %, by "
        "Holm over the workloads of a measure, for which p is adjusted. Where it differs in one workload, "
        "the run gives no verdict on that measure."
    )


def grid(control: Control) -> Grid:
    """One row a workload and measure in which the twins have a pair."""
    rows = [_row(row) for row in control.table.to_dict("records") if row["pairs"] > 0]
    return Grid(_TITLES, tuple(rows), (2, 4, 5, 6))


def _row(row: dict[Hashable, Any]) -> tuple[Cell, ...]:
    ratio, low, high = (significant(row[f"ratio{end}"], 4) for end in ("", "_low", "_high"))
    found = "differs" if row["verdict"] in (ABOVE, BELOW) else str(row["verdict"])
    return (
        *(Cell(str(row["workload"])), Cell(_MEASURES[str(row["measure"])])),
        *(Cell(ratio, span(low, high)), Cell(found), Cell(percent(row["detectable"]))),
        *(Cell(probability(row["p_holm"])), Cell(whole(row["pairs"]))),
    )
