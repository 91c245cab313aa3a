"""`onespec report`: recorded runs as HTML, Markdown, figures and CSV."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import unknown

if TYPE_CHECKING:
    from harness.analyse.run import Run

HELP = "write the report of recorded runs: HTML, Markdown, figures, CSV"
EXAMPLE = "onespec report results/quick-20260102-030405 -o report"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's name, or its folder")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="where to write (default: reports/RUN)"
    )
    parser.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help="also put the runs' tables between the onespec:table markers of FILE",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the report and say where it is."""
    from harness import paths
    from harness.report import write
    from harness.report.markdown import update_readme

    runs = [_load(text) for text in arguments.runs]
    output = arguments.output or paths.root() / "reports" / "+".join(run.name for run in runs)
    page = write(runs, output)
    print(page)
    if arguments.readme is not None:
        for replaced in update_readme(arguments.readme, runs):
            print(f"{arguments.readme}: table of {replaced}")
    return 0


def _load(text: str) -> Run:
    """The run in the folder `text`, or of that name among the recorded ones."""
    from harness import paths
    from harness.analyse.run import load

    folder = Path(text)
    if folder.is_dir():
        return load(folder)
    results = paths.root() / "results"
    named = results / text
    if folder.name == text and named.is_dir():
        return load(named)
    recorded = sorted(file.parent.name for file in results.glob("*/run.json"))
    raise unknown("run", text, recorded)
