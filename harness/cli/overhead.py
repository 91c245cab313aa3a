"""`onespec overhead`: what the harness adds to a step, against scripts written by hand."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import choice
from harness.cli.carry import carry_out, reopen, report
from harness.errors import NothingMeasured

if TYPE_CHECKING:
    from harness.cli.progress import Display
    from harness.execute.request import Request
    from harness.execute.run import Run
    from harness.execute.spent import Spent
    from harness.store import Store

HELP = "hold contenders against scripts of the same work written by hand (tests/handwritten)"
EXAMPLE = "onespec overhead vision -w resnet20 -b torch --blocks 12"

BLOCKS = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    choice.configure(parser)
    parser.add_argument(
        "--blocks",
        type=int,
        default=BLOCKS,
        metavar="N",
        help=f"rounds of fresh processes, of each contender and its script (default: {BLOCKS})",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder (default: results/<suite>-<time>)"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="finish an interrupted comparison")


def run(arguments: argparse.Namespace) -> int:
    """Compare: 0 where each ratio is at most 1.02, 1 where one is not, 3 where one could not be told."""
    from harness.execute.request import of_data

    if arguments.resume is not None:
        store = reopen(arguments.resume, "overhead")
        return _carry_out(of_data(store.meta()), store, None)
    request = choice.read(arguments, blocks=arguments.blocks, control="none")
    choice.check_device(request)
    return _carry_out(_with_scripts(request), None, arguments.out)


def _with_scripts(request: Request) -> Request:
    """Of the request what there are scripts for. Raises UsageError for a contender that lacks one."""
    from harness.plan.overhead import script, with_scripts

    names = with_scripts(workload.name for workload in request.workloads)
    for name in names:
        for contender in request.contenders:
            script(name, contender.backend.name)
    chosen = tuple(workload for workload in request.workloads if workload.name in names)
    return replace(request, workloads=chosen)


def _carry_out(request: Request, store: Store | None, out: Path | None) -> int:
    from rich.console import Console

    from harness.analyse.overhead import exit_code
    from harness.execute.overhead import OverheadRun
    from harness.execute.prepare import jobs_meta
    from harness.plan.overhead import overhead_jobs
    from harness.report.overhead import print_overhead

    # Nothing but steps is timed, and nothing trains by the recipe.
    protocol = replace(
        request.protocol,
        seeds=1,
        evaluate_passes=1,
        latency_batches=(),
        latency_seconds=0.001,
        ceilings=False,
    )
    request = replace(request, protocol=protocol)
    jobs = overhead_jobs(
        [workload.name for workload in request.workloads],
        [str(contender) for contender in request.contenders],
        blocks=protocol.blocks,
        seed=request.seed,
    )

    def work(current: Run, shown: Display, spent: Spent) -> None:
        shown.expect(len(jobs), current.store.finished())
        with spent.on("jobs"):
            current.execute(jobs)

    more = {"jobs": jobs_meta(jobs)}
    finished = carry_out(request, work, command="overhead", store=store, out=out, more=more, runs=OverheadRun)
    found = report(finished.store, lambda run: print_overhead(run, Console()))
    if found.overheads is None or not found.processes["step_seconds"].notna().any():
        raise NothingMeasured("no contender was measured: see the reasons above")
    return exit_code(found.overheads)
