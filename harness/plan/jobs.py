"""The processes of a run: which contender, in which workload, for what, and in which turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["verify", "memory", "measure"]


@dataclass(frozen=True)
class PlannedJob:
    """One process to run. `block` and `turn` are those of a measurement: the round, and the place in it."""

    kind: Kind
    workload: str
    contender: str
    seed: int
    block: int | None = None
    turn: int | None = None
    learn: bool = False

    @property
    def id(self) -> str:
        """The job's name, one of its kind in a run."""
        parts = [self.workload, self.contender, self.kind]
        return "/".join(parts if self.block is None else [*parts, str(self.block)])


def plan_jobs(
    workloads: list[str], contenders: list[str], *, blocks: int, seeds: int, seed: int
) -> list[PlannedJob]:
    """All the jobs of a run in their order: proofs, then memory, then blocks of measurements.

    In each block every contender has one turn in each workload, in an order drawn anew from `seed`. Block b
    starts from the weights and batches of seed `seed + b` and trains by the recipe, as long as b < `seeds`;
    later blocks only time, with the first seed.
    """
    single: tuple[Kind, ...] = ("verify", "memory")
    jobs = [
        PlannedJob(kind, workload, contender, seed)
        for kind in single
        for workload in workloads
        for contender in contenders
    ]
    for block in range(blocks):
        learn = block < seeds
        for number, workload in enumerate(workloads):
            random = np.random.Generator(np.random.PCG64([seed, block, number]))
            for turn, index in enumerate(random.permutation(len(contenders))):
                replicate = seed + block if learn else seed
                jobs.append(PlannedJob("measure", workload, contenders[index], replicate, block, turn, learn))
    return jobs
