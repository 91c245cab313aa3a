"""A run that was interrupted, anywhere, and is taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli.progress import Display
from tests.conftest import BACKENDS, Onespec, records

Capture = pytest.CaptureFixture[str]


def interrupted_run(suite: Path, out: Path, after_records: int, with_signal: int) -> None:
    """Run the suite in a process of its own and stop it when some records are there."""
    command = [sys.executable, "-m", "harness", "run", str(suite), "--out", str(out), "--blocks", "3"]
    command += ["-b", "plain", "-b", "rogue:late", "--python", f"plain={sys.executable}"]
    command += ["--python", f"rogue={sys.executable}"]
    process = subprocess.Popen(
        command, env={**os.environ, "ONESPEC_BACKENDS": str(BACKENDS)}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    path = out / "records.jsonl"
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().count("\n") >= after_records:
            break
        time.sleep(0.02)
    process.send_signal(with_signal)
    _, said = process.communicate(timeout=30)
    if with_signal == signal.SIGINT:
        assert process.returncode == 130
        assert f"onespec run --resume {out}" in said
        assert "Traceback" not in said


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("after_records", [1, 4])
def test_an_interrupted_run_resumes_without_losing_or_repeating(
    onespec: Onespec, suite: Path, tmp_path: Path, after_records: int, with_signal: int
) -> None:
    out = tmp_path / "out"
    interrupted_run(suite, out, after_records, with_signal)
    before = records(out)
    assert len(before) < 10
    assert onespec("run", "--resume", out) == 1, "rogue:late fails"
    after = records(out)
    assert len(after) == 10
    assert all(after[job] == record for job, record in before.items())
    assert onespec("run", "--resume", out) == 1
    assert records(out) == after, "a finished run has nothing left to do"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_python_drops_stops_the_run_all_the_same(
    onespec: Onespec, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Display, "job", lambda self, job, record: Finalized() and None)
    assert onespec("run", suite, "--out", tmp_path / "out") == 130
    assert len(records(tmp_path / "out")) <= 1


def test_a_record_cut_in_half_is_set_aside_and_its_job_run_again(
    onespec: Onespec, suite: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    onespec("run", suite, "--out", out)
    path = out / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    for result in (out / "work" / "jobs").glob("*measure*.result.json"):
        result.unlink()
    assert onespec("run", "--resume", out) == 0
    assert len(records(out)) == 4
    assert (out / "records.damaged").read_bytes().startswith(b'{"schema": 1')


def test_a_suite_that_changed_does_not_change_a_run_that_is_resumed(
    onespec: Onespec, suite: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    onespec("run", suite, "--out", out, "--blocks", "1")
    suite.write_text("no longer a suite")
    (out / "records.jsonl").write_text("")
    assert onespec("run", "--resume", out) == 0


def test_a_run_with_another_fingerprint_is_not_resumed(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    onespec("run", suite, "--out", out, "--blocks", "1")
    path = out / "run.json"
    meta = json.loads(path.read_text())
    meta["workloads"]["tiny"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(meta))
    assert onespec("run", "--resume", out) == 2
    assert "is another one now" in capsys.readouterr().err


def test_a_run_is_not_resumed_on_other_hardware(
    onespec: Onespec, suite: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    onespec("run", suite, "--out", out, "--blocks", "1")
    path = out / "run.json"
    meta = json.loads(path.read_text())
    meta["machine"]["cpu"] = "Zuse Z3"
    path.write_text(json.dumps(meta))
    before = records(out)
    assert onespec("run", "--resume", out) == 2
    assert "began on other hardware (cpu: Zuse Z3, here " in capsys.readouterr().err
    assert records(out) == before


def test_a_run_that_other_software_finishes_says_so(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    onespec("run", suite, "--out", out, "--blocks", "1")
    path = out / "run.json"
    meta = json.loads(path.read_text())
    commit = meta["software"]["commit"]
    meta["software"]["commit"] = "0123456789ab"
    path.write_text(json.dumps(meta))
    for _ in range(2):
        assert onespec("run", "--resume", out) == 0
        assert json.loads(path.read_text())["software"]["commit"] == f"0123456789ab, then {commit}"
