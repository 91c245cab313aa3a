"""The columns of a workload's table: which measure, in which unit, how it is written.

The HTML page, its Markdown twin and the console show the same columns, so they say the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.report.numbers import (
    ABSENT,
    decimals,
    percent,
    runs_of,
    scientific,
    significant,
    span,
    whole,
)
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


def _interval(name: str, scale: float = 1.0) -> Callable[[Row], Cell]:
    """The mean with its interval; a single process has none to show."""

    def cell(row: Row) -> Cell:
        text, low, high = (significant(row[name + end] * scale) for end in ("", "_low", "_high"))
        return Cell(text, span(low, high))

    return cell


def _word(name: str) -> Callable[[Row], Cell]:
    return lambda row: Cell(ABSENT if pd.isna(row[name]) else str(row[name]))


def _tiers(row: Row) -> Cell:
    return Cell(ABSENT if pd.isna(row["tiers"]) else runs_of(int(tier) for tier in row["tiers"].split(", ")))


def _processes(row: Row) -> Cell:
    return Cell(whole(row["processes"]), f"{row['unsteady']} not steady" if row["unsteady"] else "")


def _plain(name: str) -> Callable[[Row], Cell]:
    return lambda row: Cell(significant(row[name]))


def _word_of_several(name: str, measure: str) -> Callable[[Row], Cell]:
    """A verdict, where the measure has an interval; without one there is nothing to judge."""
    return lambda row: Cell(ABSENT) if math.isnan(row[f"{measure}_low"]) else _word(name)(row)


def _metric(row: Row) -> Cell:
    text = decimals(row["metric_mean"], 4)
    notes = _over_seeds(row["metric_low"], row["metric_high"], row["metric_seeds"])
    if row["target_reached"] is False:
        notes.append(f"target {row['target']:g} missed")
    return Cell(text, "; ".join(notes))


def _over_seeds(low: float, high: float, seeds: int) -> list[str]:
    """A metric's interval, of several seeds."""
    return [f"{span(decimals(low, 4), decimals(high, 4))}, {seeds} seeds"] if seeds > 1 else []


def _of_ceiling(row: Row) -> str:
    share = percent(row["flops_share"])
    return "" if share == ABSENT else f"{share} of the machine's"


