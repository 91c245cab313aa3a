"""Sweeps: what each level of one factor does to the final metric, the time of a step and the memory."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.analyse.growth import growth, sizes
from harness.analyse.memory import memory_passes
from harness.analyse.run import Run

_INTERVAL = ("", "_low", "_high")


@dataclass(frozen=True)
class Sweep:
    """One factor of a workload. `levels` are their names in the suite's order.

    `cells` has a row a level and ranked contender: `metric` (mean over seeds), `step_seconds` (mean over
    processes) and `memory` (the peak in MiB above that of the imported framework), each with its interval,
    `_low` and `_high`. Where the levels are sizes, `sizes` says which, and `growth` has the exponents of the
    costs (`harness.analyse.growth`); otherwise it is None.
    """

    workload: str
    factor: str
    metric: str
    levels: tuple[str, ...]
    cells: pd.DataFrame
    sizes: dict[str, float] | None = None
    growth: pd.DataFrame | None = None


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
        found.append(rows[rows["rank"].notna()].assign(level=level, name=name))
    ranked = pd.concat(found)
    cells = ranked.drop(columns="metric").rename(columns={"metric_mean": "metric"})
    for end in _INTERVAL:
        cells[f"memory{end}"] = cells[f"peak_mib{end}"] - cells["import_mib"]
    measures = [f"{measure}{end}" for measure in ("metric", "step_seconds", "memory") for end in _INTERVAL]
    workload = str(entry["workload"])
    metric = str(run.meta["workloads"].get(workload, {}).get("metric"))
    size_of = sizes(levels)
    return Sweep(
        workload,
        str(entry["factor"]),
        metric,
        tuple(levels),
        cells[["level", "contender", *measures]],
        size_of,
        None if size_of is None else growth(_observed(run, cells), size_of),
    )


def _observed(run: Run, cells: pd.DataFrame) -> pd.DataFrame:
    """Every observation of a cost at a ranked level: each process's step time, and what each memory pass held
    at its peak above the imported framework.
    """
    passes = memory_passes(run.records)
    observed = {
        "time": run.processes.assign(value=run.processes["step_seconds"]),
        "memory": passes.assign(value=passes["peak_mib"] - passes["import_mib"]),
    }
    places = cells[["name", "contender", "level"]].rename(columns={"name": "workload"})
    found = [
        places.merge(table[["workload", "contender", "value"]]).dropna(subset="value").assign(cost=cost)
        for cost, table in observed.items()
    ]
    return pd.concat(found)[["contender", "level", "cost", "value"]]
