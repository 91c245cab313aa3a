"""What the harness adds to scripts written by hand, as a table and a sentence."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from harness.analyse.overhead import LIMIT, exit_code
from harness.analyse.run import Run
from harness.report import words
from harness.report.columns import Cell, Grid
from harness.report.console import rich_grid
from harness.report.numbers import percent, significant, span, whole

_TITLES = ("Contender", "Workload", "Harness (ms)", "By hand (ms)", "Ratio (95 %)", "Verdict", "Could detect")
METHOD = (
    "The harness's step time over that of a script of the same work written by hand. Each pair of fresh "
    "processes takes turns, a block of steps each, while the other one is parked: its observation is the "
    f"median ratio of neighbouring blocks. The aim is a ratio of at most {1 + LIMIT:g}: *within* "
    "where the 95 % interval of the ratio lies below that as a whole, *beyond* where it lies above, else not "
    "told."
)


def grid(table: pd.DataFrame) -> Grid:
    """One row a workload and contender."""
    rows = [_row(row) for row in table.sort_values(["workload", "contender"]).to_dict("records")]
    return Grid(_TITLES, tuple(rows), (2, 3, 4, 6))


def print_overhead(run: Run, console: Console) -> None:
    """The table and how it came about."""
    if run.overheads is None:
        return
    for warning in words.warnings(run):
        console.print(Text(f"note: {warning}"), style="yellow")
    console.print()
    console.print(rich_grid(grid(run.overheads)))
    style = {0: "green", 1: "red", 3: "yellow"}[exit_code(run.overheads)]
    console.print(Text(METHOD.replace("*", "")), style=style)


def _row(row: dict[Hashable, Any]) -> tuple[Cell, ...]:
    ours, theirs = (significant(row[name] * 1000) for name in ("step_seconds", "by_hand_seconds"))
    ratio, low, high = (significant(row[name]) for name in ("estimate", "low", "high"))
    pairs = f"{whole(row['pairs'])} blocks"
    return (
        *(Cell(str(row["contender"])), Cell(str(row["workload"])), Cell(ours), Cell(theirs)),
        Cell(ratio, ", ".join(filter(None, (span(low, high), pairs)))),
        Cell(str(row["verdict"]), row["why"] or ""),
        Cell(percent(row["detectable"])),
    )
