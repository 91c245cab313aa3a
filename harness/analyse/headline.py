"""What can be said of a workload in one sentence, without claiming more than ranges show."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Headline:
    """The lowest and the highest step time of a workload's ranked contenders.

    `overlapping` names the contenders whose range of processes overlaps that of the fastest: the order
    between them and it is not settled. `unranked` counts the contenders left out of the ranking.
    """

    workload: str
    ranked: int
    unranked: int
    fastest: str | None
    step_seconds: float
    step_seconds_min: float
    step_seconds_max: float
    processes: int
    overlapping: tuple[str, ...]
    slowest: str | None
    slowest_ratio: float


def headline(summary: pd.DataFrame, workload: str) -> Headline:
    """The headline of one workload; `fastest` is None where nothing could be ranked."""
    mine = summary[summary["workload"] == workload]
    ranked = mine[mine["rank"].notna()].sort_values(["rank", "contender"])
    nan = float("nan")
    if ranked.empty:
        return Headline(workload, 0, len(mine), None, nan, nan, nan, 0, (), None, nan)
    first, last = ranked.iloc[0], ranked.iloc[-1]
    others = ranked.iloc[1:]
    overlapping = others[others["step_seconds_min"] <= first["step_seconds_max"]]
    return Headline(
        workload=workload,
        ranked=len(ranked),
        unranked=len(mine) - len(ranked),
        fastest=str(first["contender"]),
        step_seconds=float(first["step_seconds"]),
        step_seconds_min=float(first["step_seconds_min"]),
        step_seconds_max=float(first["step_seconds_max"]),
        processes=int(first["processes"]),
        overlapping=tuple(overlapping["contender"]),
        slowest=str(last["contender"]) if len(ranked) > 1 else None,
        slowest_ratio=float(last["ratio"]),
    )
