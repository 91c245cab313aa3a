"""From the pilot's records to the number of blocks, written into `run.json` before the first block begins."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.execute.prepare import jobs_meta
from harness.execute.request import Request
from harness.plan.jobs import original
from harness.plan.precision import Cost, Goal, Plan, StepSeconds, plan, spreads
from harness.store import Record, Store

Observe = Callable[[Sequence[Mapping[str, Any]]], float]
"""From the `train_blocks` of a process to its seconds a step; NaN where it gives no observation."""


def fix_blocks(request: Request, store: Store, observe: Observe) -> Request:
    """The request with as many blocks as its pilot asks for; `run.json` says so from now on.

    `observe` takes of a process what the analysis of the run will take of it: the spread of anything else
    would promise another precision than the run can have.
    """
    assert request.goal is not None
    every = [record for record in store.records() if record["kind"] == "pilot"]
    last = list({record["job"]: record for record in every}.values())
    cost = _cost(request, every, last)
    made = plan(spreads(step_seconds(last, observe)), request.goal, cost, request.protocol.seeds)
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


def step_seconds(records: Iterable[Record], observe: Observe) -> StepSeconds:
    """What was observed of the processes that finished, without those that give no observation."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for record in records:
        if record["status"] != "ok":
            continue
        seconds = observe(record["measures"]["train_blocks"])
        if math.isfinite(seconds):
            contenders = found.setdefault(record["workload"], {})
            contenders.setdefault(record["contender"], {})[record["block"]] = seconds
    return found


def _spent(train_blocks: Sequence[Mapping[str, Any]]) -> float:
    """The median of all timed blocks: what a step takes of the budget, steady or not."""
    timed = [block for block in train_blocks if not block["warmup"]]
    return float(statistics.median(block["seconds"] / block["steps"] for block in timed))


def _cost(request: Request, every: Iterable[Record], last: Sequence[Record]) -> Cost:
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
        learning_seconds=math.fsum(_learning_seconds(request, step_seconds(last, _spent))),
        learning_blocks=request.protocol.seeds,
    )


def _learning_seconds(request: Request, spent: StepSeconds) -> Iterable[float]:
    for workload in request.workloads:
        steps = workload.steps_per_epoch * workload.spec.recipe.epochs
        found: Mapping[str, Mapping[int, float]] = spent.get(workload.name, {})
        for contender, blocks in found.items():
            if original(contender) == contender:
                yield steps * statistics.median(blocks.values())
