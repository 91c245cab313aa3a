"""From the pilot's records to the number of blocks, written into `run.json` before the first block begins."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from harness.execute.prepare import jobs_meta
from harness.execute.request import Request
from harness.plan.jobs import original
from harness.plan.precision import Cost, Goal, Plan, StepSeconds, plan, spreads
from harness.store import Record, Store


def fix_blocks(request: Request, store: Store) -> Request:
    """The request with as many blocks as its pilot asks for; `run.json` says so from now on."""
    assert request.goal is not None
    every = [record for record in store.records() if record["kind"] == "pilot"]
    last = list({record["job"]: record for record in every}.values())
    step_seconds = _step_seconds(last)
    cost = _cost(request, every, last, step_seconds)
    made = plan(spreads(step_seconds), request.goal, cost, request.protocol.seeds)
    fixed = request.with_blocks(made.blocks)
    store.amend(
        {"plan": plan_meta(request.goal, made, cost), "blocks": made.blocks, "jobs": jobs_meta(fixed.jobs())}
    )
    return fixed


def plan_meta(goal: Goal, made: Plan, cost: Cost) -> dict[str, Any]:
    """The plan for `run.json`."""
    return {
        **asdict(goal),
        **{name: value for name, value in asdict(made).items() if name != "spreads"},
        "cost": asdict(cost),
        "spreads": [asdict(spread) for spread in made.spreads],
    }


def _step_seconds(records: Iterable[Record]) -> StepSeconds:
    found: dict[str, dict[str, dict[int, float]]] = {}
    for record in records:
        if record["status"] == "ok":
            timed = [block for block in record["measures"]["train_blocks"] if not block["warmup"]]
            seconds = statistics.median(block["seconds"] / block["steps"] for block in timed)
            contenders = found.setdefault(record["workload"], {})
            contenders.setdefault(record["contender"], {})[record["block"]] = seconds
    return found


def _cost(
    request: Request, every: Iterable[Record], last: Iterable[Record], step_seconds: StepSeconds
) -> Cost:
    """A process costs what its like cost in the pilot. A record made of a result that was left by an
    interrupted run does not know its time.
    """
    spent = math.fsum(record["wall_seconds"] or 0.0 for record in every)
    cold: dict[tuple[str, str], float] = {}
    warm: dict[tuple[str, str], list[float]] = {}
    for record in last:
        if record["wall_seconds"] is None:
            continue
        pair = record["workload"], record["contender"]
        if record["block"] == 0:
            cold[pair] = record["wall_seconds"]
        else:
            warm.setdefault(pair, []).append(record["wall_seconds"])
    later = {pair: statistics.fmean(warm.get(pair) or [cold[pair]]) for pair in {*cold, *warm}}
    return Cost(
        spent_seconds=spent,
        block_seconds=math.fsum(later.values()),
        cold_seconds=math.fsum(max(0.0, seconds - later[pair]) for pair, seconds in cold.items()),
        learning_seconds=math.fsum(_learning_seconds(request, step_seconds)),
        learning_blocks=request.protocol.seeds,
    )


def _learning_seconds(request: Request, step_seconds: StepSeconds) -> Iterable[float]:
    for workload in request.workloads:
        steps = workload.steps_per_epoch * workload.spec.recipe.epochs
        found: Mapping[str, Mapping[int, float]] = step_seconds.get(workload.name, {})
        for contender, blocks in found.items():
            if original(contender) == contender:
                yield steps * statistics.median(blocks.values())
