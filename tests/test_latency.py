"""Latencies are percentiles of single calls by process; superseded attempts do not count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.analyse.run import Run, load
from harness.report import write
from harness.report.latency import latency
from tests import synthetic
from tests.synthetic import Record, measure, memory, verify

NOISE = {"name": "other work", "seen": "50 %", "advice": "stop it"}


def called(block: int, scale: float) -> Record:
    """A process whose calls take scale * 1 ... 101 ms, after a first one of 9 s."""
    record = measure("alpha", block=block)
    milliseconds = np.random.Generator(np.random.PCG64(block)).permutation(np.arange(1, 102)) * scale
    calls = {"kind": "train", "batch_size": 1, "first_seconds": 9.0, "seconds": list(milliseconds / 1000)}
    record["measures"]["latency"] = [calls]
    return record


@pytest.fixture
def run(tmp_path: Path) -> Run:
    disturbed = called(1, 50.0) | {"superseded": True, "attempt": 0, "warnings": [NOISE]}
    last = called(2, 70.0) | {"superseded": True, "attempt": 0, "warnings": [NOISE]}
    records = [verify("alpha"), called(0, 1.0), disturbed, called(1, 4.0), last, memory("alpha")]
    return load(synthetic.write(tmp_path / "run", records))


def test_percentiles_are_geometric_means_over_processes(run: Run) -> None:
    (row,) = run.latencies.to_dict("records")
    assert (row["processes"], row["calls"]) == (2, 202)
    # Half of 1 ... 101 lies below 51; the processes are 1 and 4 times that: twice in the mean.
    assert row["p50"] == pytest.approx(0.051 * 2)
    assert row["p95"] == pytest.approx(0.096 * 2)
    assert row["p99"] == pytest.approx(0.100 * 2)
    assert row["p50_low"] < row["p50"] < row["p50_high"]


def test_an_attempt_that_was_run_again_is_told_and_never_counted(run: Run) -> None:
    assert sorted(run.superseded["block"]) == [1, 2]
    assert sorted(run.processes["block"]) == [0, 1], "block 2 was never run again"


def test_page_and_twin_show_latencies_and_what_disturbed(run: Run, tmp_path: Path) -> None:
    shown = latency(run, "mlp")
    assert shown is not None
    assert [cell.text for cell in shown.rows[0][:4]] == ["training step", "1", "alpha", "102"]
    page = write([run], tmp_path / "out").read_text()
    twin = (tmp_path / "out" / "report.md").read_text()
    for text in (page, twin):
        assert "Latency: single calls, each waited for" in text
        assert "2 timed jobs met disturbance and ran again" in text


def test_a_run_without_single_calls_has_no_table(tmp_path: Path) -> None:
    run = load(synthetic.write(tmp_path / "run", [verify("alpha"), measure("alpha"), memory("alpha")]))
    assert latency(run, "mlp") is None
    assert "Latency" not in write([run], tmp_path / "out").read_text()
