"""What the harness adds to scripts written by hand; and that these train what the specs say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness
from harness import environments, paths
from harness.analyse.overhead import exit_code, overheads
from harness.catalogue import contender
from harness.errors import UsageError
from harness.plan import overhead as plan
from harness.plan.overhead import BY_HAND, overhead_jobs, script, scripts_folder, with_scripts
from harness.plan.suite import find_suite, read_suite
from harness.plan.workloads import workloads
from harness.spec.optimizers import SGD, Optimizer
from harness.spec.program import Program
from harness.spec.reference import Reference
from tests.conftest import Onespec
from tests.test_frameworks import variables

Capture = pytest.CaptureFixture[str]

BATCH = 32
STEPS = 2
"""In each of three blocks, of which a script tells the last one's loss."""


def table(ratios: dict[str, float], blocks: int = 8, noise: float = 0.003) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = []
    for block in range(blocks):
        effect = random.normal(0, 0.2)
        for name, ratio in ratios.items():
            for entry, log in ((name, np.log(ratio)), (name + BY_HAND, 0.0)):
                seconds = np.exp(log + effect + random.normal(0, noise)) / 1000
                rows += [
                    {"workload": "w", "contender": entry, "block": block, "kind": "train", "index": turn}
                    | {"steps": 4.0, "seconds": 4 * drift * seconds, "warmup": False}
                    for turn, drift in enumerate((9.0 if entry == name else 1.0, 1.0, 1.5, 2.0, 2.5, 3.0))
                ]
    meta = {"made_by": "overhead", "workloads": {"w": {}}, "contenders": [*ratios]}
    found = overheads(meta, pd.DataFrame(rows))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("ratios", "verdicts", "code"),
    [
        ({"a": 1.0, "b": 0.8}, ["within", "within"], 0),
        ({"a": 1.0, "b": 1.1}, ["within", "beyond"], 1),
        ({"a": 1.0, "b": 1.02}, ["within", "not told"], 3),
        ({"a": 1.02, "b": 1.1}, ["not told", "beyond"], 1),
    ],
)
def test_an_overhead_is_judged_by_its_whole_interval(
    ratios: dict[str, float], verdicts: list[str], code: int
) -> None:
    found = table(ratios)
    assert list(found["verdict"]) == verdicts
    assert exit_code(found) == code
    for row, ratio in zip(found.to_dict("records"), ratios.values(), strict=True):
        assert row["low"] < ratio < row["high"]
        assert row["step_seconds"] / row["by_hand_seconds"] == pytest.approx(row["estimate"])
        assert row["pairs"] == 8


def test_what_was_not_measured_is_not_told() -> None:
    found = table({"a": 1.0}, blocks=1)
    assert list(found["verdict"]) == ["not told"]
    assert "a spread needs 2" in found["why"].iloc[0]
    assert overheads({"made_by": "run"}, pd.DataFrame()) is None


def test_a_contender_and_its_script_take_their_turns_one_after_the_other() -> None:
    jobs = overhead_jobs(["v", "w"], ["a", "b", "c"], blocks=40, seed=1)
    assert len({job.id for job in jobs}) == len(jobs)
    assert [job.id for job in jobs if job.kind == "pilot"] == [
        f"{workload}/{name}/pilot/0" for workload in "vw" for name in "abc"
    ]
    orders, first = set(), set()
    for block in range(40):
        mine = [job for job in jobs if job.kind == "measure" and job.block == block and job.workload == "w"]
        pairs = list(zip(mine[::2], mine[1::2], strict=True))
        assert all(one.entered == two.entered and one.contender != two.contender for one, two in pairs)
        orders.add("".join(one.entered for one, _ in pairs))
        first |= {one.contender for one, _ in pairs}
    assert len(orders) == 6
    assert first == {entry for name in "abc" for entry in (name, name + BY_HAND)}


