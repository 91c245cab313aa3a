"""Memory: what passes held phase by phase, and a control that covers it as it covers the clocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyse.control import Control
from harness.analyse.memory import memory_passes, phases
from harness.analyse.run import Run, load
from harness.report import control as shown_control
from harness.report import words, write
from harness.report.markdown import table
from harness.report.memory import memory as shown
from tests import synthetic
from tests.conftest import OLD_RUN
from tests.synthetic import Record, good, memory, verify

TWINS = {"contenders": ["alpha", "beta"], "control": {"contender": "alpha", "twin": "alpha~twin"}}


def loaded(folder: Path, records: list[Record], **options: Any) -> Run:
    return load(synthetic.write(folder / "run", records, **options))


def timed(contender: str, workload: str = "mlp", factor: float = 1.0) -> list[Record]:
    """A proven contender with four processes and no memory pass."""
    seed = len(contender) + len(workload)
    noise = np.exp(np.random.default_rng(seed).normal(0, 0.01, 4))
    records = good(contender, workload, step_ms=tuple(factor * noise))
    return [record for record in records if record["kind"] != "memory"]


def passes(contender: str, peaks: tuple[float, ...], workload: str = "mlp") -> list[Record]:
    return [memory(contender, workload, peak=peak, block=block) for block, peak in enumerate(peaks)]


def with_twins(shift: float, workload: str = "mlp") -> list[Record]:
    """alpha and its twin, which holds `shift` MiB more; beta holds twice as much and takes twice as long."""
    twin = [record for record in timed("alpha~twin", workload) if record["kind"] == "measure"]
    twin += passes("alpha~twin", (300.6 + shift, 300.2 + shift, 301 + shift), workload)
    alpha = timed("alpha", workload) + passes("alpha", (300, 301, 300.5), workload)
    return alpha + twin + timed("beta", workload, 2.0) + passes("beta", (600, 601, 602), workload)


def checked(run: Run) -> Control:
    assert run.control is not None
    return run.control


def test_each_phase_is_a_geometric_mean_over_passes_above_the_interpreters_start(tmp_path: Path) -> None:
    records = [
        memory("alpha", after_import=100, peak=400, block=0, between=(110, 200, 150)),
        memory("alpha", after_import=100, peak=900, block=1, between=(110, 400, 150)),
    ]
    (row,) = phases(memory_passes(loaded(tmp_path, records).records)).to_dict("records")
    names = ("import", "build", "first_step", "rest", "peak")
    expected = [100, 110, np.sqrt(200 * 400), 150, np.sqrt(400 * 900)]
    assert [row[f"{name}_mib"] for name in names] == pytest.approx(expected)
    assert row["passes"] == 2
    assert (row["rest_mib_low"], row["rest_mib_high"]) == pytest.approx((150, 150))
    half = 12.706205 * np.log(900 / 400) / 2
    assert (row["peak_mib_low"], row["peak_mib_high"]) == pytest.approx(
        (600 * np.exp(-half), 600 * np.exp(half))
    )


def test_passes_are_numbered_by_their_round_and_one_of_old_is_the_first(tmp_path: Path) -> None:
    run = loaded(tmp_path, [*passes("alpha", (300, 310)), memory("beta")])
    found = memory_passes(run.records).sort_values(["contender", "pass"])
    numbered = list(zip(found["contender"], found["pass"], strict=True))
    assert numbered == [("alpha", 0), ("alpha", 1), ("beta", 0)]


def test_page_and_twin_show_memory_by_phase_in_the_order_of_the_ranks(tmp_path: Path) -> None:
    records = timed("alpha", factor=2.0) + timed("beta")
    for block in range(2):
        records.append(memory("alpha", peak=900, block=block, between=(210, 500, 400 + 10 * block)))
        records.append(memory("beta", peak=800, block=block, between=(220, 600, 300)))
    run = loaded(tmp_path, records)
    found = shown(run, "mlp")
    assert found is not None
    assert [[cell.text for cell in row] for row in found.rows] == [
        ["beta", "200", "220", "600", "300", "800", "2"],
        ["alpha", "200", "210", "500", "405", "900", "2"],
    ]
    assert found.rows[1][4].note == "346 to 474"
    assert run.summary.set_index("contender").loc["alpha", "rest_mib"] == pytest.approx(np.sqrt(400 * 410))
    page = write([run], tmp_path / "out").read_text(encoding="utf-8")
    twin = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for text in (page, twin):
        assert "Memory, phase by phase" in text
        assert "346 to 474" in text


def test_passes_that_recorded_no_phases_have_no_such_table(tmp_path: Path) -> None:
    run = loaded(tmp_path, good("alpha"))
    assert shown(run, "mlp") is None
    assert "phase by phase" not in write([run], tmp_path / "out").read_text(encoding="utf-8")
    recorded = load(OLD_RUN)
    assert recorded.summary["rest_mib"].isna().all()
    assert recorded.summary["peak_mib"].notna().any()
    assert shown(recorded, recorded.workloads[0]) is None


def test_twins_alike_in_memory_leave_its_verdicts(tmp_path: Path) -> None:
    run = loaded(tmp_path, with_twins(0), **TWINS)
    assert checked(run).withheld == ()
    (row,) = checked(run).of("peak_mib").to_dict("records")
    assert row["ratio_low"] < 1 < row["ratio_high"]
    assert row["pairs"] == 3
    assert run.summary.set_index("contender").loc["beta", "peak_verdict"] == "more"
    assert sorted(run.summary["contender"]) == ["alpha", "beta"], "a twin is no contender"


def test_twins_that_differ_in_memory_withhold_its_verdicts_alone(tmp_path: Path) -> None:
    run = loaded(tmp_path, with_twins(10), **TWINS)
    assert checked(run).differs == {"step_seconds": (), "peak_mib": ("mlp",)}
    row = run.summary.set_index("contender").loc["beta"]
    assert (row["peak_verdict"], row["verdict"]) == ("withheld", "slower")
    assert row["tiers"] == "2"
    warning = "Verdicts on peak memory are withheld: alpha and its twin are one program, and differ in mlp"
    page = write([run], tmp_path / "out").read_text(encoding="utf-8")
    assert 0 < page.index(warning) < page.index("Of 2 proven contenders")
    assert "with more memory_passes" in page
    assert "Verdicts on step time" not in page
    assert "Against it: beta slower." in page
    assert "| withheld |" in table(run, "mlp", everything=True)


def test_a_difference_in_one_workload_withholds_memory_in_all(tmp_path: Path) -> None:
    records = with_twins(0) + with_twins(10, "lenet")
    run = loaded(tmp_path, records, workloads=("mlp", "lenet"), **TWINS)
    assert checked(run).differs["peak_mib"] == ("lenet",)
    assert set(run.summary["peak_verdict"].dropna()) == {"withheld"}


def test_each_measure_is_a_family_of_its_own(tmp_path: Path) -> None:
    records = with_twins(0) + with_twins(10, "lenet")
    found = checked(loaded(tmp_path, records, workloads=("mlp", "lenet"), **TWINS)).table
    for measure in ("step_seconds", "peak_mib"):
        mine = found[found["measure"] == measure]
        assert len(mine) == 2
        assert mine["p_holm"].min() == pytest.approx(min(1.0, 2 * mine["p"].min())), "over workloads alone"


def test_the_control_is_told_in_one_sentence_and_in_a_table(tmp_path: Path) -> None:
    run = loaded(tmp_path, with_twins(0), **TWINS)
    said = words.control(run)
    assert said.startswith("Control: alpha entered twice; its twin's step time over its own is ")
    assert "; its peak memory likewise 1.00 (0.994 to 1.01) in mlp, where " in said
    rows = [[cell.text for cell in row] for row in shown_control.grid(checked(run)).rows]
    assert [row[:2] for row in rows] == [["mlp", "step time"], ["mlp", "peak memory"]]
    assert rows[1][2:4] == ["1.000", "equivalent"]
    page = write([run], tmp_path / "out").read_text(encoding="utf-8")
    twin = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for text in (page, twin):
        assert shown_control.sentence(checked(run)).split("*")[0] in text
        assert "peak memory likewise" in text


def test_of_many_workloads_the_sentence_has_the_range(tmp_path: Path) -> None:
    names = tuple(f"w{number}" for number in range(6))
    records = [record for name in names for record in with_twins(0, name)]
    alone = [*timed("alpha", "one"), *passes("alpha", (300,), "one"), *passes("alpha~twin", (300,), "one")]
    run = loaded(tmp_path, records + alone, workloads=(*names, "one"), **TWINS)
    said = words.control(run)
    assert "; its peak memory likewise 1.00 in 6 workloads, where " in said
    assert said.count("not known in one (fewer than 2 blocks in common)") == 1
    assert said.endswith("not known in one (fewer than 2 memory passes in common).")
    assert len(said) < 500


def test_a_control_without_memory_passes_says_nothing_of_memory(tmp_path: Path) -> None:
    twins = {record["job"] for record in passes("alpha~twin", (1, 1, 1))}
    records = [record for record in with_twins(0) if record["job"] not in twins]
    run = loaded(tmp_path, records, **TWINS)
    assert checked(run).differs["peak_mib"] == ()
    assert "memory" not in words.control(run)
    assert run.summary.set_index("contender").loc["beta", "peak_verdict"] == "more"
    assert [row[1].text for row in shown_control.grid(checked(run)).rows] == ["step time"]


def test_a_failed_pass_leaves_the_others(tmp_path: Path) -> None:
    failed = memory("alpha", block=2) | {"status": "out-of-memory", "reason": "killed", "measures": None}
    run = loaded(tmp_path, [verify("alpha"), *passes("alpha", (300, 300)), failed])
    (row,) = run.summary.to_dict("records")
    assert row["peak_mib"] == pytest.approx(300)
    assert (row["status"], row["reason"]) == ("out-of-memory", "in the memory pass: killed")
