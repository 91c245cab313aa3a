"""The figure of a sweep of sizes: how the time of a step and the memory grow, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from harness.analyse.sweeps import Sweep
from harness.report.drawing import Drawing
from harness.report.numbers import ABSENT, decimals
from harness.report.palette import Look
from harness.report.svg import STYLE

_PANELS = (
    ("step_seconds", 1000.0, "ms a training step"),
    ("memory", 1.0, "MiB above the imported framework, at the peak"),
)


def draw(sweep: Sweep, size_of: Mapping[str, float], looks: Mapping[str, Look]) -> Drawing:
    """A line a contender through its ranked levels, on the left its time, on the right its memory."""
    contenders = sorted(set(sweep.cells["contender"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 4.2), layout="constrained")
        for axes, (name, scale, title) in zip(figure.subplots(1, 2), _PANELS, strict=True):
            _panel(axes, sweep, size_of, contenders, looks, name, scale)
            axes.set_title(title, fontsize="medium")
            axes.set_xlabel(sweep.factor)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(5, len(labels)))
    return Drawing(
        f"sweep-{sweep.factor}",
        sweep.factor.capitalize(),
        "Both axes are logarithmic: a power law is a straight line, its exponent the slope. Vertical lines: "
        "95 % intervals. The exponents, fitted over the whole range, are in the table's last rows.",
        "; ".join(_told(sweep, contender) for contender in contenders),
        figure,
    )


def _panel(
    axes: Axes,
    sweep: Sweep,
    size_of: Mapping[str, float],
    contenders: list[str],
    looks: Mapping[str, Look],
    name: str,
    scale: float,
) -> None:
    for contender in contenders:
        mine = sweep.cells[sweep.cells["contender"] == contender].dropna(subset=name)
        mine = mine.assign(size=mine["level"].map(size_of)).sort_values("size")
        look, values = looks[contender], mine[name] * scale
        axes.plot(
            mine["size"],
            values,
            marker="o",
            markersize=4,
            color=look.colour,
            linestyle=look.dash,
            label=contender,
        )
        axes.vlines(
            mine["size"], mine[f"{name}_low"] * scale, mine[f"{name}_high"] * scale, color=look.colour
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted(size_of.values()), [f"{size:g}" for size in sorted(size_of.values())])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="both")


def _told(sweep: Sweep, contender: str) -> str:
    assert sweep.growth is not None
    rows = sweep.growth[sweep.growth["contender"] == contender].to_dict("records")
    time, memory = (decimals(rows[0][cost], 2) if rows else ABSENT for cost in ("time", "memory"))
    return f"{contender}: time grows with exponent {time}, memory with {memory}"
