"""A sweep: one figure and one table a factor, in place of a section for each of its levels."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from harness.analyse.run import Run, load
from harness.analyse.sweeps import level_names, sweeps
from harness.report import write
from harness.report.console import print_summary
from harness.report.palette import looks
from harness.report.sweeps import draw, grid
from tests import synthetic
from tests.synthetic import Record, measure, memory, verify

LEVELS = {"relu": "mlp", "tanh": "mlp.activation.tanh", "gelu": "mlp.activation.gelu"}
SWEEP = {"workload": "mlp", "factor": "activation", "levels": LEVELS}


def trained(contender: str, workload: str, accuracy: float, step_ms: float) -> list[Record]:
    learning = {"train": [], "validation": [], "test": {"accuracy": accuracy}}
    return [
        verify(contender, workload),
        measure(contender, workload, block=0, seed=0, step_ms=(step_ms,) * 5, learning=learning),
        memory(contender, workload),
    ]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    records = [
        *trained("alpha", "mlp", 0.9, 1.0),
        *trained("beta", "mlp", 0.91, 2.0),
        *trained("alpha", "mlp.activation.tanh", 0.8, 1.5),
        verify("beta", "mlp.activation.tanh", error=1.0, status="failed", reason="loss off"),
    ]
    names = tuple(LEVELS.values())
    return load(synthetic.write(tmp_path / "run", records, workloads=names, sweeps=[SWEEP]))


def test_levels_are_told_from_the_workload_they_vary(run: Run) -> None:
    assert level_names(run) == {"mlp.activation.tanh", "mlp.activation.gelu"}


def test_a_cell_is_a_level_of_a_ranked_contender(run: Run) -> None:
    (sweep,) = sweeps(run)
    assert (sweep.factor, sweep.metric, sweep.levels) == ("activation", "accuracy", ("relu", "tanh", "gelu"))
    cells = {
        (row["level"], row["contender"]): (row["metric"], row["step_seconds"] * 1000)
        for row in sweep.cells.to_dict("records")
    }
    assert cells == {
        ("relu", "alpha"): pytest.approx((0.9, 1.0)),
        ("relu", "beta"): pytest.approx((0.91, 2.0)),
        ("tanh", "alpha"): pytest.approx((0.8, 1.5)),
    }


def test_the_table_has_a_row_a_level_and_says_what_is_not_ranked(run: Run) -> None:
    (sweep,) = sweeps(run)
    shown = grid(sweep)
    assert shown.titles == ("activation", "alpha", "beta")
    assert [[(cell.text, cell.note) for cell in row] for row in shown.rows] == [
        [("relu", ""), ("0.9000", "1.00 ms"), ("0.9100", "2.00 ms")],
        [("tanh", ""), ("0.8000", "1.50 ms"), ("not ranked", "")],
        [("gelu", ""), ("not ranked", ""), ("not ranked", "")],
    ]
    drawing = draw(sweep, looks(["alpha", "beta"]))
    assert drawing is not None
    assert drawing.alt == (
        "relu: accuracy 0.9000 to 0.9100, 1.00 to 2.00 ms a step; tanh: accuracy 0.8000, 1.50 ms a step; "
        "gelu: nothing ranked"
    )


def test_page_twin_and_console_show_the_sweep_and_put_its_levels_last(run: Run, tmp_path: Path) -> None:
    page = write([run], tmp_path / "out").read_text()
    twin = (tmp_path / "out" / "report.md").read_text()
    assert "<h3>mlp: activation</h3>" in page
    assert page.index("<h3>mlp: activation</h3>") < page.index("Every level of the sweeps")
    assert "| tanh | 0.8000 (1.50 ms) | not ranked |" in twin
    assert (tmp_path / "out" / "figures" / "mlp-sweep-activation.png").is_file()
    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert not any("tanh" in name for name in drawn), "a level has no figures of its own"
    console = Console(width=100, record=True)
    print_summary(run, console)
    text = console.export_text()
    assert "mlp: activation" in text
    assert "0.8000; 1.50 ms" in text
    assert "The mlp.activation.tanh" not in text


def test_a_sweep_of_which_nothing_is_ranked_has_no_figure(tmp_path: Path) -> None:
    failed = [verify("alpha", name, error=1.0, status="failed", reason="off") for name in LEVELS.values()]
    folder = synthetic.write(tmp_path / "run", failed, workloads=tuple(LEVELS.values()), sweeps=[SWEEP])
    run = load(folder)
    (sweep,) = sweeps(run)
    assert draw(sweep, {}) is None
    assert "mlp: activation" in write([run], tmp_path / "out").read_text()
