"""The columns of a workload's table: which measure, in which unit, how it is written.

The HTML page, its Markdown twin and the console show the same columns, so they say the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report.numbers import ABSENT, decimals, scientific, significant, span, whole
from harness.spec.metrics import METRICS

Row = dict[Hashable, Any]


@dataclass(frozen=True)
class Cell:
    """What a cell says, and in smaller letters its spread or detail."""

    text: str
    note: str = ""


@dataclass(frozen=True)
class Column:
    """One measure: `title` and `unit` for the header, `cell` from a row of the summary.

    `about` explains the measure in a sentence; `numeric` columns are right-aligned.
    """

    key: str
    title: str
    unit: str
    cell: Callable[[Row], Cell]
    about: str = ""
    numeric: bool = True


def _spread(name: str, scale: float = 1.0) -> Callable[[Row], Cell]:
    """The median with the smallest and largest process; a single process has no spread to show."""

    def cell(row: Row) -> Cell:
        text, low, high = (significant(row[name + end] * scale) for end in ("", "_min", "_max"))
        return Cell(text, "" if row[f"{name}_min"] == row[f"{name}_max"] else span(low, high))

    return cell


def _plain(name: str) -> Callable[[Row], Cell]:
    return lambda row: Cell(significant(row[name]))


def _metric(row: Row) -> Cell:
    text = decimals(row["metric_mean"], 4)
    notes = []
    if row["metric_seeds"] > 1:
        low, high = decimals(row["metric_min"], 4), decimals(row["metric_max"], 4)
        notes.append(f"{span(low, high)}, {row['metric_seeds']} seeds")
    if row["target_reached"] is False:
        notes.append(f"target {row['target']:g} missed")
    return Cell(text, "; ".join(notes))


def _proof(precision: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        if math.isnan(row[f"{precision}_ratio"]):
            return Cell(ABSENT)
        error, tolerance = (scientific(row[f"{precision}_{field}"]) for field in ("error", "tolerance"))
        return Cell(f"{error} / {tolerance}", str(row[f"{precision}_tensor"]))

    return cell


def _verdict_of_proof(row: Row) -> Cell:
    ratio = row["proof_ratio"]
    if math.isnan(ratio):
        return Cell(ABSENT)
    shown = scientific(ratio) if ratio < 0.001 or ratio >= 1000 else significant(ratio, 2)
    return Cell("proven" if row["proven"] else "unproven", shown)


RANK = Column("rank", "#", "", lambda row: Cell(whole(row["rank"])), "place by step time; only proven")
CONTENDER = Column("contender", "Contender", "", lambda row: Cell(row["contender"]), numeric=False)
STEP = Column(
    "step",
    "Step time",
    "ms",
    _spread("step_seconds", 1000),
    "one optimizer step in the steady state: the median of a process's timed blocks, then the median over "
    "processes with the smallest and the largest",
)
RATIO = Column(
    "ratio",
    "Step time",
    "x fastest",
    _spread("ratio"),
    "step time over that of the first-ranked contender in the same block: median, smallest and largest block",
)
TRAINING = Column(
    "training", "Training", "samples/s", _plain("samples_per_second"), "batch size over step time"
)
INFERENCE = Column(
    "inference",
    "Inference",
    "samples/s",
    _spread("evaluate_samples_per_second"),
    "passes over the evaluation data",
)
IMPORT = Column("import", "Import", "s", _plain("import_seconds"), "importing the framework")
BUILD = Column("build", "Build", "s", _plain("build_seconds"), "making the model from the spec")
COLD = Column(
    "cold",
    "First step, cold",
    "s",
    _plain("first_step_cold_seconds"),
    "the first step of the first process, with compilation",
)
LATER = Column(
    "later",
    "First step, later",
    "s",
    _plain("first_step_seconds"),
    "the median first step of the later processes, which share the framework's compile cache",
)
IMPORT_MEMORY = Column(
    "import_memory",
    "Memory, import",
    "MiB",
    _plain("import_mib"),
    "resident memory after import, above the interpreter's start",
)
PEAK_MEMORY = Column(
    "peak_memory",
    "Memory, peak",
    "MiB",
    _plain("peak_mib"),
    "peak resident memory, above the interpreter's start",
)
DEVICE_MEMORY = Column(
    "device_memory", "Device, peak", "MiB", _plain("device_peak_mib"), "peak of the device's memory"
)
PROCESSES = Column(
    "processes", "Processes", "", lambda row: Cell(whole(row["processes"])), "measured processes"
)
PROOF64 = Column(
    "proof64",
    "Proof, float64",
    "error / tolerance",
    _proof("float64"),
    "the worst tensor of the contender's program run in float64",
)
PROOF32 = Column(
    "proof32",
    "Proof, float32",
    "error / tolerance",
    _proof("float32"),
    "the worst tensor of the very program that is timed",
)
PROOF = Column(
    "proof",
    "Proof",
    "error : tolerance",
    _verdict_of_proof,
    "the worst error of either precision in terms of its tolerance; proven means none exceeds 1",
    numeric=False,
)
STATUS = Column("status", "Status", "", lambda row: Cell(row["status"]), numeric=False)


def metric(name: str | None) -> Column:
    """The final metric's column, titled by its name."""
    known = METRICS.get(name or "")
    title = known.title if known else (name or "metric").capitalize()
    unit = f"{known.unit}, test" if known and known.unit else "test"
    when = "on the test data at the end of training: mean over seeds"
    return Column("metric", title, unit, _metric, f"{known.definition}; {when}" if known else when)


def full(name: str | None) -> tuple[Column, ...]:
    """Every measure, for a workload whose final metric is `name`."""
    return (
        *(RANK, CONTENDER, STATUS, PROOF, metric(name), STEP, RATIO, TRAINING, INFERENCE),
        *(IMPORT, BUILD, COLD, LATER, IMPORT_MEMORY, PEAK_MEMORY, DEVICE_MEMORY),
        *(PROCESSES, PROOF64, PROOF32),
    )


def brief(name: str | None) -> tuple[Column, ...]:
    """The measures that fit a README and a terminal."""
    return (
        *(RANK, CONTENDER, STATUS, PROOF, metric(name), STEP, RATIO, TRAINING),
        *(COLD, IMPORT, PEAK_MEMORY, DEVICE_MEMORY),
    )


@dataclass(frozen=True)
class Line:
    """One contender's row, formatted; `reason` says why it is not ranked."""

    contender: str
    ranked: bool
    status: str
    reason: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """The formatted table of one workload, without the columns that nothing filled."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    @property
    def ranked(self) -> tuple[Line, ...]:
        """The ranked contenders, fastest first."""
        return tuple(line for line in self.lines if line.ranked)

    @property
    def unranked(self) -> tuple[Line, ...]:
        """The contenders without a rank, by name."""
        return tuple(line for line in self.lines if not line.ranked)


def build(summary: pd.DataFrame, columns: tuple[Column, ...]) -> Table:
    """Format the rows of one workload's `summary`."""
    rows = summary.to_dict("records")
    kept = [column for column in columns if any(column.cell(row).text != ABSENT for row in rows)]
    lines = tuple(
        Line(
            contender=str(row["contender"]),
            ranked=not math.isnan(row["rank"]),
            status=str(row["status"]),
            reason=" ".join(str(row["reason"]).split()) if row["reason"] else "",
            cells=tuple(column.cell(row) for column in kept),
        )
        for row in rows
    )
    return Table(tuple(kept), lines)
