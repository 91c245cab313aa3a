"""The learning curves of one workload: do they lie on each other, and where do they part?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.analyse.learning import Learning, learning
from harness.analyse.run import Run
from harness.report.drawing import LOG_BEYOND, WIDTH_INCHES, Drawing
from harness.report.numbers import significant
from harness.report.palette import Look
from harness.spec.metrics import METRICS

_WIDEST, _NARROWEST = 6.0, 1.1


def draw(run: Run, workload: str, looks: Mapping[str, Look]) -> Iterator[Drawing]:
    """The training loss with its deviations, and the validation metric, at one seed.

    Of a metric that is computed at the end alone there is no curve: then it is the loss.
    """
    metric = str(run.meta["workloads"][workload].get("metric"))
    if metric in METRICS and METRICS[metric].compute is None:
        metric = "loss"
    found = learning(run.curves, workload, metric)
    if not found.train.empty:
        yield _training(found, looks)
    if not found.validation.empty:
        yield _validation(found, looks)


def _training(found: Learning, looks: Mapping[str, Look]) -> Drawing:
    figure = Figure(figsize=(WIDTH_INCHES, 4.4 + _legend_inches(found.train)), layout="constrained")
    parted = bool(found.deviation.notna().any(axis=None))
    upper, lower = (
        figure.subplots(2, sharex=True, height_ratios=(2.4, 1)) if parted else (figure.subplots(), None)
    )
    _overlay(upper, found.train, looks)
    upper.set_ylabel("training loss")
    losses = found.train.to_numpy(dtype=float)
    losses = losses[np.isfinite(losses)]
    if len(losses) and losses.min() > 0 and losses.max() / losses.min() > LOG_BEYOND:
        upper.set_yscale("log")
    (lower or upper).set_xlabel("training step")
    if lower is not None:
        for contender in found.deviation:
            look = looks[str(contender)]
            lower.plot(found.deviation[contender], color=look.colour, linestyle=look.dash, linewidth=1.1)
        lower.set_yscale("log")
        lower.set_ylabel("distance from\nthe median")
        lower.grid(axis="y")
    _legend(figure, upper, found.train)
    seed = "" if found.seed is None else f" at seed {found.seed}"
    last = found.train.iloc[-1]
    return Drawing(
        "learning",
        "Learning: training loss",
        f"Every contender{seed}, each line narrower than the one under it: lines that lie on each other show "
        "as nested colours. Below: how far each is from the contenders' median; a distance of zero is not "
        "drawn. The start and the batches are the same, so only rounding parts them.",
        f"Training loss by step{seed}; at the last step: "
        + "; ".join(f"{contender} {significant(float(value))}" for contender, value in last.items()),
        figure,
    )


def _validation(found: Learning, looks: Mapping[str, Look]) -> Drawing:
    figure = Figure(figsize=(WIDTH_INCHES, 3.4 + _legend_inches(found.validation)), layout="constrained")
    axes = figure.subplots()
    _overlay(axes, found.validation, looks)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"validation {found.metric}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, axes, found.validation)
    seed = "" if found.seed is None else f" at seed {found.seed}"
    last = found.validation.iloc[-1]
    return Drawing(
        "validation",
        f"Learning: validation {found.metric}",
        f"Every contender{seed}, after each epoch.",
        f"Validation {found.metric} by epoch{seed}; at the last: "
        + "; ".join(f"{contender} {significant(float(value), 4)}" for contender, value in last.items()),
        figure,
    )


def _overlay(axes: Axes, values: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Each line narrower than the one before, so that none hides another."""
    count = len(values.columns)
    for place, contender in enumerate(values):
        look = looks[str(contender)]
        width = _WIDEST - (_WIDEST - _NARROWEST) * place / max(count - 1, 1)
        line = values[contender].dropna()
        axes.plot(
            line,
            color=look.colour,
            linestyle=look.dash if count > 1 else "-",
            linewidth=width,
            solid_capstyle="round",
            marker="o" if len(line) == 1 else "",
            label=str(contender),
        )
    axes.grid(axis="y")


def _legend_inches(values: pd.DataFrame) -> float:
    return 0.19 * -(-len(values.columns) // _legend_columns(values))


def _legend_columns(values: pd.DataFrame) -> int:
    longest = max(len(str(name)) for name in values)
    return max(1, min(5, 84 // (longest + 8)))


def _legend(figure: Figure, axes: Axes, values: pd.DataFrame) -> None:
    legend = figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower left",
        ncols=_legend_columns(values),
        handlelength=2.2,
    )
    for handle in legend.get_lines():
        handle.set_linewidth(2.2)
