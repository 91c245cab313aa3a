"""What a process measures besides throughput: latency, memory by phase, energy, the machine's ceilings."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from harness.analyse import tables
from harness.analyse.run import load
from harness.plan.suite import ProtocolTable
from harness.report import machine, write
from harness.report.columns import build as columns_of
from harness.report.columns import full
from harness.worker import energy
from harness.worker.ceilings import ceilings
from harness.worker.energy import Meter
from harness.worker.job import Protocol
from harness.worker.latency import MOST_CALLS, evaluate_latency, generate_latency, train_latency
from harness.worker.measure import _steady_blocks
from harness.worker.protocol import Setting
from tests import synthetic
from tests.backends.plain import build
from tests.conftest import OLD_RUN, Onespec
from tests.proving_ground import arrays
from tests.sequence_ground import SEQUENCES
from tests.synthetic import Record, good


class Sleeper:
    """In a built program's place: the device takes a known time for a call, and twice that for staging."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.staged: list[tuple[int, ...]] = []
        self.placed: list[list[int]] = []
        self.trained: list[bytes] = []
        self.pending = 0.0

    def place(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.placed.append(arrays["x"].tolist())
        return arrays

    def stage(self, placed: Any, order: np.ndarray) -> np.ndarray:
        self.staged.append(order.shape)
        self.pending += 2 * self.seconds
        return order

    def train(self, order: np.ndarray) -> None:
        self.trained.append(order.tobytes())
        self.pending += self.seconds

    def evaluate(self, order: np.ndarray) -> None:
        time.sleep(self.seconds)

    def wait(self) -> None:
        time.sleep(self.pending)
        self.pending = 0.0


def test_a_latency_is_of_one_call_with_its_wait_and_without_staging() -> None:
    built: Any = Sleeper(0.01)
    batches = iter(np.arange(4 * 1000, dtype=np.int32).reshape(-1, 4))
    found = train_latency(built, None, batches, 4, Protocol(latency_seconds=0.3))
    assert (found["kind"], found["batch_size"]) == ("train", 4)
    assert min(found["seconds"]) >= 0.01
    assert np.median(found["seconds"]) < 0.02, "staging takes 0.02 s and is not in it"
    assert len(set(built.trained)) == len(built.trained) == 1 + len(found["seconds"]), "batches of their own"
    assert set(built.staged) == {(1, 4)}
    assert 3 <= len(found["seconds"]) <= 12


@pytest.mark.parametrize(("seconds", "staged"), [(0.001, 1), (0.02, 4)])
def test_timed_blocks_of_whole_epochs_are_staged_once_and_shorter_ones_anew(
    seconds: float, staged: int
) -> None:
    class Steps(Sleeper):
        def train(self, order: np.ndarray) -> None:
            self.trained.append(order.tobytes())
            self.pending += self.seconds * len(order)

    built = Steps(seconds)
    protocol = Protocol(warmup_seconds=0.0, block_seconds=0.01, train_blocks=4)
    job = SimpleNamespace(
        protocol=protocol, device="cpu", epochs=lambda: np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    )
    order = iter(np.arange(10_000, dtype=np.int32).reshape(-1, 4))
    blocks, _, _ = _steady_blocks(cast(Any, job), cast(Any, built), None, order)
    timed = [block for block in blocks if not block["warmup"]]
    assert len(timed) == 4
    assert len(built.staged) == len(blocks) - len(timed) + staged
    assert len(set(built.trained[-4:])) == staged


def test_inference_has_a_latency_for_each_batch_size() -> None:
    built: Any = Sleeper(0.0)
    arrays = {"x": np.arange(10)}
    found = evaluate_latency(built, arrays, Protocol(latency_batches=(1, 32), latency_seconds=5.0))
    assert [(one["kind"], one["batch_size"]) for one in found] == [("evaluate", 1), ("evaluate", 32)]
    assert built.staged == [(1, 1), (1, 32)], "staged once"
    assert built.placed == [[0], [*range(10), *range(10), *range(10), 0, 1]], "a split smaller than the batch"
    assert all(len(one["seconds"]) == MOST_CALLS for one in found)
    (slow,) = evaluate_latency(built, arrays, Protocol(latency_batches=(1,), latency_seconds=0.0))
    assert len(slow["seconds"]) == 1, "one at the least"


def generating(batches: tuple[int, ...], seconds: float) -> list[dict[str, Any]]:
    program = SEQUENCES["decoder"]
    built = build(program, Setting("eager", "float32", "cpu", 1, 4))
    protocol = Protocol(latency_batches=batches, latency_seconds=seconds)
    return generate_latency(built, program, arrays(program), protocol)


def test_generation_has_a_latency_for_the_prompt_and_for_each_token_after_it() -> None:
    found = generating((1, 3), 0.0)
    assert [(one["kind"], one["batch_size"], one["tokens"]) for one in found] == [
        ("prefill", 1, 3),
        ("token", 1, 1),
        ("prefill", 3, 3),
        ("token", 3, 1),
    ]
    # Two rounds of six steps: three for the prompt, one chosen with it, two more.
    assert [len(one["seconds"]) for one in found] == [1, 3, 1, 3]
    assert len(generating((1,), 0.2)[0]["seconds"]) > 1


class Instant:
    """In the place of a built program and of its decoder: takes no time, and counts."""

    def __init__(self) -> None:
        self.starts = self.steps = 0

    def place(self, arrays: dict[str, np.ndarray]) -> None:
        pass

    def decoder(self, batch: int) -> Instant:
        return self

    def start(self, placed: None, prompt: int) -> None:
        self.starts += 1

    def step(self) -> None:
        self.steps += 1

    def wait(self) -> None:
        pass


def test_quick_calls_of_either_kind_stop_once_there_are_enough() -> None:
    program, built = SEQUENCES["decoder"], Instant()
    protocol = Protocol(latency_batches=(1,), latency_seconds=30.0)
    found = generate_latency(cast(Any, built), program, arrays(program), protocol)
    assert [len(one["seconds"]) for one in found] == [MOST_CALLS, MOST_CALLS]
    # Two tokens after each prompt: they are enough before the prompts are.
    assert (built.starts, built.steps) == (MOST_CALLS + 1, MOST_CALLS + 2)


def test_a_worker_looks_as_long_as_a_suite_says_unless_it_says_otherwise() -> None:
    assert Protocol().latency_seconds == ProtocolTable().latency_seconds == 0.5


def test_a_program_that_generates_nothing_has_no_such_latency() -> None:
    program = SEQUENCES["series"]
    built = build(program, Setting("eager", "float32", "cpu", 1, 4))
    assert generate_latency(built, program, arrays(program), Protocol()) == []


def meters(root: Path, packages: dict[str, tuple[str, int]]) -> Path:
    for folder, (name, microjoules) in packages.items():
        place = root / "sys/class/powercap" / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "name").write_text(f"{name}\n")
        (place / "energy_uj").write_text(f"{microjoules}\n")
        (place / "max_energy_range_uj").write_text("1000000000\n")
    return root


