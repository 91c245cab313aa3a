"""`onespec show`: one run, one workload's spec, or one backend."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import unknown

if TYPE_CHECKING:
    from harness.catalogue import Backend
    from harness.plan.workloads import Workload

HELP = "show a run, a workload's spec, or a backend"
EXAMPLE = "onespec show digits-mlp"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("thing", metavar="THING", help="a run's name or folder, a workload, or a backend")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    """Find out what the name means, and show it."""
    from harness.catalogue import backends
    from harness.execute.prepare import results_folder
    from harness.plan.suite import find_suite, read_suite, suite_names
    from harness.plan.workloads import workloads

    name: str = arguments.thing
    runs = {path.parent.name: path.parent for path in results_folder().glob("*/run.json")}
    if (Path(name) / "run.json").is_file():
        return _show_run(Path(name), arguments.json)
    if name in runs:
        return _show_run(runs[name], arguments.json)
    known = backends()
    if name in known:
        return _show_backend(known[name], arguments.json)
    found = {
        workload.name: workload
        for suite in suite_names()
        for workload in workloads(read_suite(find_suite(suite)))
    }
    if name in found:
        return _show_workload(found[name], arguments.json)
    raise unknown("run, workload or backend", name, [*runs, *known, *found])


def _show_run(folder: Path, as_json: bool) -> int:
    from rich.console import Console

    from harness.analyse.run import load
    from harness.report.console import print_summary

    found = load(folder)
    if as_json:
        print(found.summary.to_json(orient="records", indent=1))
        return 0
    console = Console()
    console.print(
        f"{folder.name}: {' '.join(found.meta['command'])}  "
        f"({found.meta['created']}, {found.meta['device']}, "
        f"{found.meta['threads']} threads, {len(found.records)} of {len(found.meta['jobs'])} jobs recorded)",
        highlight=False,
    )
    print_summary(found, console)
    return 0


def _show_backend(backend: Backend, as_json: bool) -> int:
    from harness.catalogue import Contender

    modes = {str(Contender(backend, mode)): mode.description for mode in backend.modes.values()}
    if as_json:
        data = {"name": backend.name, "title": backend.title, "devices": backend.devices}
        print(json.dumps({**data, "contenders": modes}, indent=1))
        return 0
    devices = ", ".join(backend.devices)
    print(f"{backend.title}: package {backend.package}, Python {backend.python}, on {devices}")
    for contender, description in modes.items():
        print(f"  {contender:26} {description}")
    print(f"  more in {backend.folder / 'README.md'}")
    return 0


def _show_workload(workload: Workload, as_json: bool) -> int:
    from rich.console import Console
    from rich.table import Table

    from harness.spec import codec

    if as_json:
        print(json.dumps(codec.encode(workload.spec), indent=1))
        return 0
    program = workload.spec.program
    console = Console()
    console.print(f"{workload.name}: {workload.title}", highlight=False)
    for model_name, model in program.models.items():
        table = Table("node", "layer", "output", "parameters", "FLOPs", box=None, title=model_name)
        for node, incoming, shape in model.walk():
            tensors = node.layer.parameters(*incoming)
            words = "  ".join(f"{name} {'x'.join(map(str, p.shape))}" for name, p in tensors.items())
            flops = node.layer.flops(*incoming)
            table.add_row(
                node.name, codec.name_of(node.layer), " x ".join(map(str, shape)), words, f"{flops:,}"
            )
        console.print(table)
    for update in program.updates:
        losses = " + ".join(codec.name_of(term.loss) for term in [*update.terms])
        penalties = "".join(f" + {codec.name_of(penalty)}({penalty.rate:g})" for penalty in update.penalties)
        console.print(f"update {update.name}: {losses}{penalties}, {update.optimizer}", highlight=False)
    spec = workload.spec
    console.print(
        f"data {spec.data.name}, {workload.train_examples} training examples, batch {workload.batch_size}, "
        f"{workload.steps_per_epoch} steps an epoch, {spec.recipe.epochs} epochs; "
        f"{program.count():,} parameters, {program.flops():,} FLOPs an example",
        highlight=False,
    )
    return 0
