"""How many blocks: planned from a pilot, fixed before the first that counts, resumable in every state."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

import harness
from harness import paths
from harness.analyse.steady import observation
from harness.execute.planning import step_seconds
from harness.plan import precision
from harness.plan.precision import Cost, Goal, Spread, half_width, plan, spreads
from harness.report import words, write
from harness.report.console import print_summary
from harness.report.markdown import update_readme
from harness.report.numbers import percent
from tests import synthetic
from tests.conftest import BACKENDS, SUITE, Onespec
from tests.synthetic import good, measure, verify

Capture = pytest.CaptureFixture[str]
FREE = Cost(0.0, 0.0, 0.0, 0.0, 0)


def spread(log_deviation: float) -> Spread:
    return Spread("w", "b", "a", log_deviation, 3)


def test_the_half_width_is_that_of_scipys_interval() -> None:
    logs = np.array([0.01, 0.04, -0.02, 0.03, 0.0])
    low, high = stats.t.interval(0.95, 4, loc=logs.mean(), scale=stats.sem(logs))
    assert half_width(float(logs.std(ddof=1)), 5) == pytest.approx(math.expm1((high - low) / 2))


def test_a_spread_is_of_ratios_within_blocks() -> None:
    shared = {0: 1.0, 1: 3.0, 2: 10.0}
    found = spreads({"w": {"a": shared, "b": {block: 2 * one for block, one in shared.items()}}})
    (only,) = found
    assert (only.contender, only.fastest, only.pairs) == ("b", "a", 3)
    assert only.log_deviation == pytest.approx(0, abs=1e-12), "what slows a whole block is no spread"


def test_spreads_are_of_each_workload_and_of_blocks_that_both_finished() -> None:
    found = spreads(
        {
            "w": {"a": {0: 1.0, 1: 1.0, 2: 1.0}, "b": {0: 2.0, 2: 2.2}, "c": {1: 5.0}, "d": {}},
            "v": {"b": {0: 1.0, 1: 1.1}, "a": {0: 3.0, 1: 3.0}},
            "u": {"a": {}},
        }
    )
    assert [(one.workload, one.contender, one.fastest, one.pairs) for one in found] == [
        ("w", "b", "a", 2),
        ("v", "a", "b", 2),
    ]


@pytest.mark.parametrize("blocks", [2, 3, 5])
def test_a_spread_is_as_often_too_large_as_too_small(blocks: int) -> None:
    random = np.random.default_rng(1)
    logs = random.normal(0.0, 0.05, (2000, blocks))
    found = [
        spreads({"w": {"a": dict.fromkeys(range(blocks), 1.0), "b": dict(enumerate(np.exp(1 + row)))}})[0]
        for row in logs
    ]
    share = np.mean([one.log_deviation > 0.05 for one in found])
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 2000)


@given(deviation=st.floats(0.001, 0.2), wanted=st.floats(0.005, 0.2))
def test_the_fewest_blocks_that_suffice_are_planned(deviation: float, wanted: float) -> None:
    made = plan((spread(deviation / 3), spread(deviation)), Goal(wanted, None), FREE)
    assert made.half_width == half_width(deviation, made.blocks), "the widest interval counts"
    if made.decided_by == "precision":
        assert made.half_width <= wanted
        assert made.blocks == 2 or half_width(deviation, made.blocks - 1) > wanted
    else:
        assert (made.decided_by, made.blocks) == ("most", precision.MOST_BLOCKS)
        assert made.half_width > wanted


def test_intervals_of_the_planned_number_are_as_narrow_as_promised() -> None:
    """With the spread known, the interval is on average as wide as was asked."""
    random = np.random.default_rng(2)
    made = plan((spread(0.04),), Goal(0.03, None), FREE)
    widths = []
    for _ in range(2000):
        logs = random.normal(0.2, 0.04, made.blocks)
        low, high = stats.t.interval(0.95, made.blocks - 1, loc=logs.mean(), scale=stats.sem(logs))
        widths.append(math.expm1((high - low) / 2))
    assert np.mean(widths) <= 0.03
    assert np.mean(widths) > 0.02


COST = Cost(
    spent_seconds=30.0, block_seconds=10.0, cold_seconds=5.0, learning_seconds=20.0, learning_blocks=2
)


def test_the_budget_holds_for_pilot_learning_and_cold_caches_too() -> None:
    assert COST.total(1) == 65.0
    assert COST.total(4) == 115.0
    for budget, blocks in ((115.0, 4), (114.9, 3), (125.0, 5)):
        made = plan((spread(0.5),), Goal(0.01, budget), COST)
        assert (made.blocks, made.decided_by) == (blocks, "budget")
        assert made.seconds <= budget


def test_who_decides() -> None:
    narrow = (spread(0.001),)
    assert plan(narrow, Goal(0.03, 1000.0), COST).decided_by == "precision"
    assert plan(narrow, Goal(None, 200.0), COST).decided_by == "budget"
    assert plan(narrow, Goal(None, 200.0), COST).blocks == 12, "all that fit"
    assert plan(narrow, Goal(None, 1e6), COST).decided_by == "most"
    short = plan((spread(0.5),), Goal(0.03, 40.0), COST)
    assert (short.blocks, short.decided_by) == (2, "least")
    blind = plan((), Goal(0.03, 1000.0), COST)
    assert (blind.blocks, blind.decided_by, blind.half_width) == (2, "least", None)
    assert plan(narrow, Goal(0.5, None), COST, least=4).blocks == 4, "each seed has a block"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def meta(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with a pilot, and what was said while it went."""
    folder = tmp_path_factory.mktemp("planned")
    longer = SUITE.replace("train_blocks = 3", "train_blocks = 20")
    (folder / "tiny.toml").write_text(longer.replace("block_seconds = 0.001", "block_seconds = 0.002"))
    command = [sys.executable, "-m", "harness", "run", "tiny.toml", "--control", "first"]
    command += ["--precision", "99%", "--budget", "1h", "--python", f"plain={sys.executable}"]
    environment = {**os.environ, "ONESPEC_BACKENDS": str(BACKENDS), "PYTHONPATH": str(paths.root())}
    # A real pilot on real clocks: on a disturbed machine it may see no two pairs that became steady.
    for out in ("out", "again", "once-more"):
        words = [*command, "--out", out]
        said = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        if meta(folder / out)["plan"]["spreads"]:
            break
    return folder / out, said.stderr


