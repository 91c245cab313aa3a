"""Every architecture of the suites, tiny and on its own data: proven on all five frameworks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness import environments
from harness.catalogue import contender
from harness.plan.suite import find_suite, read_suite, suite_folder
from harness.plan.workloads import load_data, workloads
from tests.proving_ground import EXAMPLES, write_job
from tests.test_frameworks import DEFAULTS, assert_proven, proofs

SUITES = ("vision", "sequences")
TINY = {
    workload.name: workload
    for suite in SUITES
    for workload in workloads(read_suite(find_suite(suite), "tiny"))
    if "." not in workload.name
}
"""The levels of a sweep are the same architecture again."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the proofs' references are written by the first framework, for all."""
    return tmp_path_factory.mktemp("tiny")


@pytest.mark.parametrize("text", DEFAULTS)
def test_every_architecture_is_proven_at_its_tiny_size(text: str, folder: Path) -> None:
    who = contender(text)
    python = environments.create(who, "cpu").python
    jobs = []
    for name, workload in TINY.items():
        train = load_data(workload, None).arrays()
        program = workload.spec.program
        data = {array: np.asarray(train[f"train_{array}"][:EXAMPLES]) for array in program.arrays}
        backend = who.backend.folder
        jobs.append(write_job(folder / name, program, backend=backend, mode=who.mode.name, data=data))
    assert_proven(proofs(who, folder, python, jobs, faults=False), TINY)


def test_no_architecture_is_left_out() -> None:
    """Each one of the folder is in one of the suites."""
    used = {table.architecture for suite in SUITES for table in read_suite(find_suite(suite)).suite.workload}
    assert {path.stem for path in (suite_folder() / "architectures").glob("*.py")} <= used
