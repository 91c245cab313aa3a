"""The command line: wrong words get the right exit code, the nearest right word, and no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli, machine
from harness.cli import COMMANDS
from harness.execute import prepare
from harness.plan.suite import suite_names
from tests.conftest import Onespec

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runn", "quick"], "unknown command 'runn'. Did you mean 'run'?"),
        (["run"], f"which suite? There is {', '.join(suite_names())}."),
        (["run", "quik"], "unknown suite 'quik'. Did you mean 'quick'?"),
        (["run", "nowhere/mine.toml"], "there is no suite file nowhere/mine.toml"),
        (["run", "quick", "-b", "trch"], "unknown backend 'trch'. Did you mean 'torch'?"),
        (
            ["run", "quick", "-b", "torch:compiled"],
            "unknown mode of torch 'compiled'. Did you mean 'compile'?",
        ),
        (["run", "quick", "-b", "torch=2.0"], "a version is written with '=='"),
        (["run", "quick", "-w", "digits-mpl"], "Did you mean 'digits-mlp'?"),
        (["run", "quick", "--size", "tinny"], "unknown size 'tinny'. There is cpu."),
        (["run", "vision", "--size", "tinny"], "unknown size 'tinny'. Did you mean 'tiny'?"),
        (["run", "quick", "--device", "cdua:0"], "unknown device 'cdua:0'. Did you mean 'cuda:0'?"),
        (["run", "quick", "--blocks", "0"], "--blocks must be at least 1, got 0"),
        (["run", "quick", "--data-dir", "/nowhere"], "--data-dir /nowhere is not a folder"),
        (["run", "quick", "--python", "torch=/nowhere/python"], "is not an interpreter that can be run"),
        (["run", "quick", "--resume", "results"], "leave the suite out"),
        (["run", "--resume", "/nowhere"], "/nowhere holds no run"),
        (["verify", "quick", "-b", "jx"], "unknown backend 'jx'. Did you mean 'jax'?"),
        (["show", "digits-mpl"], "Did you mean 'digits-mlp'?"),
        (["data", "check", "mnits"], "Did you mean 'mnist'?"),
        (["env", "create", "troch"], "Did you mean 'torch'?"),
        (["report", "nowhere-2020"], "unknown run 'nowhere-2020'"),
    ],
)
def test_wrong_words_are_answered_with_what_is_right(words: list[str], said: str, capsys: Capture) -> None:
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("onespec: ")


@pytest.mark.parametrize("words", [["run", "quick", "--threads", "0"], ["run", "quick", "--seed", "-1"]])
def test_numbers_out_of_range_are_refused(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert "must be at least" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_refused_before_anything_runs(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "describe", lambda: {"gpu": None})
    assert cli.main(["run", "quick", "--device", "gpu"]) == 2
    assert "shows no GPU" in capsys.readouterr().err


def test_a_results_folder_that_cannot_be_written_is_refused(
    onespec: Onespec, suite: Path, capsys: Capture
) -> None:
    assert onespec("run", suite, "--out", "/proc/onespec") == 2
    assert "Choose another place with --out" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert f"example: onespec {command}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("what", ["suites", "workloads", "backends", "datasets", "runs"])
def test_lists_are_there_for_people_and_for_programs(what: str, capsys: Capture) -> None:
    assert cli.main(["list", what, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows, f"no {what} in a checkout"
    assert cli.main(["list", what]) == 0
    assert str(next(iter(rows[0].values()))) in capsys.readouterr().out


@pytest.mark.parametrize("thing", ["lenet5", "torch", "mnist-reference"])
def test_a_workload_a_backend_and_a_run_can_be_shown(thing: str, capsys: Capture) -> None:
    assert cli.main(["show", thing]) == 0
    assert thing in capsys.readouterr().out
    assert cli.main(["show", thing, "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_a_run_that_cannot_be_read_is_a_line_among_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(prepare, "results_folder", lambda: tmp_path)
    meta = {"schema": 1, "created": "then", "suite": {"name": "s"}, "contenders": ["a"], "jobs": [1, 2]}
    for name, text in (("bad", '{"schema"'), ("good", json.dumps(meta)), ("new", '{"schema": 99}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    (tmp_path / "good" / "records.jsonl").write_text('{"job": "one"}\n{"job": "tw')
    assert cli.main(["list", "runs", "--json"]) == 0
    bad, good, new = json.loads(capsys.readouterr().out)
    assert (good["run"], good["records"]) == ("good", "1 of 2")
    assert bad["records"].startswith("unreadable: ")
    assert "schema 99" in new["records"]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from harness import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'numpy', 'pandas', 'matplotlib', 'sklearn', 'rich'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[]"
