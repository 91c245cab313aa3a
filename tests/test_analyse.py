"""What a recorded run says: tables, ranks and ratios against numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harness
from harness.analyse import proof
from harness.analyse.environments import group
from harness.analyse.headline import headline
from harness.analyse.learning import learning
from harness.analyse.run import Run, load
from harness.errors import UsageError
from tests import synthetic
from tests.synthetic import good, measure, memory, verify


def loaded(folder: Path, records: list[synthetic.Record], **options: Any) -> Run:
    return load(synthetic.write(folder / "run", records, **options))


def row(run: Run, contender: str, workload: str = "mlp") -> dict[Any, Any]:
    chosen = run.summary_of(workload)
    return chosen[chosen["contender"] == contender].to_dict("records")[0]


def test_a_process_is_the_median_of_its_blocks_without_warm_up(tmp_path: Path) -> None:
    run = loaded(tmp_path, [verify("alpha"), measure("alpha", step_ms=(1.0, 9.0, 2.0), warmup_ms=70.0)])
    assert run.processes["step_seconds"].tolist() == pytest.approx([0.002])


def test_a_contender_is_the_mean_of_its_processes_logarithms_with_its_t_interval(tmp_path: Path) -> None:
    found = row(loaded(tmp_path, good("alpha", step_ms=(1.0, 2.0, 4.0))), "alpha")
    half = 4.302653 * np.log(2) / np.sqrt(3)
    assert found["step_seconds"] == pytest.approx(0.002)
    bounds = (found["step_seconds_low"], found["step_seconds_high"])
    assert bounds == pytest.approx((0.002 * np.exp(-half), 0.002 * np.exp(half)))
    assert found["samples_per_second"] == pytest.approx(32 / 0.002)
    assert found["processes"] == 3
    # Imports take 1, 2 and 3 seconds.
    half = 4.302653 * np.std(np.log([1, 2, 3]), ddof=1) / np.sqrt(3)
    bounds = tuple(found[f"import_seconds{end}"] for end in ("", "_low", "_high"))
    mean = 6 ** (1 / 3)
    assert bounds == pytest.approx((mean, mean * np.exp(-half), mean * np.exp(half)))
    assert [found[f"build_seconds{end}"] for end in ("", "_low", "_high")] == pytest.approx([0.25] * 3)


def test_ratios_are_paired_within_blocks(tmp_path: Path) -> None:
    records = good("alpha", step_ms=(1.0, 3.0, 9.0)) + good("beta", step_ms=(2.0, 6.0, 18.0))
    run = loaded(tmp_path, records)
    found = row(run, "beta")
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == pytest.approx((2.0, 2.0, 2.0))
    assert (found["ratio_blocks"], found["verdict"]) == (3, "slower")
    assert row(run, "alpha")["ratio"] == 1.0


def test_only_blocks_that_both_finished_are_paired(tmp_path: Path) -> None:
    run = loaded(tmp_path, good("alpha", step_ms=(1.0, 2.0, 4.0)) + good("beta", step_ms=(5.0,)))
    found = row(run, "beta")
    assert (found["ratio"], found["ratio_blocks"], found["rank"]) == (pytest.approx(5.0), 1, 2)
    assert (found["verdict"], run.comparisons["why"][0]) == (
        "inconclusive",
        "1 block in common, and a spread needs 2",
    )


def test_the_first_process_of_a_contender_holds_the_cold_compile(tmp_path: Path) -> None:
    records = [
        verify("alpha"),
        measure("alpha", block=0, first_step=0.4, started="2026-01-02T03:30:00+00:00"),
        measure("alpha", block=1, first_step=17.0, started="2026-01-02T03:10:00+00:00"),
        measure("alpha", block=2, first_step=0.6, started="2026-01-02T03:20:00+00:00"),
        *[verify("beta"), measure("beta", first_step=3.0)],
    ]
    run = loaded(tmp_path, records)
    alpha, beta = (row(run, name) for name in ("alpha", "beta"))
    assert alpha["first_step_cold_seconds"] == 17.0
    assert alpha["first_step_seconds"] == pytest.approx(np.sqrt(0.4 * 0.6))
    assert alpha["first_step_seconds_low"] < 0.4
    assert alpha["first_step_seconds_high"] > 0.6
    assert beta["first_step_cold_seconds"] == 3.0
    assert np.isnan(beta["first_step_seconds"]), "there is no later process"


def test_a_disturbed_first_attempt_found_the_cache_cold_and_its_repeat_did_not(tmp_path: Path) -> None:
    disturbed = {"superseded": True, "attempt": 0}
    records = [
        measure("alpha", block=0, first_step=13.0) | disturbed,
        measure("alpha", block=0, first_step=0.5) | {"attempt": 1},
        measure("alpha", block=1, first_step=9.0) | disturbed,
        measure("alpha", block=1, first_step=2.0) | {"attempt": 1},
    ]
    found = row(loaded(tmp_path, [verify("alpha"), *records]), "alpha")
    assert found["first_step_cold_seconds"] == 13.0
    assert found["first_step_seconds"] == pytest.approx(1.0), "of those that count, sqrt(0.5 * 2)"
    assert found["processes"] == 2


def test_inference_is_the_median_rate(tmp_path: Path) -> None:
    run = loaded(tmp_path, [verify("alpha"), measure("alpha", evaluate=(100.0, 400.0, 200.0))])
    assert row(run, "alpha")["evaluate_samples_per_second"] == pytest.approx(200.0)


def test_the_metric_is_the_mean_over_seeds_each_counted_once(tmp_path: Path) -> None:
    trained = [(0, 0.90), (0, 0.94), (1, 0.98)]
    records = [
        measure("alpha", block=block, seed=seed, accuracy=accuracy)
        for block, (seed, accuracy) in enumerate(trained)
    ]
    found = row(loaded(tmp_path, [verify("alpha"), *records], target=0.95), "alpha")
    half = 12.706205 * 0.03
    assert (found["metric_mean"], found["metric_low"], found["metric_high"]) == pytest.approx(
        (0.95, 0.95 - half, 0.95 + half)
    )
    assert (found["metric_seeds"], found["target_reached"]) == (2, True)


def test_metrics_beside_the_first_have_their_interval_over_seeds_too(tmp_path: Path) -> None:
    records = [
        measure(
            "alpha", block=seed, seed=seed, learning={"train": [], "test": {"accuracy": 0.9, "r2": value}}
        )
        for seed, value in enumerate((0.96, 0.98))
    ]
    folder = synthetic.write(tmp_path / "run", [verify("alpha"), *records])
    meta = json.loads((folder / "run.json").read_text())
    meta["workloads"]["mlp"]["spec"]["metrics"] = ["accuracy", "r2"]
    (folder / "run.json").write_text(json.dumps(meta))
    found = row(load(folder), "alpha")
    half = 12.706205 * 0.01
    bounds = [found[f"other_metrics{end}"]["r2"] for end in ("", "_low", "_high")]
    assert bounds == pytest.approx([0.97, 0.97 - half, 0.97 + half])


def test_memory_counts_from_the_interpreters_start(tmp_path: Path) -> None:
    run = loaded(tmp_path, [memory("alpha", after_import=150, peak=275)])
    found = row(run, "alpha")
    assert (found["import_mib"], found["peak_mib"]) == pytest.approx((150.0, 275.0))


def test_what_was_not_measured_is_nan_and_never_zero(tmp_path: Path) -> None:
    run = loaded(tmp_path, [verify("alpha"), measure("alpha", step_ms=(), evaluate=())])
    found = row(run, "alpha")
    absent = (
        "step_seconds",
        "rank",
        "peak_mib",
        "device_peak_mib",
        "metric_mean",
        "evaluate_samples_per_second",
    )
    assert all(pd.isna(found[name]) for name in absent)
    assert found["reason"] == "no steady state: no timed block of training steps on record"


def chaotic(contender: str) -> synthetic.Record:
    """A proof that nothing could fail: rounding alone may move the parameters anywhere."""
    record = verify(contender)
    entry = {"tensor": "parameter/model/dense1/kernel", "error": 0.4, "tolerance": 3.0}
    return record | {"proof": {precision: [entry] for precision in record["proof"]}}


@pytest.mark.parametrize(
    ("records", "status", "reason"),
    [
        ([verify("beta", error=0.1, status="failed", reason="gradient off")], "failed", "gradient off"),
        (
            [verify("beta", error=0.1), measure("beta")],
            "ok",
            "gradient/dense1/kernel in float64 is off by 0.1",
        ),
        (
            [verify("beta", error=None), measure("beta")],
            "ok",
            "gradient/dense1/kernel in float64 is off by inf",
        ),
        ([measure("beta")], "ok", "no proof on record"),
        (
            [chaotic("beta"), measure("beta")],
            "ok",
            "float64 cannot decide the steps: rounding alone moves the parameters so far that the median "
            "tolerance is 3. Take a smaller learning rate or a larger proof_batch",
        ),
        (
            [verify("beta", precisions=("float32",)), measure("beta")],
            "ok",
            "its proof lacks the part in float64",
        ),
        (
            [*good("beta"), measure("beta", block=7, status="crashed", reason="signal 11", measured=False)],
            "crashed",
            "while measuring: signal 11",
        ),
        (
            [*good("beta"), measure("beta", block=7, status="timeout", reason="120 s", measured=False)],
            "timeout",
            "while measuring: 120 s",
        ),
        ([verify("beta", status="unsupported", reason="no conv")], "unsupported", "no conv"),
    ],
)
def test_unproven_and_failed_contenders_have_no_rank(
    tmp_path: Path, records: list[synthetic.Record], status: str, reason: str
) -> None:
    run = loaded(tmp_path, good("alpha", step_ms=(900.0,)) + records)
    found = row(run, "beta")
    assert (found["status"], found["reason"]) == (status, reason)
    assert pd.isna(found["rank"])
    assert pd.isna(found["ratio"])
    assert row(run, "alpha")["rank"] == 1


def test_a_planned_contender_without_a_record_is_shown_as_not_run(tmp_path: Path) -> None:
    found = row(loaded(tmp_path, good("alpha"), contenders=["alpha", "beta"]), "beta")
    assert found["status"] == "not run"


def test_the_gravest_status_of_a_contender_counts(tmp_path: Path) -> None:
    records = [
        verify("alpha"),
        measure("alpha", block=0, status="timeout", reason="slow", measured=False),
        measure("alpha", block=1, status="crashed", reason="gone", measured=False),
    ]
    assert row(loaded(tmp_path, records), "alpha")["status"] == "crashed"


def test_an_error_that_is_not_finite_never_passes(tmp_path: Path) -> None:
    run = loaded(tmp_path, [verify("alpha", error=None)])
    worst = proof.worst(run.proofs)["float32"]
    assert (worst["tensor"], worst["error"]) == ("gradient/dense1/kernel", float("inf"))
    assert not run.proofs["passed"][run.proofs["tensor"] == "gradient/dense1/kernel"].any()


def test_the_worst_tensor_is_the_one_nearest_to_its_tolerance(tmp_path: Path) -> None:
    found = row(loaded(tmp_path, [verify("alpha", error=9e-9, tolerance=1e-8)]), "alpha")
    assert found["float32_tensor"] == "gradient/dense1/kernel"
    assert found["float32_ratio"] == pytest.approx(0.9)
    assert found["proof_ratio"] == pytest.approx(0.9)


def test_proof_groups_count_their_tensors(tmp_path: Path) -> None:
    run = loaded(tmp_path, [verify("alpha", error=5e-6)])
    found = proof.groups(run.proofs)
    counts = {row["group"]: (row["tensors"], row["failed"]) for row in found.to_dict("records")}
    assert counts == {"output": (1, 0), "loss": (1, 0), "gradient": (1, 1), "parameters": (1, 0)}


def test_a_record_cut_in_half_is_left_out_and_counted(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", good("alpha", step_ms=(1.0, 2.0)))
    file = folder / "records.jsonl"
    whole = load(folder)
    file.write_bytes(file.read_bytes() + b'{"schema": 1, "job": "mlp/alpha/measure/2", "ki')
    cut = load(folder)
    assert (whole.unreadable, cut.unreadable) == (0, 1)
    pd.testing.assert_frame_equal(whole.summary, cut.summary)


def test_of_a_job_with_two_records_the_last_counts(tmp_path: Path) -> None:
    again = [measure("alpha", step_ms=(time,) * 3) for time in (7.0, 3.0)]
    run = loaded(tmp_path, [verify("alpha"), *again])
    assert run.processes["step_seconds"].tolist() == pytest.approx([0.003])


def test_a_record_of_another_spec_is_left_out_and_counted(tmp_path: Path) -> None:
    foreign = measure("alpha", block=1, step_ms=(50.0,)) | {"fingerprint": "e" * 64}
    run = loaded(tmp_path, [*good("alpha", step_ms=(1.0,)), foreign])
    assert (run.foreign, row(run, "alpha")["processes"]) == (1, 1)


def test_a_run_without_records_has_empty_tables(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", [], contenders=["alpha"])
    (folder / "records.jsonl").unlink()
    run = harness.load(str(folder))
    assert run.records.empty
    assert run.summary["status"].tolist() == ["not run"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it has no run.json"),
        ("{", "cannot be read"),
        ("[]", "does not hold a JSON object"),
        ('{"schema": 1, "run": "x"}', "it lacks workloads, contenders"),
        ('{"schema": 2, "run": "x"}', "has schema 2"),
    ],
)
def test_a_folder_that_is_no_run_is_refused_with_the_reason(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        load(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        load(tmp_path / "nowhere")


def test_a_record_of_a_newer_schema_is_refused_with_its_line(tmp_path: Path) -> None:
    newer = measure("alpha") | {"schema": 2}
    folder = synthetic.write(tmp_path / "run", [verify("alpha"), newer])
    with pytest.raises(UsageError, match=r"records\.jsonl, line 2, has schema 2"):
        load(folder)


def test_curves_hold_every_split_and_metric(tmp_path: Path) -> None:
    curve = {
        "train": [{"step": 10, "loss": 2.0}],
        "validation": [{"epoch": 1, "step": 44, "loss": 1.0, "accuracy": 0.5}],
        "test": {"loss": 0.9, "accuracy": 0.6},
    }
    run = loaded(tmp_path, [measure("alpha", seed=3, learning=curve)])
    found = run.curves[["seed", "split", "metric", "value"]].values.tolist()
    assert sorted(found) == [
        [3, "test", "accuracy", 0.6],
        [3, "test", "loss", 0.9],
        [3, "train", "loss", 2.0],
        [3, "validation", "accuracy", 0.5],
        [3, "validation", "loss", 1.0],
    ]


def test_deviation_is_the_distance_from_the_median_of_the_contenders(tmp_path: Path) -> None:
    losses = {"alpha": 1.0, "beta": 1.5, "gamma": 4.0}
    records = [
        measure(name, seed=0, learning={"train": [{"step": 1, "loss": loss}]})
        for name, loss in losses.items()
    ]
    records.append(measure("alpha", block=1, seed=1, learning={"train": [{"step": 1, "loss": 9.0}]}))
    found = learning(loaded(tmp_path, records).curves, "mlp", "accuracy")
    assert found.seed == 0
    assert found.train.loc[1].to_dict() == losses
    assert found.deviation.loc[1].dropna().to_dict() == {"alpha": 0.5, "gamma": 2.5}


def test_the_headline_counts_verdicts_and_names_who_shares_the_first_tier(tmp_path: Path) -> None:
    records = (
        good("alpha", step_ms=(1.0, 1.1, 1.2))
        + good("alpha:fast", step_ms=(1.2, 1.0, 1.4))
        + good("beta", step_ms=(2.41, 2.6, 2.9))
        + good("gamma")[1:]
    )
    run = loaded(tmp_path, records)
    found = headline(run.summary, "mlp")
    assert (found.fastest, found.sharing, found.slowest) == ("alpha", ("alpha:fast",), "beta")
    assert found.verdicts == {"slower": ("beta",), "inconclusive": ("alpha:fast",)}
    assert (found.ranked, found.unranked) == (3, 1)


def test_environments_are_grouped_by_what_is_in_them(tmp_path: Path) -> None:
    run = loaded(tmp_path, good("alpha") + good("alpha:fast") + good("alpha:slow") + good("beta"))
    grouped, common = group(run.environments)
    assert [environment.contenders for environment in grouped] == [
        ("alpha", "alpha:slow"),
        ("alpha:fast",),
        ("beta",),
    ]
    assert grouped[1].variables == (("FAST", "1"),)
    assert common == (("OMP_NUM_THREADS", "2"),)


def test_a_large_run_ranks_every_proven_contender_once(tmp_path: Path) -> None:
    run = load(synthetic.realistic(tmp_path / "run"))
    for workload in run.workloads:
        rows = run.summary_of(workload)
        assert len(rows) == len(synthetic.THIRTEEN)
        assert rows["rank"].dropna().tolist() == list(range(1, 12))
        assert rows["step_seconds"][rows["rank"].notna()].is_monotonic_increasing


def test_the_same_times_in_another_order_share_a_rank(tmp_path: Path) -> None:
    # Added up as they come, their logarithms differ in the last digit.
    records = [*good("alpha", step_ms=(28.0, 3.0, 0.7, 0.1)), *good("beta", step_ms=(28.0, 3.0, 0.1, 0.7))]
    assert loaded(tmp_path, records).summary["rank"].tolist() == [1, 1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_summary_does_not_depend_on_the_order_of_records(tmp_path: Path, data: st.DataObject) -> None:
    times = st.lists(st.floats(0.01, 100.0), min_size=0, max_size=4)
    records = [
        record
        for contender in ("alpha", "alpha:fast", "beta")
        for record in good(contender, step_ms=tuple(data.draw(times)))
    ]
    records.append(measure("beta", block=9, status="crashed", reason="gone", measured=False))
    shuffled = data.draw(st.permutations(records))
    first, second = (loaded(tmp_path, each).summary for each in (records, shuffled))
    pd.testing.assert_frame_equal(first, second)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(min_value=0))
def test_a_file_cut_anywhere_still_gives_every_whole_record(tmp_path: Path, cut: int) -> None:
    folder = synthetic.write(tmp_path / "run", good("alpha", step_ms=(1.0, 2.0)))
    content = (folder / "records.jsonl").read_bytes()
    kept = content[: cut % (len(content) + 1)]
    (folder / "records.jsonl").write_bytes(kept)
    whole = [line for line in kept.split(b"\n") if line and _is_json(line)]
    run = load(folder)
    assert len(run.records) == len(whole)
    assert run.unreadable == (0 if not kept.split(b"\n")[-1] or _is_json(kept.split(b"\n")[-1]) else 1)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
