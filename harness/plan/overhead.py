"""The processes of a comparison with scripts written by hand: what does the harness add to a step?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import paths
from harness.errors import UsageError
from harness.plan.jobs import MARK, PlannedJob, turns

BY_HAND = f"{MARK}by-hand"
"""What the name of a contender's script ends in."""


def scripts_folder() -> Path:
    """Where the scripts are: `<workload>/<backend>.py`."""
    return paths.root() / "tests" / "handwritten"


def script(workload: str, backend: str) -> Path:
    """The script of a workload for a backend. Raises UsageError where nobody has written it."""
    found = scripts_folder() / workload / f"{backend}.py"
    if not found.is_file():
        raise UsageError(
            f"there is no script to hold {backend} against: {found.relative_to(paths.root())}. "
            "Write it as that one's users would, after those beside it, or choose other contenders with -b"
        )
    return found


def with_scripts(workloads: Iterable[str]) -> list[str]:
    """Those of the workloads that scripts were written for. Raises UsageError where there is none."""
    known = sorted(folder.name for folder in scripts_folder().iterdir() if folder.is_dir())
    chosen = [name for name in workloads if name in known]
    if not chosen:
        raise UsageError(f"no workload chosen has scripts written by hand; there are {', '.join(known)}")
    return chosen


def overhead_jobs(
    workloads: Sequence[str], contenders: Sequence[str], *, blocks: int, seed: int
) -> list[PlannedJob]:
    """The proofs; one measurement each that tells how many steps fill a block (`pilot`), and does not count;
    and the blocks, in each of which every contender and its script have their turns one after the other, the
    contenders in random order, and which of the two comes first drawn too.
    """
    jobs = [PlannedJob("verify", workload, name, seed) for workload in workloads for name in contenders]
    jobs += [
        PlannedJob("pilot", workload, name, seed, 0, turn)
        for workload in workloads
        for turn, name in enumerate(contenders)
    ]
    for block in range(blocks):
        for number, workload in enumerate(workloads):
            order = [
                entry
                for place, name in enumerate(turns(contenders, seed, block, number))
                for entry in turns([name, name + BY_HAND], seed, block, number, place)
            ]
            jobs += [
                PlannedJob("measure", workload, name, seed, block, turn) for turn, name in enumerate(order)
            ]
    return jobs
