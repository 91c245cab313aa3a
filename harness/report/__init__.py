"""From tables to pages: HTML, Markdown, figures and CSV of one or several runs. Nothing here computes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.analyse.run import Run


def write(runs: list[Run], output: Path) -> Path:
    """Write `index.html`, `report.md`, `summary.csv` and `figures/*.png` into `output`; returns the page.

    Raises `NothingMeasured` where no run has a record, `OnespecError` where the folder cannot be written.
    """
    from harness.report.page import write as write_page

    return write_page(runs, output)
