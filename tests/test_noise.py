"""What disturbs a measured job is seen, recorded and named, and the harness itself does not disturb it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import machine
from harness.analyse import tables
from harness.cli import progress
from harness.execute import local, noise
from harness.execute.local import Process, Usage, Worker, wait_any
from harness.execute.noise import GpuNoise, Noise, Watch, gpu_noise
from harness.hazards import SPOILING, disturbances, spoiled
from harness.machine import Counters
from harness.plan.jobs import PlannedJob
from tests.conftest import OLD_RUN, Onespec

CALM = Noise(
    seconds=10.0,
    harness_cpu_seconds=0.003,
    worker_cpu_seconds=18.0,
    others_share=0.01,
    steal_share=0.001,
    cpu_pressure=0.5,
    memory_pressure=0.0,
    io_pressure=0.0,
    megahertz=3000.0,
    megahertz_limit=3200.0,
    throttles=0,
    voluntary_switches=1000,
    involuntary_switches=100,
    minor_faults=70000,
    major_faults=10,
    gpu=GpuNoise(10, 1900.0, 1980.0, 60.0, 400.0, ()),
)
STEADY = {
    "seconds": 0.5,
    "cpu_seconds": 1.0,
    "voluntary_switches": 500,
    "involuntary_switches": 10,
    "minor_faults": 100,
    "major_faults": 0,
}
UNKNOWN: dict[str, Any] = dict.fromkeys(
    (
        "worker_cpu_seconds",
        "others_share",
        "steal_share",
        "cpu_pressure",
        "memory_pressure",
        "io_pressure",
        "megahertz",
        "megahertz_limit",
        "throttles",
        "gpu",
    )
)


def test_a_calm_job_was_not_disturbed() -> None:
    assert disturbances(CALM, STEADY) == []
    assert disturbances(CALM) == []


def test_what_is_unknown_is_no_disturbance() -> None:
    assert disturbances(replace(CALM, **UNKNOWN)) == []


@pytest.mark.parametrize(
    ("change", "steady", "name", "advice"),
    [
        ({"others_share": 0.06}, {}, "other work", "Stop them"),
        ({"steal_share": 0.011}, {}, "stolen time", "--blocks"),
        ({"throttles": 1}, {}, "throttled", "Cool"),
        ({"gpu": GpuNoise(1, 9.0, 9.0, 9.0, 9.0, ("heat",))}, {}, "GPU throttled", "lock"),
        ({"gpu": GpuNoise(1, 9.0, 9.0, 9.0, 9.0, ("power cap",))}, {}, "GPU power cap", "lock-gpu-clocks"),
        ({"harness_cpu_seconds": 0.11}, {}, "the harness", "sleep"),
        ({"megahertz": 2000.0}, {}, "clock frequency", "cpupower"),
        ({"memory_pressure": 0.06}, {}, "waiting for memory", "top"),
        ({"io_pressure": 0.06}, {}, "waiting for the disk", "iotop"),
        ({"gpu": GpuNoise(9, 1650.0, 1980.0, 60.0, 400.0, ())}, {}, "GPU clock", "lock-gpu-clocks"),
        ({"gpu": GpuNoise(9, 1900.0, 1980.0, 81.0, 400.0, ())}, {}, "GPU temperature", "Cool"),
        ({}, {"involuntary_switches": 601}, "preempted", "pools (intra-op, inter-op"),
        ({}, {"major_faults": 6}, "page faults", "memory is short"),
    ],
)
def test_each_disturbance_is_named_alone_and_comes_with_advice(
    change: dict[str, Any], steady: dict[str, int], name: str, advice: str
) -> None:
    (found,) = disturbances(replace(CALM, **change), {**STEADY, **steady})
    assert found.name == name
    assert advice in found.advice
    assert spoiled([found]) == (name in SPOILING)


def test_pools_whose_threads_take_turns_are_not_preempted() -> None:
    """As a framework's do that hands each operation to a thread: each interruption follows a wait."""
    assert disturbances(CALM, {**STEADY, "involuntary_switches": 10_000, "voluntary_switches": 15_000}) == []


