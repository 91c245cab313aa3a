"""`onespec run`: prove, measure, record, report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli import amounts, choice
from harness.cli.carry import carry_out, reopen, report
from harness.errors import NothingMeasured, UsageError

if TYPE_CHECKING:
    from harness.cli.progress import Display
    from harness.execute.request import Request
    from harness.execute.run import Run
    from harness.execute.spent import Spent
    from harness.store import Store

HELP = "run a suite: prove each contender, measure those that are proven, write records and a report"
EXAMPLE = "onespec run quick -b torch -b jax:scan --blocks 5"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    choice.configure(parser)
    parser.add_argument(
        "--blocks", type=int, metavar="N", help="rounds of fresh processes (default: the suite's)"
    )
    parser.add_argument(
        "--precision",
        type=amounts.share,
        metavar="SHARE",
        help="in place of --blocks: as many as make every ratio's 95 %% interval so narrow, as in 3%%",
    )
    parser.add_argument(
        "--budget",
        type=amounts.seconds,
        metavar="TIME",
        help="in place of --blocks: no more than fit this time (90s, 10m, 2h); alone, as many as do",
    )
    parser.add_argument(
        "--control",
        metavar="CONTENDER",
        help="who enters twice, to check the run itself: a contender, first or none (default: the suite's)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder (default: results/<suite>-<time>)"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="finish an interrupted run")
    parser.add_argument("--dry-run", action="store_true", help="say which jobs would run, and stop")


def run(arguments: argparse.Namespace) -> int:
    """Run the suite, or finish a run."""
    from harness.execute.request import of_data
    from harness.plan.precision import Goal

    if arguments.resume is not None:
        if arguments.suite is not None:
            raise UsageError("--resume finishes a run as it was asked for; leave the suite out")
        store = reopen(arguments.resume, "run")
        return _carry_out(of_data(store.meta()), store, None)
    goal = None
    if arguments.precision is not None or arguments.budget is not None:
        goal = Goal(arguments.precision, arguments.budget)
    request = choice.read(arguments, blocks=arguments.blocks, control=arguments.control, goal=goal)
    if arguments.dry_run:
        return _describe(request)
    choice.check_device(request)
    return _carry_out(request, None, arguments.out)


def _describe(request: Request) -> int:
    jobs = request.jobs()
    for job in jobs:
        print(job.id)
    blocks = f"{request.protocol.blocks} blocks" if request.planned else "blocks as the pilot asks for"
    print(
        f"{len(jobs)} jobs: {len(request.workloads)} workloads x {len(request.contenders)} contenders, "
        f"{blocks}, on {request.device} with {request.threads} threads"
    )
    return 0


def _carry_out(request: Request, store: Store | None, out: Path | None) -> int:
    from rich.console import Console

    from harness.analyse.steady import observation
    from harness.execute.ceilings import measure_ceilings
    from harness.execute.planning import fix_blocks
    from harness.report.console import print_summary

    def work(current: Run, shown: Display, spent: Spent) -> None:
        jobs, store = request.jobs(), current.store
        shown.expect(len(jobs), store.finished())
        with spent.on("jobs"):
            current.execute(jobs, ("verify", "memory"))
        shown.step("what this machine can do")
        with spent.on("ceilings"):
            measure_ceilings(request, store)
        with spent.on("jobs"):
            current.execute(jobs)
            if not request.planned:
                jobs = fix_blocks(request, store, observation).jobs()
                shown.say(_planned(store.meta()["plan"]))
                shown.expect(len(jobs), store.finished())
                current.execute(jobs)

    finished = carry_out(request, work, command="run", store=store, out=out)
    report(finished.store, lambda found: print_summary(found, Console()))
    return _verdict(finished)


def _planned(plan: dict[str, Any]) -> str:
    why = {
        "precision": "they suffice for the precision",
        "budget": "no more fit the budget",
        "least": "the fewest that there can be",
        "most": "the most that are made",
    }[plan["decided_by"]]
    width = "unknown" if plan["half_width"] is None else f"{plan['half_width']:.1%}"
    return f"{plan['blocks']} blocks are to come: {why} (expected half-width of the widest interval: {width})"


def _verdict(finished: Run) -> int:
    records = finished.records.values()
    if not any(record["kind"] == "measure" and record["status"] == "ok" for record in records):
        raise NothingMeasured("no contender was measured: see the reasons above")
    return int(any(record["status"] not in ("ok", "unsupported") for record in records))
