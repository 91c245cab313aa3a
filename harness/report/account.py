"""Where a run's time went, as a table and a sentence."""

from __future__ import annotations

import pandas as pd

from harness.analyse.account import AIM, PURPOSES, elsewhere
from harness.report.columns import Cell, Grid
from harness.report.numbers import percent, significant

_WORDS = {
    "import": "importing the frameworks",
    "build": "models, weights and data in place; first steps, with compilation",
    "measured": "measured work: steps, passes, single calls, training by the recipe, memory passes",
    "by_hand": "scripts written by hand",
    "ceilings": "what the machine can do: a matrix product, a memory copy",
    "process": "processes: start of the interpreter, the job read, the result written, end",
    "within": "in the processes between the clocks: staging, scores, garbage collected",
    "proof": "the contenders' side of the proof",
    "failed": "jobs that came to nothing",
    "between": "between jobs: scoring, records",
    "data": "data: download and preparation",
    "environments": "environments",
    "inputs": "weights, batch orders, the reference's side of the proof",
    "report": "analysis and report",
}


def grid(table: pd.DataFrame) -> Grid:
    """One row a part."""
    rows = [
        (
            Cell(_WORDS[row["part"]]),
            Cell("yes" if row["part"] in PURPOSES else ""),
            Cell(significant(row["seconds"])),
            Cell(percent(row["share"])),
        )
        for row in table.to_dict("records")
    ]
    return Grid(("Where", "What the run is for", "Seconds", "Share"), tuple(rows), (2, 3))


def sentence(table: pd.DataFrame) -> str:
    """The share that went elsewhere."""
    total = significant(float(table["seconds"].sum()))
    return (
        f"Of {total} s, {percent(elsewhere(table))} went elsewhere than into what the run is for (the aim is "
        f"at most {percent(AIM)}). Processes that ran side by side share their seconds. What this page took "
        "is known once it is written: the next page has it."
    )
