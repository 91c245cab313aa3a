"""Where a run's time went: into what was to be measured, or into measuring it.

Jobs that ran side by side share their time: a second that two of them ran in counts half for each.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from harness.analyse.tables import Record

AIM = 0.10
"""Of the time, at most so much may go elsewhere than into the purposes."""
PURPOSES = ("import", "build", "measured", "by_hand", "ceilings")
PARTS = (
    *PURPOSES,
    *("process", "within", "proof", "failed", "between", "data", "environments", "inputs", "report"),
)
"""`import` of the frameworks; `build`: models, weights and data in place, and the first step, which compiles;
`measured`: steps, passes, single calls, training by the recipe with its evaluations, and the memory passes;
`by_hand`: scripts written by hand; `ceilings`: what the machine can do, measured. Then, in the jobs'
processes: `process` (interpreter, reading the job, ending), `within` (what lies between the clocks: staging,
scores, garbage), `proof` (a contender's program run for its proof) and `failed` (jobs that came to nothing).
And onespec's own: `between` (jobs: scoring, records), and the parts of `harness.execute.spent`.
"""


def account(meta: dict[str, Any], read: Sequence[Record]) -> pd.DataFrame:
    """One row a part of PARTS in which time was spent: `seconds`, and its `share` of all. Every attempt at a
    job counts. Empty for a run of before this was recorded.
    """
    told = [record for record in read if record.get("wall_seconds") is not None]
    own: dict[str, float] = dict(meta.get("spent") or {})
    if not own or not any(record.get("spent") for record in told):
        return pd.DataFrame(columns=["part", "seconds", "share"])
    seconds = dict.fromkeys(PARTS, 0.0)
    busy_seconds = 0.0
    for kind in dict.fromkeys(record["kind"] for record in told):
        mine = [record for record in told if record["kind"] == kind]
        covered, total = _covered(mine), math.fsum(record["wall_seconds"] for record in mine)
        busy_seconds += covered
        for record in mine:
            for part, spent in _of_job(record).items():
                seconds[part] += spent * (covered / total if total else 1.0)
    seconds["between"] = max(0.0, own.pop("jobs", 0.0) - busy_seconds)
    for part, spent in own.items():
        seconds[part] += spent
    table = pd.DataFrame({"part": [*seconds], "seconds": [*seconds.values()]})
    table = table[table["seconds"] > 0].reset_index(drop=True)
    return table.assign(share=table["seconds"] / table["seconds"].sum())


def elsewhere(table: pd.DataFrame) -> float:
    """The share of the time that went into no purpose; NaN where nothing is known."""
    if table.empty:
        return float("nan")
    return float(table.loc[~table["part"].isin(PURPOSES), "share"].sum())


def _of_job(record: Record) -> dict[str, float]:
    wall, spent = record["wall_seconds"], record.get("spent")
    if not spent:
        return {"failed" if record["measures"] is None else "by_hand": wall}
    work = spent["work_seconds"]
    found = {"import": spent["import_seconds"], "process": max(0.0, wall - spent["import_seconds"] - work)}
    if record["kind"] == "verify":
        return {**found, "proof": work}
    if record["kind"] == "memory":
        return {**found, "measured": work}
    measures = record["measures"]
    built = measures["build_seconds"] + measures["first_step_seconds"]
    measured = _measured_seconds(measures)
    return {
        **found,
        "build": built,
        "measured": measured,
        "within": max(0.0, work - built - measured),
    }


def _measured_seconds(measures: Record) -> float:
    blocks = (*measures["train_blocks"], *measures["evaluate_passes"])
    calls = measures.get("latency") or ()
    learning = measures.get("learning") or {}
    return math.fsum(
        [
            *(block["seconds"] for block in blocks),
            *(second for call in calls for second in (call["first_seconds"], *call["seconds"])),
            learning.get("seconds", 0.0),
            learning.get("evaluation_seconds", 0.0),
        ]
    )


def _covered(records: Iterable[Record]) -> float:
    """The seconds in which at least one of the jobs ran."""
    spans = sorted(
        (started, started + record["wall_seconds"])
        for record in records
        for started in [datetime.datetime.fromisoformat(record["started"]).timestamp()]
    )
    covered, until = 0.0, -math.inf
    for start, end in spans:
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered
