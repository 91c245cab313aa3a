"""One figure a sweep: the final metric and the time of a step at each level, contenders side by side."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.analyse.growth import COSTS
from harness.analyse.sweeps import Sweep
from harness.report import growth
from harness.report.columns import Cell, Grid
from harness.report.drawing import LOG_BEYOND, Drawing
from harness.report.numbers import decimals, significant, span
from harness.report.palette import LINE, PAPER, Look
from harness.report.svg import STYLE
from harness.spec.metrics import METRICS

WIDE_INCHES = 10.0
ROW_INCHES = 0.085


def draw(sweep: Sweep, looks: Mapping[str, Look]) -> Drawing | None:
    """The figure of a sweep; None where nothing of it is ranked. Of sizes it shows how the costs grow."""
    if sweep.cells.empty:
        return None
    if sweep.sizes is not None:
        return growth.draw(sweep, sweep.sizes, looks)
    contenders = sorted(set(sweep.cells["contender"]))
    with matplotlib.rc_context(STYLE):
        rows = len(sweep.levels)
        height = 1.0 + rows * (0.14 + ROW_INCHES * len(contenders))
        figure = Figure(figsize=(WIDE_INCHES, height), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _panel(left, sweep, contenders, looks, "metric", 1.0)
        title = METRICS[sweep.metric].title if sweep.metric in METRICS else sweep.metric
        left.set_xlabel(f"{title}, test")
        left.xaxis.set_major_locator(MaxNLocator(5))
        _panel(right, sweep, contenders, looks, "step_seconds", 1000.0)
        times = sweep.cells["step_seconds"].to_numpy(dtype=float)
        logarithmic = times.max() / times.min() > LOG_BEYOND / 4
        if logarithmic:
            right.set_xscale("log")
            right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        else:
            right.set_xlim(left=0)
            right.xaxis.set_major_locator(MaxNLocator(5))
        right.set_xlabel("ms a training step" + (" (logarithmic)" if logarithmic else ""))
        left.set_yticks(range(rows), sweep.levels)
        left.set_ylim(rows - 0.5, -0.5)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(5, len(labels)), handletextpad=0.2)
    return Drawing(
        f"sweep-{sweep.factor}",
        sweep.factor.capitalize(),
        "Dots: means over seeds on the left, over processes on the right. Lines: 95 % intervals. Only the "
        "named factor differs from row to row.",
        "; ".join(f"{level}: {told(sweep, level)}" for level in sweep.levels),
        figure,
    )


def _panel(
    axes: Axes, sweep: Sweep, contenders: list[str], looks: Mapping[str, Look], name: str, scale: float
) -> None:
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for place in range(1, len(sweep.levels)):
        axes.axhline(place - 0.5, color=LINE, linewidth=0.6)
    offsets = (np.arange(len(contenders)) - (len(contenders) - 1) / 2) * 0.7 / len(contenders)
    for contender, offset in zip(contenders, offsets, strict=True):
        mine = sweep.cells[sweep.cells["contender"] == contender].set_index("level").reindex(sweep.levels)
        heights = np.arange(len(sweep.levels)) + offset
        colour = looks[contender].colour
        low, high = (mine[f"{name}_{end}"].to_numpy(dtype=float) * scale for end in ("low", "high"))
        axes.hlines(heights, low, high, color=colour, linewidth=1.2)
        middle = mine[name].to_numpy(dtype=float) * scale
        axes.scatter(
            middle, heights, s=22, color=colour, edgecolor=PAPER, linewidth=0.5, zorder=3, label=contender
        )


def told(sweep: Sweep, level: str) -> str:
    """A level in words: the metric's and the step times' range over contenders."""
    mine = sweep.cells[sweep.cells["level"] == level]
    if mine.empty:
        return "nothing ranked"
    title = METRICS[sweep.metric].title.lower() if sweep.metric in METRICS else sweep.metric
    return f"{title} {_range(mine['metric'], 4)}, {_range(mine['step_seconds'] * 1000, None)} ms a step"


def _range(values: pd.Series, places: int | None) -> str:
    low, high = (
        significant(float(bound)) if places is None else decimals(float(bound), places)
        for bound in (values.min(), values.max())
    )
    return low if low == high else span(low, high)


def grid(sweep: Sweep) -> Grid:
    """The table beside the figure: a row a level, and for each contender the metric and ms a step; of sizes
    also the exponents by which time and memory grow.
    """
    contenders = sorted(set(sweep.cells["contender"]))
    found = sweep.cells.set_index(["level", "contender"])
    rows = []
    for level in sweep.levels:
        row = [Cell(level)]
        for contender in contenders:
            there = (level, contender) in found.index
            row.append(_cell(found.loc[(level, contender)]) if there else Cell("not ranked"))
        rows.append(tuple(row))
    if sweep.growth is not None:
        grown = sweep.growth.set_index("contender").reindex(contenders)
        rows += [_exponents(grown, cost) for cost in COSTS]
    return Grid((sweep.factor, *contenders), tuple(rows), tuple(range(1, len(contenders) + 1)))


def _exponents(grown: pd.DataFrame, cost: str) -> tuple[Cell, ...]:
    cells = [Cell(f"{cost}: exponent")]
    for row in grown.to_dict("records"):
        middle, low, high = (decimals(row[f"{cost}{end}"], 2) for end in ("", "_low", "_high"))
        cells.append(Cell(middle, span(low, high)))
    return tuple(cells)


def _cell(row: pd.Series) -> Cell:
    milliseconds = significant(float(row["step_seconds"]) * 1000)
    return Cell(decimals(float(row["metric"]), 4), f"{milliseconds} ms")
