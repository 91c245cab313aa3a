"""A calibration passes a sound instrument, fails a wrong one, and says what it could not tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analyse import calibration as analysis
from harness.analyse.calibration import Calibration, Check, calibration, runs
from harness.analyse.contrasts import LEVEL, POWER, Numbers
from harness.analyse.run import load
from harness.execute.calibration import blocks_within
from harness.plan import calibration as plan
from harness.plan.calibration import SLOWDOWNS, Design, calibration_jobs, design
from harness.report import write
from harness.store import Store
from harness.worker.job import Planted
from harness.worker.planted import loaded, slowed
from tests import synthetic
from tests.conftest import Onespec
from tests.synthetic import measure, memory, verify

MADE = design("alpha")
META: dict[str, Any] = {"calibration": {**asdict(MADE), "budget_seconds": None}}
Capture = pytest.CaptureFixture[str]


def seen(
    random: np.random.Generator,
    blocks: int = 24,
    *,
    noise: float = 0.01,
    shift: Callable[[str, int], float] = lambda name, block: 0.0,
    load_error: float = 0.0,
    memory_noise: float = 1.0,
) -> Calibration:
    """What a calibration finds of processes whose truth is known: `shift` is what the instrument adds to the
    logarithm of an entry's step time in a block, besides the block's own effect and noise.
    """
    rows = []
    for block in range(blocks):
        effect = random.normal(0, 0.1)
        for name, planted in MADE.entered.items():
            log = effect + random.normal(0, noise) + shift(name, block)
            log += np.log1p(planted.slowdown if planted else 0.0)
            rows.append({"block": block, "contender": name, "step_seconds": np.exp(log), "unsteady": None})
    loads = {MADE.copies[0]: 0.0, MADE.loaded: MADE.memory_bytes / synthetic.MIB * (1 + load_error)}
    passes = [
        {"pass": number, "contender": name, "peak_mib": 300 + load + random.normal(0, memory_noise)}
        for number in range(4)
        for name, load in loads.items()
    ]
    found = calibration(META, pd.DataFrame(rows), pd.DataFrame(passes))
    assert found is not None
    return found


def outcomes(found: Calibration, kind: str) -> set[str]:
    return {check.outcome for check in found.checks if check.kind == kind}


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "DRAWS", 20)


def test_a_sound_instrument_passes_with_every_number_near_its_truth() -> None:
    found = seen(np.random.default_rng(1))
    assert found.exit_code == 0
    estimates = {check.truth: check for check in found.checks if check.kind == "estimate"}
    assert set(estimates) == {0.0, *SLOWDOWNS}
    for truth, check in estimates.items():
        assert check.low < truth < check.high
        assert check.high - check.low < 0.02
    whole = [check for check in found.checks if check.kind == "detection" and check.blocks == 24]
    assert [(check.found, check.outcome) for check in whole] == [(1, "passed")] * 3
    short = {check.truth: check for check in found.checks if check.kind == "detection" and check.blocks == 3}
    assert [short[truth].tried for truth in SLOWDOWNS] == [8, 8, 8]
    assert short[0.10].smooth > short[0.05].smooth > short[0.03].smooth, "what is to be expected"
    (equals, *_) = [check for check in found.checks if check.kind == "equals"]
    assert (equals.blocks, equals.tried) == (3, 16), "two pairs of eight runs each"
    assert equals.low <= equals.value <= equals.high
    assert 0.02 < equals.smooth < 0.12


@pytest.mark.usefixtures("few_draws")
def test_of_sound_instruments_five_in_a_hundred_fail_at_most() -> None:
    repetitions = 120
    failed = sum(seen(np.random.default_rng(seed)).exit_code == 1 for seed in range(repetitions))
    assert failed <= stats.binom.ppf(0.999, repetitions, LEVEL)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("place", [1, 2])
def test_equals_that_are_measured_differently_fail(place: int) -> None:
    name = MADE.copies[place]
    found = seen(np.random.default_rng(2), shift=lambda entry, block: 0.02 * (entry == name))
    assert found.exit_code == 1
    assert "failed" in outcomes(found, "estimate")


@pytest.mark.usefixtures("few_draws")
def test_intervals_that_are_too_narrow_fail_both_rates() -> None:
    """What a process finds stays with its entry for three blocks, as if they were independent."""
    random = np.random.default_rng(3)
    drawn = {(name, stage): random.normal(0, 0.05) for name in MADE.entered for stage in range(20)}
    found = seen(random, 60, noise=0.005, shift=lambda name, block: drawn[name, block // 3])
    assert outcomes(found, "equals") >= {"failed"}
    assert outcomes(found, "coverage") >= {"failed"}
    assert found.exit_code == 1


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_a_slowdown_that_is_measured_as_another_size_fails(share: float) -> None:
    def shift(name: str, block: int) -> float:
        planted = MADE.entered[name]
        return float(np.log1p(planted.slowdown) * (share - 1)) if planted else 0.0

    found = seen(np.random.default_rng(4), shift=shift)
    assert found.exit_code == 1
    assert "failed" in outcomes(found, "estimate")
    assert "failed" not in outcomes(found, "equals") | outcomes(found, "memory")


@pytest.mark.usefixtures("few_draws")
def test_a_machine_too_noisy_to_tell_is_said_to_be_so() -> None:
    found = seen(np.random.default_rng(5), noise=0.5)
    assert found.exit_code == 3
    hidden = [check for check in found.checks if check.outcome == "not told"]
    assert {check.kind for check in hidden} == {"detection", "estimate"}
    assert all(check.why for check in hidden)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    ("error", "noise", "outcome"),
    [(0.0, 1.0, "passed"), (0.05, 1.0, "failed"), (-0.05, 1.0, "failed"), (0.02, 5.0, "not told")],
)
def test_a_memory_load_is_to_be_measured_within_two_percent(error: float, noise: float, outcome: str) -> None:
    found = seen(np.random.default_rng(6), load_error=error, memory_noise=noise)
    assert outcomes(found, "memory") == {outcome}
    assert found.exit_code == {"passed": 0, "failed": 1, "not told": 3}[outcome]


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("blocks", [0, 1, 2, 6])
def test_too_few_blocks_tell_nothing_and_pass_nothing(blocks: int) -> None:
    found = seen(np.random.default_rng(7), blocks) if blocks else calibration(META, *nothing())
    assert found is not None
    assert found.exit_code == 3
    assert outcomes(found, "equals") <= {"not told", "for information"}
    assert all(check.why for check in found.checks if check.outcome == "not told")


def nothing() -> tuple[pd.DataFrame, pd.DataFrame]:
    measured = pd.DataFrame(columns=["block", "contender", "step_seconds", "unsteady"])
    return measured, pd.DataFrame(columns=["pass", "contender", "peak_mib"])


def test_runs_share_no_block_and_a_missing_one_is_in_none() -> None:
    differences: Numbers = np.arange(8, dtype=float)
    found = runs(differences, 3)
    assert found.T.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert runs(differences[:2], 3).shape == (3, 0)


@pytest.mark.parametrize("tried", [10, 16, 40, 200])
def test_the_least_rate_that_would_show_is_the_least(tried: int) -> None:
    level = LEVEL / 8
    rate = analysis._findable(tried, level)
    critical = next(k for k in range(tried + 1) if stats.binom.sf(k - 1, tried, LEVEL) <= level)
    assert stats.binom.sf(critical - 1, tried, rate) >= POWER
    assert stats.binom.sf(critical - 1, tried, rate - 0.002) < POWER


def test_no_two_pairs_of_one_truth_share_a_process() -> None:
    assert Design.of_data(json.loads(json.dumps(asdict(MADE)))) == MADE
    assert set(MADE.entered) == {entry for pair in MADE.pairs for entry in (pair.first, pair.second)}
    equals = [entry for pair in MADE.pairs if not pair.truth for entry in (pair.first, pair.second)]
    slow = [entry for pair in MADE.pairs if pair.truth for entry in (pair.first, pair.second)]
    assert len(equals) == len(set(equals))
    assert len(slow) == len(set(slow))
    slowdowns = [planted.slowdown for planted in MADE.entered.values() if planted]
    assert slowdowns == [*SLOWDOWNS]


def test_every_entry_has_a_turn_in_each_block_and_nothing_is_planted_but_where_it_is_meant() -> None:
    jobs = calibration_jobs(MADE, "w", blocks=30, seed=5, pilot=True)
    assert len({job.id for job in jobs}) == len(jobs)
    assert [job.kind for job in jobs] == sorted(
        (job.kind for job in jobs), key=["verify", "memory", "pilot", "measure"].index
    )
    places = set()
    for block in range(30):
        mine = [job for job in jobs if job.kind == "measure" and job.block == block]
        assert {job.contender: job.planted for job in mine} == MADE.entered
        assert {job.entered for job in mine} == {"alpha"}
        assert [job.turn for job in mine] == [*range(len(mine))]
        places.add(next(job.turn for job in mine if job.contender == "alpha"))
    assert places == {*range(len(MADE.entered))}, "the order is drawn anew"
    assert not any(job.learn for job in jobs)
    loads = {job.contender: job.planted for job in jobs if job.kind == "memory"}
    assert loads == {"alpha": None, MADE.loaded: Planted(memory_bytes=MADE.memory_bytes)}


def test_a_budget_becomes_blocks_by_what_the_pilot_cost(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", {"schema": 1})
    for kind, seconds in (("verify", 10.0), ("memory", 5.0), ("pilot", 2.0), ("pilot", 3.0)):
        store.append({"job": kind, "kind": kind, "wall_seconds": seconds})
    assert blocks_within(store, 120.0, 15) == (120 - 20) // 5
    assert blocks_within(store, 60.0, 15) == 15, "the least in any case"


class Sleeper:
    """A program whose training takes a known time on a clock of its own, some of it after the call."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def clock(self) -> float:
        self.seconds += 1e-6
        return self.seconds

    def train(self, staged: Any) -> str:
        self.seconds += 0.02
        return "handle"

    def wait(self) -> None:
        self.seconds += 0.01


