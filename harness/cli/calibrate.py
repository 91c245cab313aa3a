"""`onespec calibrate`: does the instrument, here and now, find what is there and nothing else?"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import amounts, choice
from harness.cli.carry import carry_out, reopen, report
from harness.errors import NothingMeasured, UsageError

if TYPE_CHECKING:
    from harness.cli.progress import Display
    from harness.execute.request import Request
    from harness.execute.run import Run
    from harness.execute.spent import Spent
    from harness.store import Store

HELP = "check the instrument: equals that differ, planted slowdowns, a memory load of known size"
EXAMPLE = "onespec calibrate -b torch --budget 30m"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    choice.configure(parser, default_suite="calibrate")
    parser.add_argument(
        "--blocks", type=int, metavar="N", help="rounds of seven fresh processes (default: the suite's 24)"
    )
    parser.add_argument(
        "--budget",
        type=amounts.seconds,
        metavar="TIME",
        help="in place of --blocks: as many as fit this time (10m, 2h)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder (default: results/<suite>-<time>)"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="finish an interrupted calibration")


def run(arguments: argparse.Namespace) -> int:
    """Calibrate: 0 where every check passed, 1 where one failed, 3 where one could not be told."""
    from harness.execute.request import of_data

    if arguments.resume is not None:
        store = reopen(arguments.resume, "calibrate")
        return _carry_out(of_data(store.meta()), store, None, None)
    if arguments.blocks is not None and arguments.budget is not None:
        raise UsageError("--blocks says how many blocks; --budget plans them: give only one of them")
    request = choice.read(arguments, blocks=arguments.blocks, control="none")
    choice.check_device(request)
    if len(request.workloads) > 1 or len(request.contenders) > 1:
        raise UsageError("a calibration has one contender and one workload; choose them with -b and -w")
    return _carry_out(request, None, arguments.out, arguments.budget)


def _carry_out(request: Request, store: Store | None, out: Path | None, budget: float | None) -> int:
    from functools import partial

    from rich.console import Console

    from harness.execute.calibration import blocks_within
    from harness.execute.prepare import jobs_meta
    from harness.plan.calibration import LEAST_BLOCKS, Design, calibration_jobs, design
    from harness.report.calibration import print_calibration

    ((workload,), (contender,)) = request.workloads, request.contenders
    if store is None:
        made = design(str(contender))
        blocks = None if budget else request.protocol.blocks
        asked = {**asdict(made), "budget_seconds": budget}
    else:
        asked, blocks = store.meta()["calibration"], store.meta()["blocks"]
        made = Design.of_data(asked)
    budget = asked["budget_seconds"]
    planned = partial(calibration_jobs, made, workload.name, seed=request.seed, pilot=budget is not None)

    def work(current: Run, shown: Display, spent: Spent) -> None:
        with spent.on("jobs"):
            if blocks is None:
                shown.expect(len(planned(blocks=0)), current.store.finished())
                current.execute(planned(blocks=0))
                fit = blocks_within(current.store, budget, LEAST_BLOCKS)
                current.store.amend({"blocks": fit, "jobs": jobs_meta(planned(blocks=fit))})
                shown.say(f"{fit} blocks are to come")
            jobs = planned(blocks=current.store.meta()["blocks"])
            shown.expect(len(jobs), current.store.finished())
            current.execute(jobs)

    more = {"calibration": asked, "blocks": blocks, "jobs": jobs_meta(planned(blocks=blocks or 0))}
    finished = carry_out(request, work, command="calibrate", store=store, out=out, more=more)
    found = report(finished.store, lambda run: print_calibration(run, Console()))
    if found.calibration is None or not found.processes["step_seconds"].notna().any():
        reasons = {record["reason"] for record in finished.records.values() if record["reason"]}
        raise NothingMeasured(f"{contender} was not measured: {'; '.join(sorted(reasons))}")
    return found.calibration.exit_code
