"""The references of several workloads, computed side by side."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import OnespecError
from harness.execute.references import write_references
from harness.plan.proof_files import Due, save_arrays
from tests.proving_ground import PROGRAMS, arrays, initial


@dataclass(frozen=True)
class Killed(Due):
    """One whose process is killed, as a system does that has no memory left."""

    def write(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def due(folder: Path, name: str) -> Due:
    program = PROGRAMS[name]
    folder.mkdir(parents=True)
    save_arrays(folder / "weights.npz", initial(program))
    files = {}
    for array, values in arrays(program).items():
        files[array] = folder / f"{array}.npy"
        np.save(files[array], values)
    return Due(folder / "proof", program, folder / "weights.npz", files, 4)


def test_side_by_side_they_are_what_each_is_alone(tmp_path: Path) -> None:
    names = list(PROGRAMS)[:3]
    alone = {name: due(tmp_path / "alone" / name, name) for name in names}
    together = {name: due(tmp_path / "together" / name, name) for name in names}
    for one in alone.values():
        write_references({"alone": one}, 1, lambda text: None)
    told: list[str] = []
    write_references(together, 2, told.append)
    assert [text.partition(" of ")[2] for text in told] == ["", "3", "3", "3"]
    for name in names:
        mine, theirs = alone[name].folder, together[name].folder
        assert (mine / "tolerances.json").read_text() == (theirs / "tolerances.json").read_text()
        for file in ("reference.npz", "batches.npz"):
            with np.load(mine / file) as some, np.load(theirs / file) as others:
                assert set(some) == set(others)
                assert all(np.array_equal(some[key], others[key]) for key in some)


def test_what_is_written_is_not_computed_again(tmp_path: Path) -> None:
    name = next(iter(PROGRAMS))
    one = due(tmp_path / name, name)
    one.write()
    told: list[str] = []
    write_references({"again": one}, 2, told.append)
    assert told == []


def test_a_process_that_is_killed_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    name = next(iter(PROGRAMS))
    one = due(tmp_path / "one", name)
    fields = vars(one)
    with pytest.raises(OnespecError, match=r"killed.*--threads 1"):
        write_references({"one": replace(one), "other": Killed(**fields)}, 2, lambda text: None)
