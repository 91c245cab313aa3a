"""`onespec verify`: the proof alone."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli import choice
from harness.errors import NothingMeasured

if TYPE_CHECKING:
    from harness.execute.request import Request
    from harness.store import Record

HELP = "prove that each contender computes the spec, without measuring it"
EXAMPLE = "onespec verify quick -b keras:jax"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    choice.configure(parser, default_suite="quick")
    parser.add_argument("--tensors", action="store_true", help="every tensor's error, not only the worst")
    parser.add_argument("--json", action="store_true", help="the records, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Prove, and print what came of it."""
    request = choice.read(arguments, control="none")
    choice.check_device(request)
    records = _prove(request)
    if arguments.json:
        print(json.dumps(records, indent=1))
    else:
        _print(records, arguments.tensors)
    if not any(record["proof"] for record in records):
        raise NothingMeasured("no contender could be tried: see the reasons above")
    return int(any(record["status"] not in ("ok", "unsupported") for record in records))


def _prove(request: Request) -> list[Record]:
    from harness.cli.progress import display
    from harness.data.shown import download_bars
    from harness.execute import prepare
    from harness.execute.run import Run
    from harness.store import Store

    with tempfile.TemporaryDirectory(prefix="onespec-verify-") as folder:
        with download_bars() as downloads:
            data = prepare.data_of(request, downloads)
        store = Store.create(Path(folder) / "run", prepare.meta_of(request, data, "verify"))
        with display() as shown:
            entries = prepare.entries(request, shown.environment)
            ready = prepare.ready(request, data, store, shown.step)
            jobs = [job for job in request.jobs() if job.kind == "verify"]
            shown.expect(len(jobs), 0)
            current = Run(store, ready, entries, request.device, request.threads, request.protocol, shown.job)
            current.execute(jobs)
        return [current.records[job.id] for job in jobs]


def _print(records: list[Record], every_tensor: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("workload", "contender", "proof", "precision", "tensor", "error", "tolerance", box=None)
    for record in records:
        proof: dict[str, list[dict[str, Any]]] = record["proof"] or {}
        for precision, checks in sorted(proof.items()):
            for check in checks if every_tensor else checks[:1]:
                error = "not finite" if check["error"] is None else f"{check['error']:.1e}"
                passed = check["error"] is not None and check["error"] <= check["tolerance"]
                words = "[green]holds[/]" if passed else "[red]fails[/]"
                row = (precision, check["tensor"], error, f"{check['tolerance']:.1e}")
                table.add_row(record["workload"], record["contender"], words, *row)
        if not proof:
            table.add_row(record["workload"], record["contender"], f"[yellow]{record['status']}[/]")
    console.print(table)
    for record in records:
        if record["reason"]:
            console.print(f"{record['workload']}/{record['contender']}: {record['reason']}", markup=False)
