"""The processes of a calibration: one contender under several names, to some of which a disturbance of known
size is added (`harness.worker.planted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.plan.jobs import MARK, Kind, PlannedJob, memory_jobs, turns
from harness.worker.job import Planted

COPIES = 4
"""Entries that are the same: two pairs a block that have no process in common."""
SLOWDOWNS = (0.03, 0.05, 0.10)
MEMORY_BYTES = 2**29
MEMORY_PASSES = 4
LEAST_BLOCKS = 15
"""Fewer make too few runs for a wrong rate to show (`harness.analyse.calibration`)."""


@dataclass(frozen=True)
class Pair:
    """Two entries whose step times are compared: the second's is longer by the share `truth`."""

    first: str
    second: str
    truth: float


@dataclass(frozen=True)
class Design:
    """What enters: `copies`, pairs of them and of others with a slowdown planted, no two pairs of one truth
    with an entry in common; and `loaded`, which holds `memory_bytes` besides.
    """

    copies: tuple[str, ...]
    pairs: tuple[Pair, ...]
    loaded: str
    memory_bytes: int

    @property
    def entered(self) -> dict[str, Planted | None]:
        """What each entry of a block has planted."""
        slowed = {pair.second: Planted(slowdown=pair.truth) for pair in self.pairs if pair.truth}
        return {**dict.fromkeys(self.copies), **slowed}

    @staticmethod
    def of_data(data: dict[str, Any]) -> Design:
        """From `run.json`."""
        pairs = tuple(Pair(**pair) for pair in data["pairs"])
        return Design(tuple(data["copies"]), pairs, data["loaded"], data["memory_bytes"])


def design(contender: str) -> Design:
    """The design for a contender."""
    copies = (contender, *(f"{contender}{MARK}{number}" for number in range(2, COPIES + 1)))
    equal = [Pair(first, second, 0.0) for first, second in zip(copies[::2], copies[1::2], strict=True)]
    slowed = [
        Pair(copy, f"{contender}{MARK}slower-{100 * share:g}", share)
        for copy, share in zip(copies, SLOWDOWNS, strict=False)
    ]
    return Design(copies, (*equal, *slowed), f"{contender}{MARK}loaded", MEMORY_BYTES)


def calibration_jobs(
    made: Design, workload: str, *, blocks: int, seed: int, pilot: bool = False
) -> list[PlannedJob]:
    """The proof of the one contender; memory passes with and without the load; a block that tells what blocks
    cost (`pilot`) and does not count; and the blocks, in each of which every entry has one turn, in random
    order. Nothing trains by the recipe.
    """
    contender = made.copies[0]
    jobs = [PlannedJob("verify", workload, contender, seed)]
    held = {contender: None, made.loaded: Planted(memory_bytes=made.memory_bytes)}
    jobs += memory_jobs([workload], held, MEMORY_PASSES, seed)
    kinds: Sequence[tuple[Kind, int, int]] = (("pilot", int(pilot), 1), ("measure", blocks, 0))
    for kind, count, stream in kinds:
        for number in range(count):
            order = turns([*made.entered], seed, number, stream)
            jobs += _block(kind, workload, made.entered, number, order, seed)
    return jobs


def _block(
    kind: Kind,
    workload: str,
    entered: dict[str, Planted | None],
    number: int,
    order: Sequence[str],
    seed: int,
) -> list[PlannedJob]:
    return [
        PlannedJob(kind, workload, name, seed, number, turn, planted=entered[name])
        for turn, name in enumerate(order)
    ]
