"""What tests share: a tiny suite on the plain backend, run by this very interpreter."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import cli
from harness.score.case import Case
from harness.spec.spec import Spec

BACKENDS = Path(__file__).parent / "backends"
OLD_RUN = Path(__file__).parent / "runs" / "first-schema"
"""A run of MNIST of before there were noise, latencies, controls, rounds of memory passes, short blocks."""

SUITE = """
title = "Tiny"
contenders = ["plain"]

[protocol]
blocks = 2
control = "none"
memory_passes = 1
repeats = 0
ceilings = false
latency_seconds = 0.001
warmup_seconds = 0.0
block_seconds = 0.001
train_blocks = 3
evaluate_passes = 1
time_limit_seconds = 60

[[workload]]
name = "tiny"
architecture = "mlp"
metrics = ["accuracy"]

[workload.model]
hidden = [8]

[workload.data]
name = "digits"

[workload.optimizer]
type = "sgd"
learning_rate = 0.5

[workload.recipe]
batch_size = 32
epochs = 1
"""

Onespec = Callable[..., int]


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes by their number: archives hold the time they were made at, and a test has one name."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(autouse=True, scope="session")
def interrupts() -> None:
    """Interrupts arrive, here and in processes started from here, also where the tests run in the background
    of a shell, which has them ignored there.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays that workers leave to be scored, by name; their files are gone afterwards."""
    found: dict[str, tuple[int, ...]] = {}
    read = Case.read

    def reading(spec: Spec, outputs: Path, *others: Any) -> Case:
        with np.load(outputs) as archive:
            found.update((name, archive[name].shape) for name in archive.files)
        return read(spec, outputs, *others)

    monkeypatch.setattr(Case, "read", staticmethod(reading))
    return found


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The tiny suite as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def onespec(monkeypatch: pytest.MonkeyPatch) -> Onespec:
    """The command line with the test backends known, and this interpreter named for them where it matters."""
    monkeypatch.setenv("ONESPEC_BACKENDS", str(BACKENDS))

    def call(*words: object) -> int:
        named = []
        if words[0] in ("run", "verify", "calibrate", "overhead") and "--resume" not in words:
            named = ["--python", f"plain={sys.executable}", "--python", f"rogue={sys.executable}"]
        return cli.main([*map(str, words), *named])

    return call


def records(folder: Path) -> dict[str, Any]:
    """A run's records that count, by job."""
    lines = (folder / "records.jsonl").read_text().splitlines()
    every = [json.loads(line) for line in lines]
    found = [record for record in every if not record["superseded"]]
    assert len({record["job"] for record in found}) == len(found), "a job is recorded twice"
    return {record["job"]: record for record in found}
