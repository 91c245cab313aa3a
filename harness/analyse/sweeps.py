"""Sweeps: what each level of one factor does to the final metric and to the time of a step."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.analyse.run import Run


@dataclass(frozen=True)
class Sweep:
    """One factor of a workload. `levels` are their names in the suite's order.

    `cells` has a row a level and ranked contender: `metric` (mean over seeds) and `step_seconds` (mean over
    processes), each with its interval, `_low` and `_high`.
    """

    workload: str
    factor: str
    metric: str
    levels: tuple[str, ...]
    cells: pd.DataFrame


def sweeps(run: Run) -> list[Sweep]:
    """The sweeps of a run, in the suite's order."""
    return [_sweep(run, entry) for entry in run.meta.get("sweeps") or ()]


def level_names(run: Run) -> set[str]:
    """The workloads that are there for a sweep alone: not those that it varies."""
    entries = run.meta.get("sweeps") or ()
    bases = {entry["workload"] for entry in entries}
    return {name for entry in entries for name in entry["levels"].values()} - bases


def _sweep(run: Run, entry: dict[str, object]) -> Sweep:
    levels = entry["levels"]
    assert isinstance(levels, dict)
    found = []
    for level, name in levels.items():
        rows = run.summary_of(name)
        found.append(rows[rows["rank"].notna()].assign(level=level))
    columns = ["level", "contender", "metric", "metric_low", "metric_high"]
    times = ["step_seconds", "step_seconds_low", "step_seconds_high"]
    cells = pd.concat(found).drop(columns="metric").rename(columns={"metric_mean": "metric"})
    workload = str(entry["workload"])
    metric = str(run.meta["workloads"].get(workload, {}).get("metric"))
    return Sweep(workload, str(entry["factor"]), metric, tuple(levels), cells[[*columns, *times]])
