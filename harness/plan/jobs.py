"""The processes of a run: which contender, in which workload, for what, and in which turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.worker.job import Planted

Kind = Literal["verify", "memory", "pilot", "measure"]
KINDS: tuple[Kind, ...] = ("verify", "memory", "pilot", "measure")
TIMED: frozenset[Kind] = frozenset({"pilot", "measure"})
"""Those whose clocks count: each has the machine to itself."""

MARK = "~"
"""Begins what the name of a contender's further entry ends in."""
TWIN = f"{MARK}twin"
"""The control's end: the same thing measured twice."""


def original(contender: str) -> str:
    """The contender that a twin or another further entry is of; any other name as it is."""
    return contender.partition(MARK)[0]


@dataclass(frozen=True)
class PlannedJob:
    """One process to run. `block` and `turn` are those of a measurement or a memory pass: the round, and the
    place in it. `attempt` counts how often it was run before because something disturbed it. `planted` is a
    disturbance of known size.
    """

    kind: Kind
    workload: str
    contender: str
    seed: int
    block: int | None = None
    turn: int | None = None
    learn: bool = False
    attempt: int = 0
    planted: Planted | None = None

    @property
    def entered(self) -> str:
        """The contender that is run: of a further entry its original."""
        return original(self.contender)

    @property
    def id(self) -> str:
        """The job's name, one of its kind in a run."""
        parts = [self.workload, self.contender, self.kind]
        return "/".join(parts if self.block is None else [*parts, str(self.block)])


def plan_jobs(
    workloads: list[str],
    contenders: list[str],
    *,
    blocks: int,
    seeds: int,
    memory_passes: int,
    seed: int,
    control: str | None = None,
    pilot: int = 0,
) -> list[PlannedJob]:
    """All the jobs of a run in their order: proofs, then memory passes, then blocks of measurements.

    In each block every contender has one turn in each workload, in an order drawn anew from `seed`. Block b
    starts from the weights and batches of seed `seed + b` and trains by the recipe, as long as b < `seeds`;
    later blocks only time, with the first seed. The twin of the contender `control` has its turns among them,
    and among the memory passes; it is proven by its original, and never trains by the recipe. Before the
    blocks come `pilot` others, whose jobs are of a kind of their own and only time.
    """
    entered = contenders if control is None else [*contenders, control + TWIN]
    jobs = [
        PlannedJob("verify", workload, contender, seed) for workload in workloads for contender in contenders
    ]
    jobs += memory_jobs(workloads, dict.fromkeys(entered), memory_passes, seed)
    for block in range(pilot):
        for number, workload in enumerate(workloads):
            for turn, name in enumerate(turns(entered, seed, block, number, 1)):
                jobs.append(PlannedJob("pilot", workload, name, seed, block, turn))
    for block in range(blocks):
        replicate = seed + block if block < seeds else seed
        for number, workload in enumerate(workloads):
            for turn, name in enumerate(turns(entered, seed, block, number)):
                learn = block < seeds and not name.endswith(TWIN)
                jobs.append(PlannedJob("measure", workload, name, replicate, block, turn, learn))
    return jobs


def memory_jobs(
    workloads: Sequence[str], entered: Mapping[str, Planted | None], passes: int, seed: int
) -> list[PlannedJob]:
    """So many rounds of memory passes. In each every entry, with what it has planted, has one turn in each
    workload, in an order drawn anew from `seed`.
    """
    return [
        PlannedJob("memory", workload, name, seed, block, turn, planted=entered[name])
        for block in range(passes)
        for number, workload in enumerate(workloads)
        for turn, name in enumerate(turns([*entered], seed, block, number, 2))
    ]


def turns(entered: Sequence[str], *seed: int) -> list[str]:
    """The entries in an order drawn from the seed."""
    random = np.random.Generator(np.random.PCG64(list(seed)))
    return [entered[index] for index in random.permutation(len(entered))]