def _to_target(row: Row, name: str) -> Cell:
    if row["target_unknown"]:
        return Cell("not known", row["target_unknown"])
    if row["target_seeds"] < row["target_tried"]:
        return Cell(
            "not reached",
            f"by {whole(row['target_tried'] - row['target_seeds'])} of {whole(row['target_tried'])} seeds",
        )
    return Cell(significant(row[name]))


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
TIER = Column(
    "tier", "Tier", "", _tiers, "contenders that were not told apart by their step times share a tier"
)
STEP = Column(
    "step",
    "Step time",
    "ms",
    _interval("step_seconds", 1000),
    "one optimizer step in the steady state: the median of a process's blocks from where their level no "
    "longer changes, then the mean over processes (of logarithms) with its 95 % t interval",
)
RATIO = Column(
    "ratio",
    "Step time",
    "x first",
    _interval("ratio"),
    "step time over that of the first-ranked contender in the same block, with the 95 % t interval of this "
    "one comparison",
)
VERDICT = Column(
    "verdict",
    "Verdict",
    "against the first",
    _word("verdict"),
    "on step time; what was tested is said above the tables",
    numeric=False,
)
DETECTABLE = Column(
    "detectable",
    "Could detect",
    "from",
    lambda row: Cell(percent(row["detectable"])),
    "the smallest difference from the first that 80 % of such runs find, with as many blocks and contenders "
    "and this spread",
)
PEAK_VERDICT = Column(
    "peak_verdict",
    "Memory, verdict",
    "against the first",
    _word_of_several("peak_verdict", "peak_mib"),
    "on peak memory, in pairs from the same round of memory passes",
    numeric=False,
)
TRAINING = Column(
    "training", "Training", "samples/s", _plain("samples_per_second"), "batch size over step time"
)
TOKENS = Column(
    "tokens",
    "Training",
    "tokens/s",
    _plain("tokens_per_second"),
    "samples/s times the tokens of a training example, on average and without padding",
)
FLOPS = Column(
    "flops",
    "Training",
    "GFLOP/s",
    lambda row: Cell(significant(row["flops_per_second"] / 1e9), _of_ceiling(row)),
    "operations of the forward and backward pass, counted from the spec (backward as twice forward; no loss, "
    "no optimizer), over the step time; and their share of what the machine reached with a float32 matrix "
    "product",
)
ENERGY = Column(
    "energy",
    "Energy",
    "J/step",
    _interval("step_joules"),
    "what the machine's meters (RAPL, NVML) counted over the timed blocks, other programs and idling "
    "included, over their steps; then as the step time",
)
TARGET_TIME = Column(
    "target_time",
    "To target",
    "s",
    lambda row: _to_target(row, "target_seconds"),
    "time in training alone until the end of the first epoch whose validation is as good as the target: "
    "geometric mean over seeds; not known where no validation has the metric",
)
TARGET_SAMPLES = Column(
    "target_samples", "To target", "samples", lambda row: _to_target(row, "target_samples"), "the same"
)
INFERENCE = Column(
    "inference",
    "Inference",
    "samples/s",
    _interval("evaluate_samples_per_second"),
    "passes over the evaluation data: the median of a process's passes, then as the step time",
)
INFERENCE_VERDICT = Column(
    "evaluate_verdict",
    "Inference, verdict",
    "against the first",
    _word_of_several("evaluate_verdict", "evaluate_samples_per_second"),
    "on inference, block by block; the first is the first-ranked, by step time",
    numeric=False,
)
IMPORT = Column("import", "Import", "s", _plain("import_seconds"), "importing the framework")
IMPORT_INTERVAL = replace(
    IMPORT, cell=_interval("import_seconds"), about="importing the framework: over processes as the step time"
)
BUILD = Column(
    "build",
    "Build",
    "s",
    _interval("build_seconds"),
    "making the model from the spec, with weights and data in place: over processes as the step time",
)
COLD = Column(
    "cold",
    "First step, cold",
    "s",
    _plain("first_step_cold_seconds"),
    "the first step of the first process, with compilation; of its first attempt, where that was disturbed "
    "and run again",
)
LATER = Column(
    "later",
    "First step, later",
    "s",
    _interval("first_step_seconds"),
    "the first step of the later processes, which share the framework's compile cache: over processes as the "
    "step time",
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
    _interval("peak_mib"),
    "peak resident memory above the interpreter's start: the mean over memory passes (of logarithms) with "
    "its 95 % t interval",
)
DEVICE_MEMORY = Column(
    "device_memory", "Device, peak", "MiB", _plain("device_peak_mib"), "peak of the device's memory"
)
PROCESSES = Column(
    "processes",
    "Processes",
    "",
    _processes,
    "measured processes with a steady state; one without gives no observation",
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
    known, title = METRICS.get(name or ""), metric_title(name)
    unit = f"{known.unit}, test" if known and known.unit else "test"
    when = "on the test data at the end of training: mean over seeds with its 95 % t interval"
    return Column("metric", title, unit, _metric, f"{known.definition}; {when}" if known else when)


def metric_verdict(name: str | None) -> Column:
    """The column of verdicts on the final metric."""
    return Column(
        "metric_verdict",
        f"{metric_title(name)}, verdict",
        "against the first",
        _word("metric_verdict"),
        "paired by seed: with the same seed all start from the same weights and see the same batches",
        numeric=False,
    )


def metric_title(name: str | None) -> str:
    """What a metric is called in a table."""
    known = METRICS.get(name or "")
    return known.title if known else (name or "metric").capitalize()


def other_metric(name: str) -> Column:
    """The column of a metric beside the first."""
    return replace(metric(name), key=f"metric_{name}", cell=_other(name))


def _other(name: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        mean, low, high = (row[f"other_metrics{end}"].get(name, math.nan) for end in ("", "_low", "_high"))
        notes = [] if math.isnan(mean) else _over_seeds(low, high, row["metric_seeds"])
        return Cell(decimals(mean, 4), "; ".join(notes))

    return cell


def full(name: str | None, others: Iterable[str] = ()) -> tuple[Column, ...]:
    """Every measure, for a workload whose final metric is `name`, with its other metrics."""
    return (
        *(RANK, TIER, CONTENDER, STATUS, PROOF, metric(name), *map(other_metric, others)),
        *(STEP, RATIO, VERDICT, DETECTABLE, metric_verdict(name), TRAINING, TOKENS, FLOPS),
        *(ENERGY, INFERENCE, INFERENCE_VERDICT, TARGET_TIME, TARGET_SAMPLES, IMPORT_INTERVAL, BUILD),
        *(COLD, LATER, IMPORT_MEMORY, PEAK_MEMORY, PEAK_VERDICT, DEVICE_MEMORY, PROCESSES, PROOF64, PROOF32),
    )


def brief(name: str | None) -> tuple[Column, ...]:
    """The measures that fit a README and a terminal."""
    return (
        *(RANK, TIER, CONTENDER, STATUS, PROOF, metric(name), STEP, RATIO, VERDICT, DETECTABLE),
        *(TRAINING, TOKENS, COLD, IMPORT, PEAK_MEMORY, DEVICE_MEMORY),
    )


@dataclass(frozen=True)
class Grid:
    """A plain table: its titles, its rows, whose first cells name them, and the places of columns that are
    numeric, and of those whose text may take several lines.
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[int, ...]
    wrapped: tuple[int, ...] = ()


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