def test_energy_is_the_packages_of_rapl_and_no_part_counts_twice(tmp_path: Path) -> None:
    start = {"intel-rapl:0": ("package-0", 999_000_000), "intel-rapl:1": ("package-1", 5_000_000)}
    end = {"intel-rapl:0": ("package-0", 3_000_000), "intel-rapl:1": ("package-1", 7_500_000)}
    core = {"intel-rapl:0:0": ("core", 1), "intel-rapl-mmio:9": ("psys", 1)}
    before = energy.read("cpu", meters(tmp_path, {**start, **core}))
    after = energy.read("cpu", meters(tmp_path, {**end, **core}))
    assert before["package-1"] == Meter(5.0, 1000.0)
    found = energy.between(before, after, "no meter")
    assert found["by_meter"] == {"package-0": pytest.approx(4.0), "package-1": pytest.approx(2.5)}
    assert found["joules"] == pytest.approx(6.5), "a counter that began again at 0 is followed"


def test_energy_without_a_meter_is_not_available_and_not_0(tmp_path: Path) -> None:
    nothing = energy.read("cpu", tmp_path)
    found = energy.between(nothing, nothing, "no meter")
    assert found == {"joules": None, "reason": "no meter", "by_meter": {}}


def test_why_no_meter_can_be_read_is_said(tmp_path: Path) -> None:
    assert energy.lacking("cpu", tmp_path) == "the processor's counters (RAPL) are not there"
    kept = meters(tmp_path, {"intel-rapl:0": ("package-0", 1)})
    assert energy.lacking("cpu", kept) == "the processor's counters (RAPL) are for root alone to read"
    assert "(NVML) counts no energy of the GPU" in energy.lacking("cuda:0", tmp_path)


