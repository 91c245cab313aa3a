"""What a calibration found, as a table and a sentence, for the page and the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.text import Text

from harness.analyse.calibration import MEMORY_MARGIN, Calibration, Check
from harness.analyse.run import Run
from harness.report import words
from harness.report.columns import Cell, Grid
from harness.report.console import rich_grid
from harness.report.numbers import ABSENT, percent, probability, signed, span

_TITLES = ("Check", "Blocks", "Measured (95 %)", "Held to", "Seen", "p", "Outcome")


def grid(found: Calibration) -> Grid:
    """One row a check."""
    return Grid(_TITLES, tuple(_row(check) for check in found.checks), (1, 2, 3, 5))


def sentence(found: Calibration) -> str:
    """What came of it, and what that is worth."""
    count = {
        outcome: [check for check in found.checks if check.outcome == outcome]
        for outcome in ("passed", "failed", "not told")
    }
    judged = sum(map(len, count.values()))
    told = f"Of {judged} checks {len(count['passed'])} passed"
    told += f", {len(count['failed'])} failed" if count["failed"] else ""
    told += f", {len(count['not told'])} could not be told" if count["not told"] else ""
    rates = [
        check.findable
        for check in found.checks
        if check.outcome == "passed" and check.kind in ("equals", "coverage")
    ]
    if rates:
        told += (
            f". A rate of errors of {percent(max(rates))} in place of 5 % would have failed 80 % of such "
            "calibrations, a smaller one fewer: to find it takes more blocks"
        )
    if found.unsteady:
        told += f". {found.unsteady} of {found.processes} processes had no steady state and are in no pair"
    return (
        f"{told}. Runs are made of so many blocks one after the other, none of which two runs of a pair "
        "share; intervals of rates are Clopper and Pearson's. A check fails at 5 % by Holm over all of them."
    )


def print_calibration(run: Run, console: Console) -> None:
    """The table and the sentence."""
    found = run.calibration
    if found is None:
        return
    for warning in words.warnings(run):
        console.print(Text(f"note: {warning}"), style="yellow")
    console.print()
    console.print(rich_grid(grid(found)))
    style = {0: "green", 1: "red", 3: "yellow"}[found.exit_code]
    console.print(Text(sentence(found)), style=style)


def _row(check: Check) -> tuple[Cell, ...]:
    name, limit, seen = _words(check)
    if check.kind == "memory":
        value, low, high = (signed(100 * number, 2) for number in (check.value, check.low, check.high))
        measured = Cell(f"{value} %", span(low, high))
    elif check.kind == "estimate":
        value, low, high = (_share(number) for number in (check.value, check.low, check.high))
        measured = Cell(value, span(low, high))
    else:
        measured = Cell(percent(check.value), span(percent(check.low), percent(check.high)))
    return (
        Cell(name),
        Cell("" if check.kind == "memory" else str(check.blocks)),
        measured,
        Cell(limit),
        Cell(seen),
        Cell(probability(check.p)),
        Cell(check.outcome, check.why or ""),
    )


def _share(number: float) -> str:
    return ABSENT if math.isnan(number) else f"{signed(100 * number, 2)} %"


def _words(check: Check) -> tuple[str, str, str]:
    """The check's name, what it is held to, and what was seen."""
    counted = f"{check.found} of {check.tried} runs"
    planted = percent(check.truth)
    if check.kind == "equals":
        smooth = "" if math.isnan(check.smooth) else f"; {percent(check.smooth)} of random draws of blocks"
        return "equals told apart", "5 %", counted + smooth
    if check.kind == "coverage":
        return "interval misses slowdown", "5 %", counted
    if check.kind == "detection":
        expected = f"; {percent(check.smooth)} to be expected at this spread"
        return f"slowdown of {planted} found", "", counted + expected
    if check.kind == "estimate":
        what = f"slowdown of {planted}" if check.truth else "equals"
        return f"{what}: difference", planted if check.truth else "0 %", ""
    mib = f"{check.truth / 2**20:,.0f} MiB"
    return f"memory load of {mib}: error", f"{100 * MEMORY_MARGIN:g} %", f"{check.tried} pairs of passes"