@pytest.fixture
def by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script for the tiny suite on the plain backend, which says what is written beside it."""
    folder = tmp_path / "scripts" / "tiny"
    folder.mkdir(parents=True)
    monkeypatch.setattr(plan, "scripts_folder", lambda: folder.parent)
    (folder / "plain.py").write_text(
        "import json, pathlib, sys\n"
        "data, order, weights = map(pathlib.Path, sys.argv[1:4])\n"
        "assert (data / 'train_x.npy').exists() and order.exists() and weights.exists()\n"
        "threads, steps, blocks = map(int, sys.argv[4:7])\n"
        "assert sys.argv[7] == 'loop'\n"
        "print('what a framework has to say')\n"
        "seconds = float(pathlib.Path(__file__).with_name('step_seconds').read_text()) * steps\n"
        "print(json.dumps({'seconds': [seconds] * blocks, 'loss': 0.5}))\n"
    )
    (folder / "step_seconds").write_text("1.0")
    return folder


@pytest.mark.parametrize(("step_seconds", "code", "verdict"), [("1.0", 0, "within"), ("1e-9", 1, "beyond")])
def test_scripts_run_in_turn_with_workers_and_are_recorded_like_them(
    onespec: Onespec,
    suite: Path,
    by_hand: Path,
    tmp_path: Path,
    capsys: Capture,
    step_seconds: str,
    code: int,
    verdict: str,
) -> None:
    (by_hand / "step_seconds").write_text(step_seconds)
    out = tmp_path / "out"
    assert onespec("overhead", suite, "--blocks", "3", "--out", out) == code
    assert verdict in capsys.readouterr().out
    records = {
        record["job"]: record for record in map(json.loads, (out / "records.jsonl").read_text().splitlines())
    }
    assert set(records) == {job["job"] for job in json.loads((out / "run.json").read_text())["jobs"]}
    blocks = records["tiny/plain~by-hand/measure/1"]["measures"]["train_blocks"]
    pilot = [one for one in records["tiny/plain/pilot/0"]["measures"]["train_blocks"] if not one["warmup"]]
    assert {block["steps"] for block in blocks} == {pilot[0]["steps"]}
    energy = records["tiny/plain/measure/1"]["measures"]["energy"]
    assert energy["joules"] is None
    assert "took turns" in energy["reason"], "the machine's meters know of no turns"
    assert blocks[0]["seconds"] == pytest.approx(float(step_seconds) * pilot[0]["steps"])
    assert "Overhead" in (out / "report" / "index.html").read_text()
    before = harness.load(str(out)).overheads
    slow = {**pilot[0], "seconds": 100 * pilot[0]["seconds"]}
    records["tiny/plain/pilot/0"]["measures"]["train_blocks"] = [slow] * 8
    (out / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records.values()))
    after = harness.load(str(out)).overheads
    assert before is not None
    assert after is not None
    assert before.equals(after), "the pilot does not count"
    (out / "records.jsonl").write_text("")
    assert onespec("overhead", "--resume", out) == code


def test_a_script_that_fails_is_a_record_and_tells_nothing(
    onespec: Onespec, suite: Path, by_hand: Path, tmp_path: Path
) -> None:
    (by_hand / "step_seconds").unlink()
    out = tmp_path / "out"
    assert onespec("overhead", suite, "--blocks", "2", "--out", out) == 3
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    (reason,) = {record["reason"] for record in records if record["contender"].endswith(BY_HAND)}
    assert "step_seconds" in reason


@pytest.mark.usefixtures("by_hand")
def test_an_unproven_contender_and_its_script_are_not_run(
    onespec: Onespec, suite: Path, by_hand: Path, tmp_path: Path
) -> None:
    (by_hand / "rogue.py").write_text("")
    out = tmp_path / "out"
    assert onespec("overhead", suite, "-b", "rogue:wrong", "--blocks", "1", "--out", out) == 3
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert [record["kind"] for record in records] == ["verify"]


def test_what_has_no_script_is_refused(
    onespec: Onespec, suite: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert onespec("overhead", suite) == 2
    assert "there are char-lm, char-lm-gpt, mnist-mlp, resnet20" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"tests/handwritten/resnet20/plain\.py"):
        script("resnet20", "plain")
    assert with_scripts(["lenet5", "resnet20"]) == ["resnet20"]


def test_every_backend_has_a_script_for_each_workload_that_has_any() -> None:
    for folder in scripts_folder().iterdir():
        names = {file.stem for file in folder.glob("*.py")}
        assert folder.name in SCRIPTED
        assert names == {"torch", "tensorflow", "keras", "jax", "mxnet"}, folder


SCRIPTED = {
    "mnist-mlp": "mnist",
    "resnet20": "vision",
    "char-lm": "sequences",
    "char-lm-gpt": "sequences",
}
CONTENDERS = [
    *("torch", "tensorflow", "tensorflow:loop", "keras:tensorflow", "keras:jax", "keras:torch"),
    *("jax", "jax:scan", "mxnet", "mxnet:imperative"),
]
DEFAULT = ["torch", "tensorflow", "keras", "jax", "mxnet"]
TRIED = [
    *((name, text) for name in ("mnist-mlp", "char-lm-gpt") for text in CONTENDERS),
    *((name, text) for name in ("resnet20", "char-lm") for text in DEFAULT),
]
"""Every script, and every mode of those of two workloads: how a mode is driven is the same in all."""


@dataclass(frozen=True)
class Trained:
    """A workload's files with made-up data, and of the last steps by the reference: the mean loss, and the
    penalty whose gradient the decay of SGD is.
    """

    folder: Path
    loss: float
    penalty: float


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Of a workload by its name."""
    return cache(lambda name: _trained(name, tmp_path_factory.mktemp(name)))


