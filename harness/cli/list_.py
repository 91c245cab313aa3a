"""`onespec list`: what there is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

HELP = "list suites, workloads, backends, data sets or runs"
EXAMPLE = "onespec list backends"

Row = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("what", nargs="?", choices=sorted(LISTS), help="what to list (default: everything)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    """Print one table, or all."""
    chosen = [arguments.what] if arguments.what else list(LISTS)
    found = {name: LISTS[name]() for name in chosen}
    if arguments.json:
        print(json.dumps(found[arguments.what] if arguments.what else found, indent=1))
        return 0
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, rows in found.items():
        if not rows:
            console.print(f"no {name} yet")
            continue
        table = Table(*rows[0], title=name, title_justify="left", box=None, title_style="bold")
        for row in rows:
            table.add_row(*["" if value is None else str(value) for value in row.values()])
        console.print(table)
        console.print()
    return 0


def _suites() -> list[Row]:
    from harness.plan.suite import find_suite, read_suite, suite_names

    return [
        {
            "suite": name,
            "workloads": len(suite.workload),
            "contenders": len(suite.contenders),
            "title": suite.title,
        }
        for name in suite_names()
        for suite in [read_suite(find_suite(name)).suite]
    ]


def _workloads() -> list[Row]:
    from harness.plan.suite import find_suite, read_suite, suite_names
    from harness.plan.workloads import workloads

    return [
        {
            "workload": workload.name,
            "suite": name,
            "data": workload.spec.data.name,
            "parameters": workload.spec.program.count(),
            "batch": workload.batch_size,
            "epochs": workload.spec.recipe.epochs,
            "title": workload.title,
        }
        for name in suite_names()
        for workload in workloads(read_suite(find_suite(name)))
    ]


def _backends() -> list[Row]:
    from harness.catalogue import Contender, backends

    return [
        {
            "contender": str(Contender(backend, mode)),
            "framework": backend.title,
            "devices": " ".join(backend.devices),
            "what": mode.description,
        }
        for backend in backends().values()
        for mode in backend.modes.values()
    ]


def _datasets() -> list[Row]:
    from harness.data.catalogue import CATALOGUE
    from harness.data.files import state

    return [
        {
            "data set": dataset.name,
            "examples": f"{dataset.train_examples} + {dataset.test_examples}",
            "shape": " x ".join(map(str, dataset.shape)),
            "classes": len(dataset.classes),
            "state": state(dataset),
            "licence": dataset.licence,
        }
        for dataset in CATALOGUE.values()
    ]


def _runs() -> list[Row]:
    from harness.errors import UsageError
    from harness.execute.prepare import results_folder
    from harness.store import Store

    rows = []
    for path in sorted(results_folder().glob("*/run.json")):
        store = Store(path.parent)
        try:
            meta = store.meta()
            facts = {
                "created": meta["created"],
                "suite": meta["suite"]["name"],
                "contenders": len(meta["contenders"]),
                "records": f"{store.finished()} of {len(meta['jobs'])}",
            }
        except (OSError, UsageError, LookupError, TypeError) as error:
            facts = {**dict.fromkeys(("created", "suite", "contenders")), "records": f"unreadable: {error}"}
        rows.append({"run": path.parent.name, **facts})
    return rows


LISTS: dict[str, Callable[[], list[Row]]] = {
    "suites": _suites,
    "workloads": _workloads,
    "backends": _backends,
    "datasets": _datasets,
    "runs": _runs,
}
