"""`onespec data`: which data sets there are, downloading them, and checking what is here."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import OnespecError, UsageError

if TYPE_CHECKING:
    from harness.data.catalogue import DataSet

HELP = "list, download or check the data sets"
EXAMPLE = "onespec data fetch mnist"


ACTIONS = {
    "list": "what there is, and where",
    "fetch": "download what is missing",
    "check": "verify the checksums of what is here",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's actions and options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, explained in ACTIONS.items():
        action = actions.add_parser(
            name, help=explained, description=explained, epilog=f"example: onespec data {name} mnist"
        )
        action.add_argument("names", nargs="*", metavar="NAME", help="data sets (default: all)")
        action.add_argument(
            "--data-dir",
            type=Path,
            metavar="DIR",
            help="read files from DIR/NAME/FILE (nuclei: DIR/dsb2018-nuclei/FILE) or DIR/FILE before "
            "looking in the cache; never written to",
        )
        action.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 1 where a download or a check failed."""
    from harness.data.catalogue import CATALOGUE, named

    datasets = [named(name) for name in dict.fromkeys(arguments.names or CATALOGUE)]
    data_dir: Path | None = arguments.data_dir
    if data_dir is not None and not data_dir.is_dir():
        raise UsageError(f"--data-dir {data_dir}: there is no such folder")
    action = {"list": _list, "fetch": _fetch, "check": _check}[arguments.action]
    return action(datasets, data_dir, arguments.json)


def _print(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(row[column] or "")) for column in columns))
    Console().print(table)


def _list(datasets: list[DataSet], data_dir: Path | None, as_json: bool) -> int:
    from harness.data.files import locate, state

    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        row: dict[str, Any] = {
            "name": dataset.name,
            "examples": f"{dataset.train_examples:,} + {dataset.test_examples:,}",
            "shape": "x".join(str(size) for size in dataset.shape),
            "target": dataset.target,
            "licence": dataset.licence,
            "state": state(dataset, data_dir),
        }
        if as_json:
            located = [(file, *locate(dataset, file, data_dir)) for file in dataset.files]
            row |= {
                "title": dataset.title,
                "source": dataset.source,
                "examples": {"train": dataset.train_examples, "test": dataset.test_examples},
                "shape": list(dataset.shape),
                "classes": list(dataset.classes),
                "files": [
                    {
                        "name": file.name,
                        "bytes": file.bytes,
                        "sha256": file.sha256,
                        "path": None if path is None else str(path),
                    }
                    for file, _, path in located
                ],
            }
        rows.append(row)
    _print("Data sets", rows, ("name", "examples", "shape", "target", "licence", "state"), as_json)
    return 0


def _fetch(datasets: list[DataSet], data_dir: Path | None, as_json: bool) -> int:
    from harness.data.files import obtain
    from harness.data.shown import download_bars

    rows: list[dict[str, Any]] = []
    problems: list[OnespecError] = []
    with download_bars() as progress:
        for dataset in datasets:
            row: dict[str, Any] = {"name": dataset.name, "state": "embedded", "files": [], "problem": None}
            try:
                obtained = obtain(dataset, data_dir, progress)
            except OnespecError as error:
                problems.append(error)
                row |= {"state": "failed", "problem": str(error)}
            else:
                if obtained:
                    row |= {"state": "here", "files": [str(path) for path in obtained.values()]}
            rows.append(row)
    if not as_json:
        for row in rows:
            row["folders"] = ", ".join(sorted({str(Path(path).parent) for path in row["files"]}))
    _print("Fetched", rows, ("name", "state", "folders"), as_json)
    for problem in problems:
        print(f"onespec: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _check(datasets: list[DataSet], data_dir: Path | None, as_json: bool) -> int:
    from harness.data.files import check

    findings = [finding for dataset in datasets for finding in check(dataset, data_dir)]
    rows = [
        {
            "name": finding.dataset,
            "file": finding.file,
            "place": finding.place.value,
            "path": None if finding.path is None else str(finding.path),
            "checksum": _verdict(finding.problem, finding.path is None and finding.file != "(embedded)"),
            "problem": finding.problem,
        }
        for finding in findings
    ]
    _print("Checked", rows, ("name", "file", "place", "checksum"), as_json)
    wrong = [finding for finding in findings if finding.problem is not None]
    for finding in wrong:
        print(f"onespec: {finding.path or finding.dataset}: {finding.problem}", file=sys.stderr)
    return 1 if wrong else 0


def _verdict(problem: str | None, absent: bool) -> str | None:
    if absent:
        return None
    return "right" if problem is None else "wrong"