def test_a_gpus_clock_is_no_matter_of_its_own_where_it_was_held_down_or_is_not_known() -> None:
    held = GpuNoise(9, 1000.0, 1980.0, 60.0, 400.0, ("power cap",))
    assert [found.name for found in disturbances(replace(CALM, gpu=held))] == ["GPU power cap"]
    assert disturbances(replace(CALM, gpu=GpuNoise(9, None, None, None, None, ()))) == []


def counters(**changes: Any) -> Counters:
    start = Counters(100.0, 2, 50.0, 1.0, {"cpu": 5.0, "memory": 0.0}, 2900.0, 3200.0, 7)
    return replace(start, **changes)


def test_shares_are_of_the_cores_and_pressures_of_the_time() -> None:
    after = counters(
        seconds=110.0, busy_seconds=62.0, stolen_seconds=1.4, waited_seconds={"cpu": 7.0, "memory": 0.5}
    )
    found = noise.between(counters(), after, 0.01, Usage(10.0, 1, 2, 3, 4))
    assert found.others_share == pytest.approx(2.0 / 20)
    assert found.steal_share == pytest.approx(0.4 / 20)
    assert found.cpu_pressure == pytest.approx(0.2)
    assert found.memory_pressure == pytest.approx(0.05)
    assert found.io_pressure is None, "the kernel does not watch it"
    assert (found.voluntary_switches, found.involuntary_switches) == (1, 2)
    assert (found.minor_faults, found.major_faults) == (3, 4)
    assert found.throttles == 0


def test_what_a_machine_does_not_show_is_null_and_never_0(tmp_path: Path) -> None:
    bare = machine.counters(tmp_path)
    found = noise.between(bare, replace(bare, seconds=bare.seconds + 1), 0.0, None).as_data()
    known = {name for name, value in found.items() if value is not None}
    assert known == {"seconds", "harness_cpu_seconds"}