class Nvml:
    """In the driver's library's place: GPU 3 has a meter, and no other."""

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: int, handle: Any) -> int:
        handle._obj.value = number
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, millijoules: Any) -> int:
        millijoules._obj.value = 12_500
        return 0 if handle.value == 3 else 3


@pytest.mark.parametrize(
    ("device", "visible", "joules"),
    [
        ("cuda:3", "", 12.5),
        ("cuda:1", "5,3", 12.5),
        ("cuda:0", "", None),
        ("cuda:2", "5,3", None),
        ("cuda:0", "GPU-8932f937", None),
        ("cpu", "", None),
    ],
)
def test_energy_of_a_gpu_is_of_the_one_in_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, visible: str, joules: float | None
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: Nvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = energy.read(device, tmp_path)
    assert found == ({} if joules is None else {"gpu": Meter(joules)})


def test_ceilings_are_counted_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.worker.ceilings._best_seconds", lambda call: call() or 0.5)
    monkeypatch.setattr("numpy.matmul", lambda *arrays, out: None)
    found = ceilings(2, size=10, copy_bytes=800)
    assert found["matmul_flops_per_second"] == 2 * 10**3 / 0.5
    assert found["copy_bytes_per_second"] == 2 * 800 / 0.5


def test_a_run_measures_the_ceilings_once(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    suite.write_text(suite.read_text().replace("ceilings = false", "ceilings = true"))
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out, "--blocks", "1", "--threads", "1") == 0
    found = json.loads((out / "run.json").read_text())["ceilings"]
    assert (found["status"], found["threads"]) == ("ok", 1)
    assert found["matmul_flops_per_second"] > 1e8
    assert found["copy_bytes_per_second"] > 1e7
    (out / "records.jsonl").write_text("")
    assert onespec("run", "--resume", out) == 0
    assert json.loads((out / "run.json").read_text())["ceilings"] == found