def test_a_run_plans_its_blocks_from_a_pilot(finished: tuple[Path, str]) -> None:
    out, shown = finished
    said = meta(out)
    made = said["plan"]
    assert (made["precision"], made["budget_seconds"]) == (0.99, 3600.0)
    assert made["decided_by"] == "precision"
    assert made["blocks"] == said["blocks"] >= 2
    assert made["half_width"] <= 0.99
    records = lines(out)
    assert [record["kind"] for record in records[:3]] == ["verify", "memory", "memory"]
    assert [record["kind"] for record in records[3:9]] == ["pilot"] * 6
    (found,) = made["spreads"]
    assert {found["contender"], found["fastest"]} == {"plain", "plain~twin"}
    assert [found] == [asdict(one) for one in spreads(step_seconds(records[3:9], observation))]
    assert found["pairs"] in (2, 3), "of blocks in which both became steady"
    assert made["cost"]["spent_seconds"] > 0
    assert all(record["measures"]["learning"] is None for record in records[3:9])
    assert {record["kind"] for record in records[9:]} == {"measure"}
    assert {record["job"] for record in records} == {job["job"] for job in said["jobs"]}
    assert len(records) == 3 + 6 + 2 * made["blocks"]
    run = harness.load(str(out))
    assert set(run.processes["block"]) == set(range(made["blocks"])), "the pilot is not counted"
    assert len(run.processes) == 2 * made["blocks"]
    assert f"{made['blocks']} blocks are to come: they suffice for the precision" in shown


def test_a_plan_observes_of_a_process_what_the_analysis_does(tmp_path: Path) -> None:
    drifting = tuple(1.0 + 0.05 * step for step in range(20))
    timed = [(2.0,) * 8 + (1.0,) * 12, drifting, (1.5,) * 20]
    records = [measure("alpha", block=block, step_ms=times) for block, times in enumerate(timed)]
    found = step_seconds(records, observation)
    assert found == {"mlp": {"alpha": pytest.approx({0: 0.001, 2: 0.0015})}}
    processes = harness.load(str(synthetic.write(tmp_path / "run", [verify("alpha"), *records]))).processes
    steady = processes.dropna(subset="step_seconds")
    assert found["mlp"]["alpha"] == dict(zip(steady["block"], steady["step_seconds"], strict=True))


@pytest.mark.parametrize("kept", [1, 6, 9, 10])
def test_a_run_with_a_pilot_resumes_in_every_state(
    onespec: Onespec, finished: tuple[Path, str], tmp_path: Path, kept: int
) -> None:
    """As many records are kept; of a plan that was made after them nothing is left."""
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    whole, planned = lines(out), meta(out)
    text = "".join(json.dumps(record) + "\n" for record in whole[:kept])
    (out / "records.jsonl").write_text(text)
    for result in (out / "work" / "jobs").glob("*.result.json"):
        result.unlink()
    if kept <= 9:
        jobs = [job for job in planned["jobs"] if job["kind"] != "measure"]
        plan_before = {name: planned["plan"][name] for name in ("precision", "budget_seconds")}
        changed = {**planned, "blocks": None, "plan": plan_before, "jobs": jobs}
        (out / "run.json").write_text(json.dumps(changed))
    assert onespec("run", "--resume", out) == 0
    after = lines(out)
    assert after[:kept] == whole[:kept]
    assert len({record["job"] for record in after}) == len(after)
    assert {record["job"] for record in after} == {job["job"] for job in meta(out)["jobs"]}
    if kept >= 9:
        assert meta(out)["plan"] == planned["plan"], "the same pilot makes the same plan"


