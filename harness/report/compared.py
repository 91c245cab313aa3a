"""Every comparison of a workload with its first-ranked contender: what its verdict follows from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.analyse.comparisons import INFERENCE
from harness.analyse.run import Run
from harness.report.columns import Cell, Grid, metric_title
from harness.report.numbers import (
    ABSENT,
    decimals,
    percent,
    probability,
    signed,
    significant,
    span,
    whole,
)

_TITLES = (
    "Contender",
    "Measure",
    "Estimate (95 %)",
    "Verdict",
    "Could detect",
    "Margin",
    "p, t test",
    "p, TOST",
    "p, signed rank (least)",
    "Pairs",
)


_NUMERIC = (2, 4, 5, 6, 7, 8, 9)
_RATIOS = {
    "step_seconds": "step time, ratio",
    INFERENCE: "inference, ratio of rates",
    "peak_mib": "peak memory, ratio",
}


@dataclass(frozen=True)
class Comparisons:
    """The comparisons with `reference`, the first-ranked."""

    reference: str
    grid: Grid


def compared(run: Run, workload: str) -> Comparisons | None:
    """The comparisons with the first-ranked contender, by measure; None where there is no other. What has no
    pair at all (memory without passes, a metric without seeds) is left out.
    """
    ranked = run.summary_of(workload)
    ranked = ranked[ranked["rank"].notna()]
    if len(ranked) < 2:
        return None
    reference = str(ranked["contender"].iloc[0])
    mine = run.comparisons[
        (run.comparisons["workload"] == workload) & (run.comparisons["first"] == reference)
    ]
    metric = str(run.meta["workloads"][workload].get("metric"))
    rows = [_cells(row, metric) for row in mine.to_dict("records") if row["pairs"] > 0]
    return Comparisons(reference, Grid(_TITLES, tuple(rows), _NUMERIC))


def _cells(row: dict[Hashable, Any], metric: str) -> tuple[Cell, ...]:
    if row["measure"] == "metric":
        measure, amounts = f"{metric_title(metric)}, difference", _metric_amounts(row)
    else:
        measure = _RATIOS[row["measure"]]
        amounts = (significant, percent(row["detectable"]), f"{row['margin'] * 100:g} %")
    written, detectable, margin = amounts
    estimate = Cell(written(row["estimate"]), span(written(row["low"]), written(row["high"])))
    least = f"least {probability(row['rank_p_least'])}" if row["pairs"] > 1 else ""
    return (
        *(Cell(str(row["second"])), Cell(measure), estimate, Cell(str(row["verdict"]), row["why"] or "")),
        *(Cell(detectable), Cell(margin), _adjusted(row, "p"), _adjusted(row, "p_equivalent")),
        *(Cell(probability(row["rank_p"]), least), Cell(whole(row["pairs"]))),
    )


def _metric_amounts(row: dict[Hashable, Any]) -> tuple[Any, str, str]:
    return partial(signed, places=4), decimals(row["detectable"], 4), decimals(row["margin"], 4)


def _adjusted(row: dict[Hashable, Any], name: str) -> Cell:
    adjusted = probability(row[f"{name}_holm"])
    return Cell(adjusted, "" if adjusted == ABSENT else f"alone {probability(row[name])}")
