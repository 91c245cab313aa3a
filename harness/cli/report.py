"""`onespec report`: recorded runs as HTML, Markdown, figures and CSV."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.recorded import load_run

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

    runs = [load_run(text) for text in arguments.runs]
    output = arguments.output or paths.root() / "reports" / "+".join(run.name for run in runs)
    page = write(runs, output)
    print(page)
    if arguments.readme is not None:
        for replaced in update_readme(arguments.readme, runs):
            print(f"{arguments.readme}: table of {replaced}")
    return 0