def test_counters_are_read_from_the_kernels_files(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    cores = sorted(os.sched_getaffinity(0))
    lines = "".join(f"cpu{core} {ticks} 0 {ticks} 900 900 0 {ticks} {2 * ticks} 5 5\n" for core in cores)
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/stat").write_text(f"cpu 1 1 1 1 1 1 1 1 1 1\n{lines}cpu9999 9 9 9 9 9 9 9 9 9 9\n")
    (tmp_path / "proc/pressure/io").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n")
    for core in cores:
        place = tmp_path / f"sys/devices/system/cpu/cpu{core}"
        for name, value in (
            ("cpufreq/scaling_cur_freq", 2600000),
            ("cpufreq/scaling_max_freq", 3000000),
            ("thermal_throttle/core_throttle_count", 4),
        ):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(f"{value}\n")
    found = machine.counters(tmp_path)
    assert found.busy_seconds == 3 * len(cores)
    assert found.stolen_seconds == 2 * len(cores)
    assert found.waited_seconds == {"io": 2.5}
    assert (found.megahertz, found.megahertz_limit) == (2600.0, 3000.0)
    assert found.throttles == 4 * len(cores)


def test_a_gpus_readings_are_summed_up() -> None:
    lines = [
        "1980, 50, 300.00, 0x0000000000000000",
        "1980, 50, 300.00, 0x0000000000000000",
        "1410, 71, 600.00, 0x0000000000000024",
        "[N/A], [N/A], [N/A], [N/A]",
    ]
    found = gpu_noise(lines)
    assert found == GpuNoise(3, 1410.0, 1980.0, 71.0, 400.0, ("power cap", "heat"))
    assert gpu_noise(["No devices were found"]) is None
    partly = gpu_noise(["[N/A], 50, [N/A], [N/A]"])
    assert partly == GpuNoise(1, None, None, 50.0, None, ())


def test_a_gpus_clock_is_not_read_while_it_idles_or_rises() -> None:
    idle, busy = "0x0000000000000001", "0x0000000000000000"
    clocks = [(345, idle), (900, busy), (1900, busy), (1980, busy), (345, idle), (700, busy), (210, idle)]
    found = gpu_noise(f"{clock}, 50, 100.00, {reasons}" for clock, reasons in clocks)
    assert found is not None
    assert (found.samples, found.megahertz_min, found.megahertz_max) == (7, 1900.0, 1980.0)
    untold = gpu_noise(["1980, 50, 100.00, [N/A]"] * 3)
    assert untold is not None
    assert untold.megahertz_min is None


def test_a_gpu_is_watched_while_a_job_runs_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/asked\n'
        "while true; do echo '1500, 60, 350.00, 0x0000000000000008'; sleep 0.05; done\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    watch = Watch("cuda:1")
    (ended,) = wait_any([worker(tmp_path, "import time; time.sleep(0.5)", monkeypatch)])
    found = watch.noise(ended).gpu
    assert found is not None
    assert found.samples >= 2
    assert found.slowdowns == ("hardware slowdown",)
    assert "-i 1 " in (tmp_path / "asked").read_text()
    monkeypatch.setenv("PATH", "/nowhere")
    assert Watch("cuda:0").noise(ended).gpu is None


SLEEPER = "import time; time.sleep(2.5)"


def worker(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A process of ours in a worker's place."""
    monkeypatch.setattr(Process, "command", property(lambda self: [sys.executable, "-c", code]))
    place = tmp_path / "job"
    return Worker(Process(place, Path(sys.executable), {}, 1, place, tmp_path / "log", 60.0))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal in our place would be given."""
    said = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=said, force_terminal=True))
    return said


def test_the_harness_sleeps_while_a_worker_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: io.StringIO
) -> None:
    threads = threading.active_count()
    with progress.display() as shown:
        shown.expect(3, 1)
        shown.job(PlannedJob("measure", "w", "c", 0, 0), None)
        running = worker(tmp_path, SLEEPER, monkeypatch)
        before = terminal.tell()
        watch = Watch()
        assert threading.active_count() == threads, "a thread ticks"
        (ended,) = wait_any([running])
        found = watch.noise(ended)
        assert terminal.tell() == before, "the display was drawn"
    assert found.seconds > 2
    assert found.harness_cpu_seconds < 0.005 * found.seconds
    assert "w/c/measure/0" in terminal.getvalue()


def test_the_worker_and_all_that_it_started_are_not_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    left = f"{burn}\ntime.sleep(60)"
    code = (
        f"import subprocess, sys, time\n{burn}\nsubprocess.run([sys.executable, '-c', {burn!r}])\n"
        f"child = subprocess.Popen([sys.executable, '-c', {left!r}])\n"
        f"while sum(map(int, open(f'/proc/{{child.pid}}/stat').read().split()[13:15])) < 40: time.sleep(0.01)"
    )
    running = worker(tmp_path, code, monkeypatch)
    (ended,) = wait_any([running])
    assert ended.ending == "0", (tmp_path / "log").read_text()
    assert ended.usage is not None
    assert 1.35 < ended.usage.cpu_seconds < 2.5, "itself, a child that it waited for, and one that it left"
    assert ended.usage.minor_faults > 100


def test_other_work_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        watch = Watch()
        (ended,) = wait_any([worker(tmp_path, "import time; time.sleep(1)", monkeypatch)])
        found = watch.noise(ended)
    finally:
        other.kill()
        other.wait()
    assert found.others_share is not None
    assert "other work" in {hazard.name for hazard in disturbances(found)}


def test_a_code_of_the_workers_own_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ended,) = wait_any([worker(tmp_path, "raise SystemExit(7)", monkeypatch)])
    assert ended.ending == "7"
    ended.stop("too late")
    assert ended.ending == "7"


def noisy(monkeypatch: pytest.MonkeyPatch, when: Any) -> None:
    """Make timed jobs disturbed: `when(number)` says whether the job of that number, from 0, is."""
    seen = iter(range(1000))

    def look(self: Watch, worker: Worker) -> Noise:
        return replace(CALM, others_share=0.5 if when(next(seen)) else 0.01)

    monkeypatch.setattr(Watch, "noise", look)


def attempts(folder: Path) -> list[tuple[str, int, bool]]:
    lines = (folder / "records.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [(one["job"], one["attempt"], one["superseded"]) for one in found if one["kind"] == "measure"]


def repeating(suite: Path, blocks: int) -> None:
    text = suite.read_text().replace("repeats = 0", "repeats = 2").replace("blocks = 2", f"blocks = {blocks}")
    suite.write_text(text)


def test_a_disturbed_job_is_run_again_and_both_attempts_stay(
    onespec: Onespec, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeating(suite, 4)
    noisy(monkeypatch, lambda number: number == 1)
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out) == 0
    jobs = [f"tiny/plain/measure/{block}" for block in range(4)]
    assert attempts(out) == [
        (jobs[0], 0, False),
        (jobs[1], 0, True),
        (jobs[1], 1, False),
        (jobs[2], 0, False),
        (jobs[3], 0, False),
    ]
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    first, second = (record for record in records if record["job"] == jobs[1])
    assert first["measures"]["train_blocks"] != second["measures"]["train_blocks"], "it was measured anew"
    # The machine that tests run on may have warnings of its own.
    assert "other work" in [warning["name"] for warning in first["warnings"]]
    assert "other work" not in [warning["name"] for warning in second["warnings"]]
    assert second["noise"]["others_share"] == 0.01
    assert [record["noise"] for record in records if record["kind"] != "measure"] == [None, None]
    table = tables.records(records)
    assert table["superseded"].sum() == 1
    assert table.loc[table["superseded"], "others_share"].item() == 0.5
    assert "other work" in table.loc[table["superseded"], "warnings"].item()


def test_a_job_that_stays_disturbed_counts_in_the_end_with_its_warning(
    onespec: Onespec, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeating(suite, 12)
    noisy(monkeypatch, lambda number: True)
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out) == 0
    found = attempts(out)
    first, second = "tiny/plain/measure/0", "tiny/plain/measure/1"
    assert found[:5] == [
        (first, 0, True),
        (first, 1, True),
        (first, 2, False),
        (second, 0, True),
        (second, 1, False),
    ]
    assert not any(again for _, _, again in found[5:]), "a quarter of twelve jobs may be repeated: three"
    assert len(found) == 12 + 3


def test_a_run_that_ended_before_a_repeat_makes_it_when_resumed(
    onespec: Onespec, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeating(suite, 4)
    noisy(monkeypatch, lambda number: number == 0)
    out = tmp_path / "out"
    onespec("run", suite, "--out", out)
    path = out / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if '"superseded": true' in line)
    path.write_text("".join(lines[: place + 1]))
    for result in (out / "work" / "jobs").glob("*measure*[1-9].result.json"):
        result.unlink()
    assert onespec("run", "--resume", out) == 0
    jobs = [f"tiny/plain/measure/{block}" for block in range(4)]
    assert attempts(out) == [(jobs[0], 0, True), (jobs[0], 1, False), *((job, 0, False) for job in jobs[1:])]


def test_every_timed_record_tells_its_noise(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    assert onespec("run", suite, "--out", tmp_path / "out", "--blocks", "1") == 0
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    (record,) = (found for line in lines if (found := json.loads(line))["kind"] == "measure")
    found = record["noise"]
    assert found["worker_cpu_seconds"] > 0
    assert found["minor_faults"] > 1000
    assert found["harness_cpu_seconds"] < 0.05
    assert found["gpu"] is None
    if not Path("/sys/devices/system/cpu/cpu0/cpufreq").exists():
        assert found["megahertz"] is None
    steady = record["measures"]["steady"]
    assert steady["cpu_seconds"] > 0
    assert steady.keys() == STEADY.keys()


def test_records_of_before_there_was_noise_still_load() -> None:
    lines = (OLD_RUN / "records.jsonl").read_text().splitlines()
    table = tables.records([json.loads(line) for line in lines])
    assert not table["superseded"].any()
    assert table["others_share"].isna().all()
    assert table["warnings"].eq("").all()


def test_sessions_are_told_apart() -> None:
    assert local._session_cpu_seconds(2**22 + 1) == 0.0
