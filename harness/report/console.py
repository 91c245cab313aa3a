"""The table that ends `onespec run` on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.analyse.run import Run
from harness.analyse.sweeps import level_names, sweeps
from harness.report import words
from harness.report.columns import Column, Grid, Line, brief, build
from harness.report.sweeps import grid

# What a narrow terminal does without, the most dispensable first.
_DISPENSABLE = (
    *("device_memory", "import", "training", "cold", "peak_memory", "rank", "metric", "detectable"),
    *("ratio", "tier", "verdict"),
)
_STYLES = {"ok": "green", "not run": "yellow", "unsupported": "yellow"}


def print_summary(run: Run, console: Console) -> None:
    """Print one table a workload, and below it why contenders are not ranked; then one a sweep, in place of
    its levels' own.

    Columns that do not fit the console's width are left out, the least important first.
    """
    levels = level_names(run)
    for warning in words.warnings(run):
        console.print(Text(f"note: {warning}"), style="yellow")
    for workload in run.workloads:
        if workload in levels:
            continue
        about = run.meta["workloads"][workload]
        shown = build(run.summary_of(workload), brief(about.get("metric")))
        console.print()
        console.print(Text.assemble((workload, "bold"), f"  {about.get('title', '')}"))
        console.print(_fitting(shown.columns, shown.lines, console))
        for line in shown.unranked:
            reason = Text.assemble(
                "  not ranked: ", (line.contender, "bold"), f" ({line.status}) {line.reason}"
            )
            console.print(reason)
        console.print(Text(words.result(run, workload)), style="italic")
    for sweep in sweeps(run):
        console.print()
        console.print(Text.assemble((f"{sweep.workload}: {sweep.factor}", "bold")))
        console.print(rich_grid(grid(sweep)))
    console.print()
    console.print(Text(" ".join(filter(None, [words.control(run), words.planned(run)]))))


def rich_grid(shown: Grid) -> Table:
    """A plain table for a terminal."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for place, title in enumerate(shown.titles):
        table.add_column(title, justify="right" if place in shown.numeric else "left", overflow="fold")
    for cells in shown.rows:
        table.add_row(*(f"{cell.text}; {cell.note}" if cell.note else cell.text for cell in cells))
    return table


def _fitting(columns: tuple[Column, ...], lines: tuple[Line, ...], console: Console) -> Table:
    """The widest table that the console holds without breaking a cell."""
    left_out: set[str] = set()
    table = _table(columns, lines, left_out)
    for key in _DISPENSABLE:
        if Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
            break
        left_out.add(key)
        table = _table(columns, lines, left_out)
    return table


def _table(columns: tuple[Column, ...], lines: tuple[Line, ...], left_out: set[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    kept = [place for place, column in enumerate(columns) if column.key not in left_out]
    for place in kept:
        column = columns[place]
        table.add_column(_header(column), justify="right" if column.numeric else "left", overflow="fold")
    for line in lines:
        table.add_row(
            *(_cell(columns[place], line, place) for place in kept), style="" if line.ranked else "dim"
        )
    return table


def _header(column: Column) -> str:
    """Title over unit, broken where that makes the column narrower."""
    broken = (
        column.title.replace(", ", ",\n").replace("First step", "First\nstep").replace("Could ", "Could\n")
    )
    unit = column.unit.replace(": ", ":\n").replace("against ", "against\n")
    return f"{broken}\n{unit}"


def _cell(column: Column, line: Line, place: int) -> Text:
    cell = line.cells[place]
    style = _STYLES.get(line.status, "red") if column.key == "status" else ""
    text = Text(cell.text, style=style)
    if cell.note and column.key in ("step", "proof"):
        note = f" ({cell.note.replace(' to ', '-')})" if column.key == "step" else f" {cell.note}"
        text.append(note, style="dim")
    return text
