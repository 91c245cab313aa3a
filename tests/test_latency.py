"""Latencies are percentiles of single calls by process; superseded attempts do not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyse.run import Run, load
from harness.report import write
from harness.report.columns import Cell
from harness.report.latency import latency
from harness.report.numbers import ABSENT
from tests import synthetic
from tests.synthetic import Record, measure, memory, verify

NOISE = {"name": "other work", "seen": "50 %", "advice": "stop it"}


def called(block: int, scale: float, count: int = 101, **about: Any) -> Record:
    """A process whose calls take scale * 1 ... count ms, after a first one of 9 s."""
    record = measure("alpha", block=block)
    milliseconds = np.random.Generator(np.random.PCG64(block)).permutation(np.arange(1, count + 1)) * scale
    calls = {"kind": "train", "batch_size": 1, "first_seconds": 9.0, "seconds": list(milliseconds / 1000)}
    record["measures"]["latency"] = [calls | about]
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


@pytest.mark.parametrize(
    ("counts", "told"),
    [((200, 19), [50]), ((200, 20), [50, 95]), ((99, 150), [50, 95]), ((100, 200), [50, 95, 99])],
)
def test_a_percentile_is_told_where_each_process_has_the_calls_for_it(
    tmp_path: Path, counts: tuple[int, int], told: list[int]
) -> None:
    records = [called(block, 1.0, count) for block, count in enumerate(counts)]
    run = load(synthetic.write(tmp_path / "run", [verify("alpha"), *records]))
    (row,) = run.latencies.to_dict("records")
    assert [rank for rank in (50, 95, 99) if not np.isnan(row[f"p{rank}"])] == told
    assert (row["calls"], row["least_calls"]) == (sum(counts), min(counts))
    shown = latency(run, "mlp")
    assert shown is not None
    cells = shown.rows[0]
    assert [cell.text == ABSENT for cell in cells[3:6]] == [rank not in told for rank in (50, 95, 99)]
    assert cells[7] == Cell(str(sum(counts)), f"at least {min(counts)} a process")


@pytest.mark.parametrize(
    ("about", "rate"),
    [
        ({"kind": "train", "batch_size": 32}, Cell("640", "samples/s")),
        ({"kind": "evaluate", "batch_size": 1}, Cell("20.0", "samples/s")),
        ({"kind": "prefill", "batch_size": 4, "tokens": 16}, Cell("1,280", "tokens/s")),
        ({"kind": "token", "batch_size": 4, "tokens": 1}, Cell("80.0", "tokens/s")),
    ],
)
def test_the_rate_is_what_calls_of_the_median_time_get_done(
    tmp_path: Path, about: dict[str, Any], rate: Cell
) -> None:
    # Calls of 1 to 99 ms: the median takes 50.
    run = load(synthetic.write(tmp_path / "run", [verify("alpha"), called(0, 1.0, 99, **about)]))
    shown = latency(run, "mlp")
    assert shown is not None
    assert shown.titles[6] == "Rate"
    assert shown.rows[0][6] == rate


def test_neither_a_pilot_nor_a_twin_is_among_the_contenders(tmp_path: Path) -> None:
    pilot = called(0, 90.0) | {"kind": "pilot", "job": "mlp/alpha/pilot/0"}
    twin = called(0, 80.0) | {"contender": "alpha~twin", "job": "mlp/alpha~twin/measure/0"}
    records = [verify("alpha"), pilot, called(0, 1.0), twin]
    run = load(synthetic.write(tmp_path / "run", records, contenders=["alpha"]))
    (row,) = run.latencies.to_dict("records")
    assert (row["contender"], row["processes"], row["p50"]) == ("alpha", 1, pytest.approx(0.051))


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
        assert "The p99 is told where each process has at least 100 calls." in text
        assert "2 timed jobs met disturbance and ran again" in text


def test_a_run_without_single_calls_has_no_table(tmp_path: Path) -> None:
    run = load(synthetic.write(tmp_path / "run", [verify("alpha"), measure("alpha"), memory("alpha")]))
    assert latency(run, "mlp") is None
    assert "Latency" not in write([run], tmp_path / "out").read_text()