def test_a_result_without_a_record_is_counted_into_the_plan(
    onespec: Onespec, suite: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out, "--control", "first", "--budget", "1s") == 0
    planned = meta(out)
    assert planned["plan"]["decided_by"] == "least"
    text = "".join(json.dumps(record) + "\n" for record in lines(out)[:8])
    (out / "records.jsonl").write_text(text)
    (out / "run.json").write_text(json.dumps({**planned, "blocks": None}))
    assert onespec("run", "--resume", out) == 0
    assert lines(out)[8]["wall_seconds"] is None
    assert meta(out)["plan"]["spreads"] == planned["plan"]["spreads"]


PLAN = {"blocks": 4, "decided_by": "budget", "half_width": 0.02, "seconds": 500.0}


@pytest.mark.parametrize(
    ("wanted", "goal", "outcome"),
    [
        (0.001, "for a precision of 0.10 % within 600 s", ", wider than asked"),
        (0.5, "for a precision of 50 % within 600 s", ", as asked"),
        (None, "within 600 s", ""),
    ],
)
@pytest.mark.parametrize("widest", ["beta", "alpha~twin"])
def test_a_planned_run_says_which_precision_came_of_it(
    tmp_path: Path, wanted: float | None, goal: str, outcome: str, widest: str
) -> None:
    spread = {"beta": (1.0, 1.02, 0.98, 1.01), "alpha~twin": (1.0, 1.01, 0.99, 1.005)}
    spread[widest] = (1.0, 1.2, 0.9, 1.05)
    twin = [one for one in good("alpha~twin", step_ms=spread["alpha~twin"]) if one["kind"] == "measure"]
    beta = good("beta", step_ms=tuple(3 * time for time in spread["beta"]))
    folder = synthetic.write(
        tmp_path / "small",
        good("alpha", step_ms=(1.0,) * 4) + beta + twin,
        contenders=["alpha", "beta"],
        control={"contender": "alpha", "twin": "alpha~twin"},
        plan=PLAN | {"precision": wanted, "budget_seconds": 600.0},
    )
    run = harness.load(str(folder))
    logs = np.log(spread[widest])
    reached = percent(math.expm1(stats.t.isf(0.025, 3) * logs.std(ddof=1) / 2))
    told = (
        f"A pilot planned 4 blocks {goal} (as many as fit); the widest 95 % interval of a ratio of step "
        f"times is ± {reached} ({widest} in mlp){outcome}."
    )
    assert words.planned(run) == told
    readme = tmp_path / "README.md"
    readme.write_text("<!-- onespec:table small mlp -->\n<!-- /onespec:table -->\n")
    update_readme(readme, [run])
    write([run], tmp_path / "out")
    for file in (tmp_path / "out" / "index.html", tmp_path / "out" / "report.md", readme):
        assert told in file.read_text(encoding="utf-8")
    console = Console(width=200, record=True, color_system=None, file=io.StringIO())
    print_summary(run, console)
    assert told in " ".join(console.export_text().split())


def test_a_run_that_was_not_planned_or_did_not_get_so_far_tells_no_precision(tmp_path: Path) -> None:
    for made in (None, {"precision": 0.03, "budget_seconds": None}):
        folder = synthetic.write(tmp_path / "run", good("alpha") + good("beta"), plan=made)
        assert words.planned(harness.load(str(folder))) == ""
    asked = PLAN | {"precision": 0.03, "budget_seconds": None}
    alone = harness.load(str(synthetic.write(tmp_path / "alone", good("alpha"), plan=asked)))
    assert words.planned(alone).endswith("; no ratio of step times has an interval.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precision", "3%", "--blocks", "4"], "give --blocks or those"),
        (["--precision", "3%"], "add a contender, or --control first"),
        (["--precision", "3", "--control", "first"], "write it as in 3% or 0.03"),
        (["--budget", "10"], "write it as in 90s, 10m or 2h"),
        (["--budget", "-5m"], "expected one argument"),
    ],
)
def test_a_goal_that_cannot_be_is_refused(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture, words: list[str], said: str
) -> None:
    try:
        code = onespec("run", suite, "--out", tmp_path / "out", *words)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_that_the_pilot_decides(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert onespec("run", suite, "--dry-run", "--budget", "10m", "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "tiny/plain/pilot/2" in said
    assert "measure" not in said
    assert "as the pilot asks for" in said