@pytest.mark.parametrize("share", [0.03, 0.5])
def test_a_planted_slowdown_takes_its_share_of_the_steps_own_time(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: Any = Sleeper()
    monkeypatch.setattr("harness.worker.planted.perf_counter", built.clock)
    assert slowed(built, Planted(slowdown=share)).train(None) == "handle"
    assert built.seconds - 100 == pytest.approx(0.03 * (1 + share), abs=1e-5)


def test_nothing_is_planted_where_nothing_is_asked_for() -> None:
    built: Any = Sleeper()
    assert slowed(built, None) is built
    assert slowed(built, Planted(memory_bytes=5)) is built
    assert loaded(None).nbytes == loaded(Planted(slowdown=0.1)).nbytes == 0
    held = loaded(Planted(memory_bytes=3000))
    assert held.nbytes == 3000
    assert held.all(), "every page is touched"


def test_page_and_twin_show_the_checks_and_a_run_that_is_none_has_no_such_section(tmp_path: Path) -> None:
    records = [verify("alpha"), *(memory("alpha", block=number) for number in range(2))]
    records += [memory(MADE.loaded, peak=300 + 512, block=number) for number in range(2)]
    for block in range(4):
        for name, planted in MADE.entered.items():
            milliseconds = (1 + block / 100) * (1 + (planted.slowdown if planted else 0))
            records.append(measure(name, block=block, step_ms=(milliseconds,) * 4))
    found = load(synthetic.write(tmp_path / "run", records, contenders=["alpha"], **META))
    assert found.calibration is not None
    assert found.calibration.processes == 4 * len(MADE.entered)
    assert list(found.summary["contender"]) == ["alpha"], "further entries are no contenders"
    page = write([found], tmp_path / "out").read_text()
    for text in (page, (tmp_path / "out" / "report.md").read_text()):
        assert "slowdown of 10 %: difference" in text
        assert "memory load of 512 MiB: error" in text
    ordinary = load(synthetic.write(tmp_path / "other", synthetic.good("alpha")))
    assert ordinary.calibration is None
    assert "Calibration" not in write([ordinary], tmp_path / "out2").read_text()


def checks(folder: Path, kind: str) -> list[Check]:
    found = load(folder).calibration
    assert found is not None
    return [check for check in found.checks if check.kind == kind]


def test_a_calibration_is_a_run_that_can_be_resumed_and_says_what_was_planted(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MEMORY_BYTES", 2**28)
    out = tmp_path / "out"
    assert onespec("calibrate", suite, "--blocks", "2", "--out", out) in (1, 3)
    assert "Clopper" in capsys.readouterr().out
    assert "Calibration" in (out / "report" / "index.html").read_text()
    lines = (out / "records.jsonl").read_text().splitlines()
    records = {record["job"]: record for record in map(json.loads, lines)}
    meta = json.loads((out / "run.json").read_text())
    assert set(records) == {job["job"] for job in meta["jobs"]}
    assert {record["status"] for record in records.values()} == {"ok"}
    planted = {job: record["planted"] for job, record in records.items() if record["planted"]}
    assert planted["tiny/plain~slower-10/measure/1"] == {"slowdown": 0.1, "memory_bytes": 0}
    assert planted["tiny/plain~loaded/memory/0"] == {"slowdown": 0.0, "memory_bytes": 2**28}
    assert len(planted) == 2 * 3 + 4
    (check,) = checks(out, "memory")
    assert check.outcome == "passed", check

    assert onespec("run", "--resume", out) == 2
    assert f"onespec calibrate --resume {out}" in capsys.readouterr().err
    (out / "records.jsonl").write_text("\n".join(lines[:-3]) + "\n")
    for result in (out / "work" / "jobs").glob("*__measure__1.result.json"):
        result.unlink()
    assert onespec("calibrate", "--resume", out) in (1, 3)
    assert len((out / "records.jsonl").read_text().splitlines()) == len(lines)


def test_a_budget_plans_the_blocks_of_a_calibration(
    onespec: Onespec, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MEMORY_BYTES", 2**20)
    monkeypatch.setattr(plan, "MEMORY_PASSES", 1)
    monkeypatch.setattr(plan, "LEAST_BLOCKS", 1)
    assert onespec("calibrate", suite, "--budget", "1s", "--out", tmp_path / "out") in (1, 3)
    meta = json.loads((tmp_path / "out" / "run.json").read_text())
    assert meta["blocks"] == 1
    kinds = [job["kind"] for job in meta["jobs"]]
    assert (kinds.count("pilot"), kinds.count("measure")) == (7, 7)


def test_what_cannot_be_calibrated_is_refused(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert onespec("calibrate", suite, "--blocks", "2", "--budget", "1m") == 2
    assert "give only one of them" in capsys.readouterr().err
    assert onespec("calibrate", suite, "-b", "plain", "-b", "rogue") == 2
    assert "one contender and one workload" in capsys.readouterr().err
    assert onespec("calibrate", suite, "-b", "rogue", "--blocks", "1", "--out", tmp_path / "out") == 3
    assert "rogue was not measured" in capsys.readouterr().err


def test_an_ordinary_run_has_nothing_planted(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    assert onespec("run", suite, "--out", tmp_path / "out", "--blocks", "1") == 0
    records = map(json.loads, (tmp_path / "out" / "records.jsonl").read_text().splitlines())
    assert {record["planted"] for record in records} == {None}
