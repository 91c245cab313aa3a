"""The table of memory: what a contender's processes hold after each phase of their work."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from harness.analyse.memory import PHASES, memory_passes, phases
from harness.analyse.run import Run
from harness.report.columns import Cell, Grid
from harness.report.numbers import significant, span, whole

_TITLES = {
    "import": "Imported (MiB)",
    "build": "Built (MiB)",
    "first_step": "First step (MiB)",
    "rest": "At rest (MiB)",
    "peak": "Peak (MiB)",
}
_ALWAYS = ("import", "peak")
"""What passes of every version recorded, and the table of all measures shows too."""


def memory(run: Run, workload: str) -> Grid | None:
    """One row a contender, in the summary's order; None where no pass recorded more than import and peak."""
    passes = memory_passes(run.records)
    passes = passes[passes["workload"] == workload]
    if passes[[f"{phase}_mib" for phase in PHASES if phase not in _ALWAYS]].isna().all(axis=None):
        return None
    found = {row["contender"]: row for row in phases(passes).to_dict("records")}
    rows = tuple(
        _row(found[contender]) for contender in run.summary_of(workload)["contender"] if contender in found
    )
    titles = ("Contender", *(_TITLES[phase] for phase in PHASES), "Passes")
    return Grid(titles, rows, tuple(range(1, len(titles))))


def _row(row: dict[Hashable, Any]) -> tuple[Cell, ...]:
    cells = []
    for phase in PHASES:
        mean, low, high = (significant(row[f"{phase}_mib{end}"]) for end in ("", "_low", "_high"))
        cells.append(Cell(mean, span(low, high)))
    return Cell(str(row["contender"])), *cells, Cell(whole(row["passes"]))
