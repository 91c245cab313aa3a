"""Markdown: a workload's table, and the tables that a README keeps between markers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from harness.analyse.run import Run
from harness.analyse.summary import other_metrics
from harness.errors import OnespecError, UsageError, unknown
from harness.report import words
from harness.report.columns import Cell, Column, Grid, Table, brief, build, full

_OPENING = re.compile(r"<!--\s*onespec:table\s+(?P<run>\S+)\s+(?P<workload>\S+)\s*-->")
_CLOSING = re.compile(r"<!--\s*/onespec:table\s*-->")


def table(run: Run, workload: str, *, everything: bool = False) -> str:
    """One workload's table as Markdown, with the reasons of contenders that are not ranked below it.

    The measures that fit a README, or with `everything` all of them. Raises `UsageError` for a workload that
    the run does not have.
    """
    if workload not in run.workloads:
        raise unknown("workload", workload, run.workloads)
    about = run.meta["workloads"][workload]
    name = about.get("metric")
    columns = full(name, other_metrics(about)) if everything else brief(name)
    shown = build(run.summary_of(workload), columns)
    lines = [
        _line(_title(column) for column in shown.columns),
        _line("---:" if column.numeric else ":---" for column in shown.columns),
        *(_line(_text(cell) for cell in line.cells) for line in shown.lines),
    ]
    return "\n".join(lines) + "\n" + _reasons(shown)


def grid(shown: Grid) -> str:
    """A plain table as Markdown."""
    return "\n".join(
        [
            _line(shown.titles),
            _line("---:" if place in shown.numeric else ":---" for place in range(len(shown.titles))),
            *(_line(_text(cell) for cell in cells) for cells in shown.rows),
        ]
    )


def _title(column: Column) -> str:
    return f"{column.title} ({column.unit})" if column.unit else column.title


def _text(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"


def _reasons(shown: Table) -> str:
    if not shown.unranked:
        return ""
    reasons = [f"- {escape(line.contender)}: {line.status}: {escape(line.reason)}" for line in shown.unranked]
    return "\nNot ranked:\n\n" + "\n".join(reasons) + "\n"


def escape(text: str) -> str:
    """The text without what Markdown would take for a table's border or a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def update_readme(file: Path, runs: list[Run]) -> list[str]:
    """Replace what stands between the table markers of these runs in `file`; returns what was replaced.

    Markers are `<!-- onespec:table RUN WORKLOAD -->` and `<!-- /onespec:table -->`. Raises `UsageError` where
    one of the runs has no marker in the file, or a marker is not closed.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}.") from error
    known = {run.name: run for run in runs}
    pieces, replaced, at = [], [], 0
    for opening in _OPENING.finditer(text):
        closing = _CLOSING.search(text, opening.end())
        following = _OPENING.search(text, opening.end())
        line = text.count("\n", 0, opening.start()) + 1
        if closing is None or (following is not None and following.start() < closing.start()):
            raise UsageError(f"{file}, line {line}: {opening[0]} is not closed by <!-- /onespec:table -->.")
        run = known.get(opening["run"])
        if run is None:
            continue
        generated = f"\n{table(run, opening['workload'])}\n{_caption(run)}\n"
        pieces += [text[at : opening.end()], generated]
        at = closing.start()
        replaced.append(f"{run.name} {opening['workload']}")
    absent = [name for name in known if not any(entry.split()[0] == name for entry in replaced)]
    if absent:
        raise UsageError(
            f"{file} has no place for a table of {words.listed(absent)}. Add the two lines\n"
            f"  <!-- onespec:table {absent[0]} {known[absent[0]].workloads[0]} -->\n  <!-- /onespec:table -->"
        )
    _write(file, "".join([*pieces, text[at:]]))
    return replaced


def _caption(run: Run) -> str:
    warnings = "".join(f"**{warning}** " for warning in words.warnings(run))
    told = filter(None, [words.control(run), words.method(run), words.planned(run)])
    return f"{warnings}Run `{run.name}` ({words.made(run)}). {' '.join(told)}"


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OnespecError(f"cannot write {file}: {error.strerror}.") from error
