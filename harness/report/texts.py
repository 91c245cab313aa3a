"""The table of generated texts: what each contender makes of the first test examples."""

from __future__ import annotations

from harness.analyse.run import Run
from harness.report.columns import Cell, Grid
from harness.report.pictures import chosen


def texts(run: Run, workload: str) -> Grid | None:
    """Each example as it was given, as it truly is, and as each contender has it; None where the run has kept
    no texts of the workload.
    """
    shown = chosen(run, workload)
    if not shown.kept or shown.first.kind != "texts":
        return None
    arrays = shown.first.arrays
    given, true = ("given", "reference") if arrays["translated"] else ("beginning", "the text's own end")
    lines = {given: arrays["given"], true: arrays["truth"], **shown.of("found")}
    rows = tuple(
        (Cell(str(place + 1)), Cell(name), Cell(str(each[place])))
        for place in range(len(arrays["given"]))
        for name, each in lines.items()
    )
    return Grid(("Test text", "What, or by whom", f"At seed {shown.first.seed}, greedily"), rows, (), (2,))
