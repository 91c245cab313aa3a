"""The figures of one workload: each function draws what the tables hold, or nothing where they are empty.

Only ranked contenders appear in figures of speed and memory, in the order of their rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from harness.analyse.run import Run
from harness.report import curves, pictures
from harness.report.drawing import LOG_BEYOND, WIDTH_INCHES, Drawing
from harness.report.numbers import significant
from harness.report.palette import BUILDING, FIRST_STEP, IMPORTING, INK, MUTED, PAPER, Look
from harness.report.svg import STYLE

Observations = dict[str, npt.NDArray[np.float64]]


def draw(run: Run, workload: str, looks: Mapping[str, Look]) -> Iterator[Drawing]:
    """Every figure that the run holds data for."""
    summary = run.summary_of(workload)
    ranked = summary[summary["rank"].notna()]
    processes = run.processes[run.processes["workload"] == workload]
    with matplotlib.rc_context(STYLE):
        if not ranked.empty:
            yield _steps(ranked, processes, looks)
            yield from _inference(ranked, processes, looks)
            yield from _time_account(ranked)
            yield from _memory(ranked, looks)
        yield from curves.draw(run, workload, looks)
        yield from pictures.draw(run, workload)


def _rows(count: int, extra_inches: float = 0.75, each_inches: float = 0.27) -> tuple[Figure, Axes]:
    """A figure of `count` horizontal rows, the first on top."""
    figure = Figure(figsize=(WIDTH_INCHES, extra_inches + each_inches * count), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylim(count - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return figure, axes


def _name_rows(axes: Axes, rows: pd.DataFrame) -> None:
    axes.set_yticks(range(len(rows)), list(rows["contender"]))


def _interval_rows(
    rows: pd.DataFrame,
    name: str,
    observations: Observations,
    looks: Mapping[str, Look],
    label: str,
) -> tuple[Figure, bool]:
    """Bars of a mean, with its interval and below it single processes; also whether the axis is logarithmic.

    A bar's length means nothing on a logarithmic axis, so there a tick stands for the mean. The axis holds
    every process; an interval of two or three processes may be wider than that, and goes on beyond it.
    """
    everything = np.concatenate([*observations.values(), rows[name].to_numpy(dtype=float)])
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    logarithmic = low > 0 and high / low > LOG_BEYOND
    figure, axes = _rows(len(rows), each_inches=0.33)
    _name_rows(axes, rows)
    axes.set_xlabel(label + (" (logarithmic)" if logarithmic else ""))
    left, right = (low / 1.6, high * 2.2) if logarithmic else (0.0, high * 1.3)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1e6 else f"{value:.0e}")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 500 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(left, right)
    bounds = rows[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
    for place, (contender, (mean, lower, upper)) in enumerate(zip(rows["contender"], bounds, strict=True)):
        colour = looks[contender].colour
        if logarithmic:
            axes.hlines(place, left, mean, color=colour, linewidth=1.2, alpha=0.45)
            axes.plot([mean], [place], "|", color=INK, markersize=11, markeredgewidth=1.8, zorder=3)
        else:
            axes.barh(place, mean, height=0.7, color=colour, alpha=0.45)
        if np.isfinite(lower):
            axes.errorbar(
                mean,
                place - 0.14,
                xerr=[[mean - lower], [upper - mean]],
                color=INK,
                linewidth=1.2,
                capsize=3,
                zorder=5,
            )
        seen = np.sort(observations[contender][np.isfinite(observations[contender])])
        jitter = np.linspace(-0.07, 0.07, len(seen)) if len(seen) > 1 else np.zeros(1)
        axes.scatter(
            seen, place + 0.18 + jitter, s=14, color=colour, edgecolor=PAPER, linewidth=0.6, zorder=4
        )
        furthest = float(np.nanmax([mean, upper, *seen]))
        axes.annotate(
            significant(float(mean)),
            (min(furthest, right), place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
    return figure, logarithmic


def _by_contender(processes: pd.DataFrame, rows: pd.DataFrame, name: str, scale: float) -> Observations:
    return {
        contender: processes.loc[processes["contender"] == contender, name].to_numpy(dtype=float) * scale
        for contender in rows["contender"]
    }


def _told(rows: pd.DataFrame, name: str, unit: str) -> str:
    pairs = zip(rows["contender"], rows[name], strict=True)
    return "; ".join(f"{contender} {significant(float(value))} {unit}" for contender, value in pairs)


def _scaled(rows: pd.DataFrame, name: str, to: str, scale: float) -> pd.DataFrame:
    """With a measure and its interval in another unit."""
    return rows.assign(**{f"{to}{end}": rows[f"{name}{end}"] * scale for end in ("", "_low", "_high")})


def _steps(ranked: pd.DataFrame, processes: pd.DataFrame, looks: Mapping[str, Look]) -> Drawing:
    rows = _scaled(ranked, "step_seconds", "milliseconds", 1000)
    seen = _by_contender(processes, rows, "step_seconds", 1000)
    figure, logarithmic = _interval_rows(rows, "milliseconds", seen, looks, "ms a training step")
    return Drawing(
        "step-time",
        "Training: time of a step",
        f"{_mark(logarithmic)} Shorter is faster. Contenders are compared within blocks, which these "
        "intervals do not show: where they overlap a verdict may still be certain.",
        "Mean time of a training step: " + _told(rows, "milliseconds", "ms"),
        figure,
    )


def _mark(logarithmic: bool) -> str:
    mark = "Tick" if logarithmic else "Bar"
    return f"{mark}: mean over processes. Line: its 95 % interval. Dots: single processes."


def _inference(ranked: pd.DataFrame, processes: pd.DataFrame, looks: Mapping[str, Look]) -> Iterator[Drawing]:
    rows = ranked[ranked["evaluate_samples_per_second"].notna()]
    if rows.empty:
        return
    rows = _scaled(rows, "evaluate_samples_per_second", "thousands", 1 / 1000)
    seen = _by_contender(processes, rows, "evaluate_samples_per_second", 1 / 1000)
    figure, logarithmic = _interval_rows(rows, "thousands", seen, looks, "thousand samples a second")
    yield Drawing(
        "inference",
        "Inference: samples a second",
        f"{_mark(logarithmic)} Longer is faster. Contenders stand in the order of their training speed.",
        "Mean inference throughput: " + _told(rows, "thousands", "thousand samples a second"),
        figure,
    )


def _time_account(ranked: pd.DataFrame) -> Iterator[Drawing]:
    names = ["import_seconds", "build_seconds", "first_step_seconds", "first_step_cold_seconds"]
    rows = ranked[ranked[names].notna().any(axis=1)]
    if rows.empty:
        return
    parts = rows[names].fillna(0.0).to_numpy(dtype=float).T
    parts[3] = np.clip(parts[3] - parts[2], 0, None)
    labels = ("import", "build", "first step", "more, in the first process (cold)")
    figure, axes = _rows(len(rows), 1.05)
    _name_rows(axes, rows)
    left = np.zeros(len(rows))
    for part, label, colour in zip(parts, labels, (IMPORTING, BUILDING, FIRST_STEP, FIRST_STEP), strict=True):
        cold = label == labels[-1]
        axes.barh(
            range(len(rows)),
            part,
            left=left,
            height=0.66,
            color="none" if cold else colour,
            edgecolor=colour if cold else "none",
            hatch="////" if cold else None,
            linewidth=0.8 if cold else 0,
            label=label,
        )
        left += part
    for place, total in enumerate(left):
        axes.annotate(
            significant(float(total)),
            (float(total), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xlim(0, float(left.max()) * 1.12)
    axes.set_xlabel("seconds")
    figure.legend(loc="outside upper left", ncols=4, handlelength=1.2, columnspacing=1.2)
    yield Drawing(
        "time-account",
        "Before the steady state",
        "Means over processes (of logarithms). The first process of a contender compiles with a cold cache; "
        "what that adds is hatched, and the number is the sum.",
        "Seconds before the steady state, cold: " + _told(rows.assign(total=left), "total", "s"),
        figure,
    )


def _memory(ranked: pd.DataFrame, looks: Mapping[str, Look]) -> Iterator[Drawing]:
    rows = ranked[ranked["peak_mib"].notna()]
    if rows.empty:
        return
    absent = list(ranked.loc[ranked["peak_mib"].isna(), "contender"])
    device = rows["device_peak_mib"].notna().any()
    figure, axes = _rows(len(rows), 0.95)
    _name_rows(axes, rows)
    for place, row in enumerate(rows.to_dict("records")):
        colour = looks[row["contender"]].colour
        axes.barh(place, row["peak_mib"], height=0.66, color=colour, alpha=0.35)
        axes.barh(place, row["import_mib"], height=0.3, color=colour)
        if device:
            axes.plot([row["device_peak_mib"]], [place], "D", color=INK, markersize=4.5)
        axes.annotate(
            significant(float(row["peak_mib"])),
            (float(np.nanmax([row["peak_mib"], row["device_peak_mib"]])), place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xlim(0, float(np.nanmax(rows[["peak_mib", "device_peak_mib"]].to_numpy(dtype=float))) * 1.14)
    axes.set_xlabel("MiB above the interpreter's start", color=MUTED)
    yield Drawing(
        "memory",
        "Memory",
        "Wide bar and number: peak resident memory. Narrow bar: after the import of the framework."
        + (" Diamond: peak on the device." if device else "")
        + (f" Not measured: {', '.join(absent)}." if absent else ""),
        "Peak memory above the interpreter's start: " + _told(rows, "peak_mib", "MiB"),
        figure,
    )