def test_a_record_holds_each_call_and_each_phase(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    suite.write_text(suite.read_text().replace("latency_seconds = 0.001", "latency_batches = [2]"))
    assert onespec("run", suite, "--out", tmp_path / "out", "--blocks", "1") == 0
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    table = tables.latencies(records)
    calls = table[~table["warmup"]].groupby(["kind", "batch_size"])["seconds"]
    assert set(calls.groups) == {("train", 32.0), ("evaluate", 2.0)}
    assert (calls.size() > 10).all()
    assert (table["seconds"] > 0).all()
    assert (table["seconds"] == table["seconds"].round(9)).all()
    measured, memory = (
        next(one["measures"] for one in records if one["kind"] == kind) for kind in ("measure", "memory")
    )
    assert measured["energy"].keys() == {"joules", "reason", "by_meter"}
    phases = [memory[f"{phase}_bytes"] for phase in ("start", "import", "build", "first_step", "peak")]
    assert phases == sorted(phases)
    assert memory["build_bytes"] < memory["rest_bytes"] <= memory["peak_bytes"]
    row = tables.records(records).set_index("kind").loc["memory"]
    assert row["rest_bytes"] == memory["rest_bytes"]


def test_records_of_before_there_was_latency_still_load() -> None:
    lines = (OLD_RUN / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert tables.latencies(records).empty
    assert tables.records(records)["rest_bytes"].isna().all()
    assert tables.records(records)["train_joules"].isna().all()


def metered(joules: tuple[float | None, ...], reason: str | None = None) -> list[Record]:
    """A contender whose processes each train four timed blocks of ten steps."""
    records = good("alpha", step_ms=(1.0,) * len(joules))
    processes = [record for record in records if record["kind"] == "measure"]
    for record, used in zip(processes, joules, strict=True):
        by_meter = {} if used is None else {"package-0": used}
        record["measures"]["energy"] = {"joules": used, "reason": reason, "by_meter": by_meter}
    return records


def test_energy_is_joules_a_step_over_processes(tmp_path: Path) -> None:
    run = load(synthetic.write(tmp_path / "run", metered((20.0, 80.0))))
    assert run.processes["step_joules"].tolist() == pytest.approx([0.5, 2.0])
    (row,) = run.summary.to_dict("records")
    half = 12.706205 * np.log(4) / 2
    assert [row[f"step_joules{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [1.0, np.exp(-half), np.exp(half)]
    )
    shown = columns_of(run.summary, full("accuracy"))
    (place,) = (place for place, column in enumerate(shown.columns) if column.key == "energy")
    assert shown.lines[0].cells[place].text == "1.00"
    assert machine.energy(run.records) == [("energy", "metered by package-0")]


def test_a_process_without_a_meter_or_a_steady_state_has_no_energy_and_0_is_none(tmp_path: Path) -> None:
    records = metered((20.0, None, 0.0, 40.0))
    drifting = tuple(1.0 + 0.05 * step for step in range(20))
    records[-2]["measures"]["train_blocks"] = synthetic.measure("alpha", step_ms=drifting)["measures"][
        "train_blocks"
    ]
    run = load(synthetic.write(tmp_path / "run", records))
    assert run.processes["step_seconds"].notna().tolist() == [True, True, True, False]
    assert run.processes["step_joules"].notna().tolist() == [True, False, True, False]
    assert run.summary["step_joules"].tolist() == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("reason", "fact"),
    [("no counters", "not available (no counters)"), ("not available", "not available"), (None, None)],
)
def test_a_report_says_why_there_is_no_energy(tmp_path: Path, reason: str | None, fact: str | None) -> None:
    run = load(synthetic.write(tmp_path / "run", metered((None, None), reason)))
    assert machine.energy(run.records) == ([] if fact is None else [("energy", fact)])
    write([run], tmp_path / "out")
    twin = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "J/step" not in twin
    if fact is not None:
        assert f"- energy: {fact}\n" in twin


CEILINGS = {"status": "ok", "reason": None, "threads": 2, "numpy": "2.2.6", "blas": "openblas 0.3.29"} | {
    "matmul_flops_per_second": 297e9,
    "copy_bytes_per_second": 27.1e9,
}


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        (
            {"ceilings": CEILINGS},
            "- matrix product, float32: 297 GFLOP/s (NumPy 2.2.6, openblas 0.3.29)\n"
            "- memory copy: 27.1 GB/s, read and written\n",
        ),
        (
            {"ceilings": {"status": "unsupported", "reason": "not available: NumPy computes on no GPU"}},
            "- share of the machine's FLOP/s: not told: NumPy computes on no GPU\n",
        ),
        (
            {"protocol": {"ceilings": False}},
            "- share of the machine's FLOP/s: not told: the suite does not ask for what the machine can do\n",
        ),
        ({}, "- share of the machine's FLOP/s: not told: this run did not measure what the machine can do\n"),
    ],
)
def test_a_report_has_the_machines_ceilings_or_why_there_are_none(
    tmp_path: Path, meta: dict[str, Any], said: str
) -> None:
    run = load(synthetic.write(tmp_path / "run", good("alpha"), **meta))
    page = write([run], tmp_path / "out").read_text(encoding="utf-8")
    assert said in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for line in said.splitlines():
        label = line.removeprefix("- ").partition(": ")[0]
        assert label.replace("'", "&#39;") in page
