"""What can be said of a workload in a sentence or two, without claiming more than its verdicts do."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Headline:
    """The shortest and the longest step time of a workload's ranked contenders.

    `sharing` names the others in the fastest's tier; `verdicts` the contenders of each verdict against it;
    `detectable` is the largest difference, as a share, that one of these comparisons could have missed. Where
    verdicts are withheld `sharing` is empty. `unranked` counts the contenders left out of the ranking.
    """

    workload: str
    ranked: int
    unranked: int
    fastest: str | None
    step_seconds: float
    step_seconds_low: float
    step_seconds_high: float
    processes: int
    sharing: tuple[str, ...]
    verdicts: dict[str, tuple[str, ...]]
    detectable: float
    slowest: str | None
    slowest_ratio: float


def headline(summary: pd.DataFrame, workload: str) -> Headline:
    """The headline of one workload; `fastest` is None where nothing could be ranked."""
    mine = summary[summary["workload"] == workload]
    ranked = mine[mine["rank"].notna()].sort_values(["rank", "contender"])
    nan = float("nan")
    if ranked.empty:
        return Headline(workload, 0, len(mine), None, nan, nan, nan, 0, (), {}, nan, None, nan)
    first, last = ranked.iloc[0], ranked.iloc[-1]
    others = ranked.iloc[1:]
    tiers = others["tiers"].fillna("").astype(str).str.split(", ")
    return Headline(
        workload=workload,
        ranked=len(ranked),
        unranked=len(mine) - len(ranked),
        fastest=str(first["contender"]),
        step_seconds=float(first["step_seconds"]),
        step_seconds_low=float(first["step_seconds_low"]),
        step_seconds_high=float(first["step_seconds_high"]),
        processes=int(first["processes"]),
        sharing=tuple(
            name
            for name, own in zip(others["contender"], tiers, strict=True)
            if set(own) & set(str(first["tiers"]).split(", "))
        ),
        verdicts={
            str(verdict): tuple(rows["contender"]) for verdict, rows in others.groupby("verdict", sort=True)
        },
        detectable=float(others["detectable"].max()),
        slowest=str(last["contender"]) if len(ranked) > 1 else None,
        slowest_ratio=float(last["ratio"]),
    )
