"""Two processes take turns: never both at once, and neither waits for one that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import paths
from harness.worker.turns import FOLLOWS, LEADS, VARIABLE, WARM_UP_BLOCKS, Turns

SCRIPT = """
import sys
from time import perf_counter

name, log, blocks = sys.argv[1], sys.argv[2], int(sys.argv[3])
assert sys.path[0] == __file__.rpartition("/")[0]
for block in range(2 + blocks):
    with open(log, "a") as file:
        file.write(f"{name}{block} stages\\n")
    start = perf_counter()
    sum(range(200_000))
    with open(log, "a") as file:
        file.write(f"{name}{block} ran\\n")
    assert perf_counter() > start
"""


def pair(folder: Path, blocks: tuple[int, int]) -> list[str]:
    """What two scripts wrote, of so many blocks each."""
    (folder / "script.py").write_text(SCRIPT)
    log = folder / "log"
    (one_reads, other_writes), (other_reads, one_writes) = os.pipe(), os.pipe()
    ends = {"a": (one_reads, one_writes, LEADS), "b": (other_reads, other_writes, FOLLOWS)}
    running = []
    for (name, (read, write, role)), count in zip(ends.items(), blocks, strict=True):
        words = [str(folder / "script.py"), name, str(log), str(count)]
        environment = {**os.environ, "PYTHONPATH": str(paths.root()), VARIABLE: f"{read},{write},{role}"}
        command = [sys.executable, "-m", "harness.worker.turns", *words]
        running.append(subprocess.Popen(command, env=environment, pass_fds=(read, write)))
    for read, write, _ in ends.values():
        os.close(read)
        os.close(write)
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    return log.read_text().split("\n")[:-1]


def test_a_turn_is_staging_and_a_block_and_the_leader_has_the_first(tmp_path: Path) -> None:
    wrote = pair(tmp_path, (3, 3))
    warm_up = 2 * WARM_UP_BLOCKS
    assert {line[0] for line in wrote[:warm_up]} == {"a"}
    assert {line[0] for line in wrote[warm_up : 2 * warm_up]} == {"b"}
    assert wrote[2 * warm_up :] == [
        f"{name}{block} {what}" for block in (2, 3, 4) for name in "ab" for what in ("stages", "ran")
    ]


@pytest.mark.parametrize("blocks", [(5, 2), (2, 5), (0, 3)])
def test_who_is_left_goes_on_alone(tmp_path: Path, blocks: tuple[int, int]) -> None:
    wrote = pair(tmp_path, blocks)
    for name, count in zip("ab", blocks, strict=True):
        assert f"{name}{1 + count} ran" in wrote


def test_without_a_partner_every_turn_is_ones_own() -> None:
    turns = Turns(None)
    turns.begin()
    turns.next()