def _trained(name: str, folder: Path) -> Trained:
    found = workloads(read_suite(find_suite(SCRIPTED[name])), [name])
    (workload,) = [each for each in found if each.name == name]
    program, tokens = workload.spec.program, workload.data_set.tokens
    random = np.random.default_rng(0)
    shapes = {key: (256, *shape) for key, shape in program.arrays.items()}
    arrays = {
        "x": random.integers(0, tokens, shapes["x"]).astype(np.int32)
        if tokens
        else random.uniform(0, 1, shapes["x"]).astype(np.float32),
        "y": random.integers(0, tokens or 10, shapes["y"]).astype(np.int32),
    }
    for key, array in arrays.items():
        np.save(folder / f"train_{key}.npy", array)
    order = np.stack([random.permutation(256)[:BATCH] for _ in range(3 * STEPS)]).astype(np.int32)
    np.save(folder / "order.npy", order[np.newaxis])
    initial = program.initial(0)
    with (folder / "weights.npz").open("wb") as file:
        np.savez(file, **initial)  # type: ignore[arg-type]
    loss, penalty = _reference(
        program, initial, [{key: a[row] for key, a in arrays.items()} for row in order]
    )
    return Trained(folder, loss, penalty)


def _reference(
    program: Program, initial: dict[str, Any], batches: list[dict[str, Any]]
) -> tuple[float, float]:
    reference = Reference(program, initial, np.dtype("float64"))
    (update,) = program.updates
    losses, penalties = [], []
    for batch in batches:
        kernels = [reference.tensors[name] for name in program.penalized(update)]
        penalties.append(_penalty(update.optimizer, kernels))
        losses += reference.train(iter([batch]))
    return float(np.mean(losses[-STEPS:])), float(np.mean(penalties[-STEPS:]))


def _penalty(optimizer: Optimizer, kernels: list[np.ndarray]) -> float:
    rate = optimizer.weight_decay / 2 if isinstance(optimizer, SGD) else 0.0
    return rate * sum(float((kernel**2).sum()) for kernel in kernels)


@pytest.mark.parametrize(("name", "text"), TRIED)
def test_a_script_trains_what_the_spec_says(trained: Callable[[str], Trained], name: str, text: str) -> None:
    """The loss after a few steps: with another rate, momentum, padding or epsilon it is another one. (Decay
    is too weak to show so soon.)
    """
    who = contender(text)
    given = trained(name)
    folder = given.folder
    finished = subprocess.run(
        [
            *(str(environments.create(who, "cpu").python), str(script(name, who.backend.name))),
            *map(str, (folder, folder / "order.npy", folder / "weights.npz", 1, STEPS, 1, who.mode.name)),
        ],
        cwd=paths.root(),
        env=variables(who, folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.stdout.strip(), finished.stderr[-3000:]
    said = json.loads(finished.stdout.splitlines()[-1])
    assert len(said["seconds"]) == 1
    # Keras has such a decay as a penalty, and `fit` reports the loss with it.
    expected = given.loss + (given.penalty if who.backend.name == "keras" else 0.0)
    assert said["loss"] == pytest.approx(expected, rel=2e-4)
