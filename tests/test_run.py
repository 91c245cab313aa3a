"""A run from its suite to its report, and everything that can go wrong on the way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

import harness
from harness import paths, score
from harness.execute.local import Process, Worker, wait_any
from harness.execute.run import Run
from harness.plan.jobs import KINDS
from harness.plan.suite import ProtocolTable
from harness.store import Store
from tests.conftest import BACKENDS, Onespec, records

Capture = pytest.CaptureFixture[str]


def test_a_run_proves_measures_records_and_reports(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out) == 0

    meta = json.loads((out / "run.json").read_text())
    found = records(out)
    assert set(found) == {job["job"] for job in meta["jobs"]}
    assert set(found) == {
        "tiny/plain/verify",
        "tiny/plain/memory/0",
        "tiny/plain/measure/0",
        "tiny/plain/measure/1",
    }
    assert {record["status"] for record in found.values()} == {"ok"}
    assert {record["fingerprint"] for record in found.values()} == {meta["workloads"]["tiny"]["fingerprint"]}
    assert (out / "report" / "index.html").is_file()

    run = harness.load(str(out))
    (row,) = run.summary.to_dict("records")
    assert row["proven"]
    assert row["rank"] == 1
    assert row["metric_mean"] > 0.5
    assert row["processes"] == 2


def test_a_measurement_holds_raw_samples_curve_and_final_metric(
    onespec: Onespec, suite: Path, tmp_path: Path
) -> None:
    onespec("run", suite, "--out", tmp_path / "out")
    found = records(tmp_path / "out")
    first, second = (found[f"tiny/plain/measure/{block}"]["measures"] for block in (0, 1))
    timed = [block for block in first["train_blocks"] if not block["warmup"]]
    assert len(timed) == 3
    assert all(block["seconds"] > 0 and block["steps"] > 0 for block in first["train_blocks"])
    assert [point["samples"] for point in first["evaluate_passes"]] == [360, 360]
    learning = first["learning"]
    assert [point["step"] for point in learning["train"]][-1] == 35
    assert learning["train"][0]["loss"] > learning["train"][-1]["loss"]
    assert learning["validation"][0]["epoch"] == 1
    assert set(learning["test"]) == {"loss", "accuracy"}
    assert second["learning"] is None, "one seed is asked for: the second block only times"
    memory = found["tiny/plain/memory/0"]["measures"]
    assert memory["start_bytes"] < memory["import_bytes"] <= memory["peak_bytes"]


@pytest.mark.parametrize("words", [["--control", "first"], ["--control", "plain:loop"]])
def test_the_control_enters_twice_as_the_same_thing(
    onespec: Onespec, suite: Path, tmp_path: Path, words: list[str]
) -> None:
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out, *words) == 0
    meta = json.loads((out / "run.json").read_text())
    assert meta["control"] == {"contender": "plain", "twin": "plain~twin"}
    assert meta["contenders"] == ["plain"]
    found = records(out)
    assert set(found) == {job["job"] for job in meta["jobs"]}
    rounds = [("memory", 0), ("measure", 0), ("measure", 1)]
    twins = {f"tiny/plain~twin/{kind}/{block}" for kind, block in rounds}
    assert {job for job in found if "~" in job} == twins
    for kind, block in rounds:
        first, second = (found[f"tiny/plain{end}/{kind}/{block}"] for end in ("", "~twin"))
        assert second["status"] == "ok"
        assert {first["turn"], second["turn"]} == {0, 1}
        assert second["measures"].get("learning") is None
        jobs = [
            json.loads((out / "work" / "jobs" / f"tiny__plain{end}__{kind}__{block}.json").read_text())
            for end in ("", "~twin")
        ]
        for job in jobs:
            del job["job"], job["result"], job["protocol"]["learn"], job["variables"]["ONESPEC_PADDING"]
        assert jobs[0] == jobs[1], "the worker is asked for the same"


def test_memory_is_measured_in_rounds_by_the_contender_and_its_twin(
    onespec: Onespec, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.execute.run.tidy", lambda store: None)
    suite.write_text(suite.read_text().replace("memory_passes = 1", "memory_passes = 3"))
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out, "--blocks", "1", "--control", "first") == 0
    found = records(out)
    passes = {job: record for job, record in found.items() if record["kind"] == "memory"}
    assert set(passes) == {f"tiny/plain{end}/memory/{number}" for end in ("", "~twin") for number in range(3)}
    assert {(record["block"], record["turn"]) for record in passes.values()} == {
        (number, turn) for number in range(3) for turn in (0, 1)
    }
    run = harness.load(str(out))
    (row,) = run.summary.to_dict("records")
    assert row["rest_mib"] <= row["peak_mib"]
    assert row["peak_mib_low"] <= row["peak_mib"] <= row["peak_mib_high"]
    assert run.control is not None
    assert run.control.of("peak_mib")["pairs"].tolist() == [3]
    caches = {str(path.relative_to(out / "work" / "cache")) for path in (out / "work" / "cache").glob("*/*")}
    assert caches == {"plain/proof", "plain/measure", "plain~twin/measure"}, "a twin's passes begin as warm"


def test_an_unproven_contender_has_no_measured_twin(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out, "-b", "rogue", "-b", "plain", "--control", "rogue") == 1
    assert not any("~twin" in job for job in records(out))


def test_a_control_that_does_not_run_is_refused(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture
) -> None:
    suite.write_text(suite.read_text().replace('control = "none"', 'control = "rogue:crash"'))
    assert onespec("run", suite, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert f"{suite}: protocol.control: rogue:crash is not among the contenders" in said
    assert "--control none" in said
    assert onespec("run", suite, "--out", tmp_path / "out", "--control", "plian") == 2
    assert "Did you mean 'plain'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unproven_contender_is_never_measured(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out, "-b", "plain", "-b", "rogue") == 1
    found = records(out)
    verdict = found["tiny/rogue/verify"]
    assert verdict["status"] == "failed"
    assert re.search(r"float64: parameter/model/\S+ is off by [1-9]\.\d\de-02", verdict["reason"])
    assert not any(job.startswith("tiny/rogue") and "verify" not in job for job in found)
    summary = harness.load(str(out)).summary.set_index("contender")
    assert summary.loc["plain", "rank"] == 1
    assert summary.loc["rogue", "rank"] != summary.loc["rogue", "rank"], "an unproven contender has a rank"
    assert "rogue" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mode", "status", "words"),
    [
        ("crash", "crashed", "RuntimeError: the kernel launch failed"),
        ("segfault", "crashed", "SIGSEGV"),
        ("killed", "out-of-memory", "killed by the system"),
        ("memory", "out-of-memory", "3.00 PiB"),
        ("silent", "crashed", "exit code 0"),
        ("unsupported", "unsupported", "rogue.build refuses everything"),
        ("late", "crashed", "no more"),
        ("diverge", "diverged", "the training loss is inf"),
    ],
)
def test_a_failure_is_a_record_and_the_others_carry_on(
    onespec: Onespec, suite: Path, tmp_path: Path, mode: str, status: str, words: str
) -> None:
    out = tmp_path / "out"
    code = onespec("run", suite, "--out", out, "--blocks", "1", "-b", f"rogue:{mode}", "-b", "plain")
    assert code == (0 if status == "unsupported" else 1)
    found = records(out)
    failed = [record for record in found.values() if record["contender"] == f"rogue:{mode}"]
    assert failed[-1]["status"] == status
    assert words in failed[-1]["reason"]
    assert found["tiny/plain/measure/0"]["status"] == "ok"


def test_what_finds_no_memory_beside_another_is_tried_once_more_without_a_neighbour(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    contenders = ("-b", "plain", "-b", "rogue:memory", "-b", "rogue:unsupported")
    assert onespec("run", suite, "--out", out, "--blocks", "1", *contenders) == 1
    lines = (out / "records.jsonl").read_text().splitlines()
    proofs = [record for record in map(json.loads, lines) if record["kind"] == "verify"]
    tried = [record for record in proofs if record["contender"] == "rogue:memory"]
    assert [(record["attempt"], record["superseded"]) for record in tried] == [(0, True), (1, False)]
    begun = [datetime.fromisoformat(record["started"]).timestamp() for record in proofs]
    spans = [(start, start + record["wall_seconds"]) for start, record in zip(begun, proofs, strict=True)]
    alone = spans[proofs.index(tried[1])]
    others = [span for span in spans if span != alone]
    assert all(end <= alone[0] + 0.01 or begin >= alone[1] - 0.01 for begin, end in others)
    said = " ".join(capsys.readouterr().out.split())
    assert "1 job found no memory left and ran again without a neighbour" in said


def test_a_process_without_end_is_stopped_and_recorded(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    suite.write_text(suite.read_text().replace("time_limit_seconds = 60", "time_limit_seconds = 3"))
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out, "-b", "rogue:hang") == 3
    (record,) = records(out).values()
    assert record["status"] == "timeout"
    assert "no end after 3 s" in record["reason"]


def test_a_broken_interpreter_is_an_error_that_says_so(suite: Path, tmp_path: Path, capsys: Capture) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/nowhere/python\n")
    broken.chmod(0o755)
    os.environ["ONESPEC_BACKENDS"] = str(BACKENDS)
    try:
        words = ["run", str(suite), "--out", str(tmp_path / "out"), "--python", f"plain={broken}"]
        assert harness.cli.main(words) in (1, 2, 3)
    finally:
        del os.environ["ONESPEC_BACKENDS"]
    assert str(broken) in capsys.readouterr().err


def test_a_dry_run_names_the_jobs_and_does_nothing(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out, "--dry-run") == 0
    assert "4 jobs" in capsys.readouterr().out
    assert not out.exists()


def test_verify_shows_error_and_tolerance_and_fails_with_the_proof(
    onespec: Onespec, suite: Path, capsys: Capture
) -> None:
    assert onespec("verify", suite, "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert set(record["proof"]) == {"float32", "float64"}
    assert onespec("verify", suite, "-b", "rogue") == 1
    assert re.search(r"is off by\s+[1-9]\.\d\de-02", capsys.readouterr().out)


def test_a_run_may_be_started_from_any_folder(
    onespec: Onespec, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert onespec("run", suite.name, "--out", "here", "--blocks", "1") == 0
    assert {record["status"] for record in records(tmp_path / "here").values()} == {"ok"}


@pytest.mark.parametrize(("asked", "found"), [("flush", "flushed"), ("default", "default")])
def test_subnormals_are_as_the_suite_asks_and_recorded(
    onespec: Onespec, suite: Path, tmp_path: Path, asked: str, found: str
) -> None:
    suite.write_text(suite.read_text().replace("[protocol]", f'[protocol]\nsubnormals = "{asked}"'))
    assert onespec("run", suite, "--out", tmp_path / "out") == 0
    settings = {
        record["environment"]["settings"]["subnormals"] for record in records(tmp_path / "out").values()
    }
    assert settings == {found}


def test_a_job_run_again_by_hand_has_the_variables_that_it_had(
    onespec: Onespec, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    onespec("run", suite, "--threads", "1", "--out", out)
    job = out / "work" / "jobs" / "tiny__plain__verify.json"
    result = Path(json.loads(job.read_text())["result"])
    result.unlink()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    subprocess.run([sys.executable, "-m", "harness.worker", job], cwd=paths.root(), check=True)
    found = json.loads(result.read_text())
    assert found["status"] == "ok"
    assert found["environment"]["variables"]["OMP_NUM_THREADS"] == "1"


def test_processes_that_share_the_cores_wait_asleep_and_those_that_are_timed_as_they_like(
    onespec: Onespec, suite: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out) == 0
    waits = {
        (record["kind"], record["environment"]["variables"].get("OMP_WAIT_POLICY"))
        for record in records(out).values()
    }
    assert waits == {("verify", "passive"), ("memory", "passive"), ("measure", None)}
    facts = harness.load(str(out)).environments
    assert "OMP_WAIT_POLICY" not in set(facts["name"]), "a report tells of the clocks' processes"


@pytest.mark.parametrize(("device", "together"), [("cpu", 2), ("cuda:0", 1)])
def test_on_an_accelerator_no_job_has_a_neighbour(tmp_path: Path, device: str, together: int) -> None:
    run = Run(Store(tmp_path), {}, {}, device, 1, ProtocolTable())
    at_a_time = {kind: run._at_a_time(kind) for kind in KINDS}
    assert at_a_time == {"verify": together, "memory": together, "pilot": 1, "measure": 1}


def test_what_precedes_a_program_in_memory_has_another_length_in_each_process(
    onespec: Onespec, suite: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out) == 0
    jobs = [json.loads(path.read_text()) for path in (out / "work" / "jobs").glob("*[0-9].json")]
    lengths = [len(job["variables"]["ONESPEC_PADDING"]) for job in jobs]
    assert len(lengths) > 2
    assert len(set(lengths)) == len(lengths)


def test_compiled_modules_are_kept_whatever_a_container_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    said = tmp_path / "said"
    program = tmp_path / "program.py"
    program.write_text(f"import sys; open({str(said)!r}, 'w').write(str(sys.dont_write_bytecode))")
    command = Process(program, Path(sys.executable), {}, 1, tmp_path / "result", tmp_path / "log", 60.0)
    monkeypatch.setattr(Process, "command", property(lambda self: [sys.executable, str(self.job_file)]))
    worker = Worker(command)
    wait_any([worker])
    assert said.read_text() == "False"


def test_scores_are_taken_without_threads_that_spin_on_beside_the_next_worker(
    onespec: Onespec, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def scores(_: object) -> dict[str, float]:
        threads.extend(pool["num_threads"] for pool in threadpool_info())
        return {}

    monkeypatch.setattr(score, "wanted", lambda _: True)
    monkeypatch.setattr(score, "scores", scores)
    monkeypatch.setattr(score, "keep", lambda *_: None)
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out) == 0
    assert set(threads) == {1}
    assert not list((out / "work" / "outputs").iterdir()), "what is scored is not kept"
