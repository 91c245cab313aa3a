"""How cost grows with size: exponents with intervals, told apart from sweeps of kinds, and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.analyse.growth import exponent, sizes
from harness.analyse.run import Run, load
from harness.analyse.sweeps import sweeps
from harness.report import write
from harness.report.palette import looks
from harness.report.sweeps import draw, grid
from tests import synthetic
from tests.synthetic import measure, memory, verify

LEVELS = {"32": "gpt", "64": "gpt.length.64", "128": "gpt.length.128", "256": "gpt.length.256"}
SWEEP = {"workload": "gpt", "factor": "length", "levels": LEVELS}


def test_levels_are_sizes_where_all_are_numbers() -> None:
    assert sizes(["32", "64", "128"]) == {"32": 32.0, "64": 64.0, "128": 128.0}
    assert sizes(["32", "64", "long"]) is None
    assert sizes(["32", "64"]) is None, "two make a line that nothing could contradict"
    assert sizes(["0", "1", "2"]) is None


def test_the_exponent_is_the_slope_of_the_logarithms_and_its_interval_holds_the_truth() -> None:
    assert exponent(np.array([1.0, 2, 4]), np.array([3.0, 12, 48])) == pytest.approx((2, 2, 2))
    random = np.random.default_rng(0)
    size = np.repeat([16.0, 32, 64, 128], 3)
    covered = 0
    for _ in range(1000):
        _, low, high = exponent(size, 5 * size**1.3 * np.exp(random.normal(0, 0.1, len(size))))
        covered += low <= 1.3 <= high
    assert 0.93 <= covered / 1000 <= 0.97
    assert np.isnan(exponent(np.array([1.0, 1, 2, 2]), np.array([1.0, 2, 3, 4]))).all()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """alpha's time grows with the size, its memory with the square of it; beta is not proven at 64."""
    records = []
    for level, name in LEVELS.items():
        scale = float(level) / 32
        records += [verify("alpha", name), memory("alpha", name, after_import=200, peak=200 + 2 * scale**2)]
        records += [measure("alpha", name, block=block, step_ms=(scale,) * 5) for block in (0, 1)]
        if level == "64":
            records.append(verify("beta", name, error=1.0, status="failed", reason="loss off"))
        else:
            records += [verify("beta", name), memory("beta", name, after_import=200, peak=200)]
            records += [measure("beta", name, step_ms=(scale**0.5,) * 5)]
    return load(synthetic.write(tmp_path / "run", records, workloads=tuple(LEVELS.values()), sweeps=[SWEEP]))


def test_exponents_stand_below_the_sizes(run: Run) -> None:
    (sweep,) = sweeps(run)
    rows = {row[0].text: row[1:] for row in grid(sweep).rows}
    assert [cell.text for cell in rows["time: exponent"]] == ["1.00", "0.50"]
    assert [cell.text for cell in rows["memory: exponent"]] == ["2.00", "\u2013"], (
        "beta's does not grow at all"
    )
    assert rows["64"][1].text == "not ranked"


def test_each_memory_pass_is_an_observation_of_the_exponent(tmp_path: Path) -> None:
    records = []
    for level, name in LEVELS.items():
        records += [verify("alpha", name), measure("alpha", name, step_ms=(1.0,) * 5)]
        for block, share in enumerate((0.8, 1.0, 1.25)):
            peak = 200 + 2 * (float(level) / 32) ** 2 * share
            records.append(memory("alpha", name, after_import=200, peak=peak, block=block))
    run = load(synthetic.write(tmp_path / "run", records, workloads=tuple(LEVELS.values()), sweeps=[SWEEP]))
    (sweep,) = sweeps(run)
    assert sweep.growth is not None
    (row,) = sweep.growth.to_dict("records")
    size = np.repeat([32.0, 64, 128, 256], 3)
    expected = exponent(size, 2 * (size / 32) ** 2 * np.tile([0.8, 1.0, 1.25], 4))
    assert [row[f"memory{end}"] for end in ("", "_low", "_high")] == pytest.approx(expected)
    assert row["memory_low"] < 1.95, "their spread is not averaged away"
    assert row["memory_high"] > 2.05


def test_the_figure_and_both_pages_tell_the_growth(run: Run, tmp_path: Path) -> None:
    (sweep,) = sweeps(run)
    drawing = draw(sweep, looks(["alpha", "beta"]))
    assert drawing is not None
    assert [axes.get_xscale() for axes in drawing.figure.axes] == ["log", "log"]
    assert drawing.alt.startswith("alpha: time grows with exponent 1.00, memory with 2.00; beta: time")
    page = write([run], tmp_path / "out").read_text()
    twin = (tmp_path / "out" / "report.md").read_text()
    assert "time: exponent" in page
    assert "| time: exponent | 1.00 (1.00 to 1.00) | 0.50 (0.50 to 0.50) |" in twin
