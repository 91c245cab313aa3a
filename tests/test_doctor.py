"""The machine is described, what would spoil a measurement is found, and the two commands say so."""

from __future__ import annotations

import argparse
import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import machine
from harness.errors import UsageError
from harness.hazards import hazards
from harness.machine import Condition, Gpu
from tests.toy_backend import toy_backend

CALM = Condition(
    usable_cores=8,
    quota_cores=None,
    load=0.1,
    busy_share=0.01,
    steal_share=0.0,
    governors=("performance",),
    on_battery=False,
    memory_available_bytes=16 * 2**30,
    disk_free_bytes=100 * 2**30,
    cpu_pressure=0.0,
    memory_pressure=0.0,
    io_pressure=None,
    gpus=(Gpu("Toy GPU", 80 * 2**30, 0, 0.0, "600.1"),),
)


def command(name: str, *words: str) -> int:
    module = importlib.import_module(f"harness.cli.{name}")
    parser = argparse.ArgumentParser()
    module.configure(parser)
    return int(module.run(parser.parse_args(words)))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy backend's folder."""
    return toy_backend(tmp_path, monkeypatch)


def test_the_machine_is_described_in_json_with_what_a_run_records() -> None:
    facts = machine.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert {"cpu", "cores", "memory_bytes", "os", "kernel", "gpu"} <= facts.keys()
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**28


def test_a_calm_machine_has_no_hazards() -> None:
    assert hazards(CALM) == []


@pytest.mark.parametrize(
    ("change", "name", "advice"),
    [
        ({"busy_share": 0.4}, "other work", "Stop other programs"),
        ({"steal_share": 0.03}, "stolen time", "--blocks"),
        ({"quota_cores": 2.5}, "CPU quota", "--threads 2"),
        ({"quota_cores": 0.5}, "CPU quota", "--threads 1"),
        ({"governors": ("performance", "powersave")}, "clock frequency", "cpupower"),
        ({"on_battery": True}, "battery", "Plug it in"),
        ({"memory_available_bytes": 2**30}, "memory", "Close other programs"),
        ({"memory_pressure": 0.2}, "waiting for memory", "top"),
        ({"io_pressure": 0.2}, "waiting for the disk", "iotop"),
        ({"disk_free_bytes": 2**30}, "disk space", "ONESPEC_CACHE"),
        ({"gpus": (Gpu("Toy GPU", 80 * 2**30, 0, 0.5, "600.1"),)}, "GPU 0 in use", "nvidia-smi"),
        ({"gpus": (Gpu("Toy GPU", 80 * 2**30, 2**32, 0.0, "600.1"),)}, "GPU 0 in use", "cuda:N"),
    ],
)
def test_each_hazard_is_found_alone_and_comes_with_advice(
    change: dict[str, Any], name: str, advice: str
) -> None:
    (found,) = hazards(replace(CALM, **change))
    assert found.name == name
    assert advice in found.advice


def test_a_quota_as_large_as_the_machine_is_no_hazard() -> None:
    assert hazards(replace(CALM, quota_cores=8.0)) == []


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            },
            1.5,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/job\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            },
            4.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_the_cores_a_control_group_allows_are_read_from_either_version(
    tmp_path: Path, files: dict[str, str], cores: float | None
) -> None:
    assert machine.quota_cores(tree(tmp_path, files)) == cores


def test_pressure_is_the_share_of_the_last_ten_seconds(tmp_path: Path) -> None:
    text = "some avg10=12.50 avg60=1.00 avg300=0.10 total=1\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=1\n"
    root = tree(tmp_path, {"proc/pressure/cpu": text})
    assert machine.pressure("cpu", root) == 0.125
    assert machine.pressure("io", root) is None


def test_every_governor_in_use_is_named_once(tmp_path: Path) -> None:
    place = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    files = {
        place.format(core): text for core, text in enumerate(["powersave\n", "performance\n", "powersave\n"])
    }
    assert machine.governors(tree(tmp_path, files)) == ("performance", "powersave")


def test_a_line_of_nvidia_smi_is_read_in_bytes_and_shares() -> None:
    assert machine.gpu_from("NVIDIA H100 80GB HBM3, 81559, 512, 37, 580.65.06") == Gpu(
        "NVIDIA H100 80GB HBM3", 81559 * 2**20, 512 * 2**20, 0.37, "580.65.06"
    )
    unknown = machine.gpu_from("Toy, [N/A], [N/A], [N/A], 1")
    assert unknown is not None
    assert (unknown.memory_bytes, unknown.busy_share) == (0, 0.0)
    assert machine.gpu_from("No devices were found") is None


def toy_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = [row for row in rows if row["backend"] == "toy"]
    return row


def test_doctor_tells_the_machine_the_environments_and_the_hazards(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"machine", "condition", "environments", "hazards"}
    assert toy_row(found["environments"])["state"] == "not made"
    assert command("doctor", "--quick") == 0
    assert "this machine" in capsys.readouterr().out


def test_doctor_asks_a_framework_for_its_devices_and_says_when_it_is_broken(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("env", "create", "toy", "--json") == 0
    assert toy_row(json.loads(capsys.readouterr().out)["environments"])["version"] == "1.17.0"
    assert command("doctor", "--json") == 0
    row = toy_row(json.loads(capsys.readouterr().out)["environments"])
    assert (row["state"], row["devices"]) == ("ready", ["cpu 1.17.0"])
    next((tmp_path / "cache").glob("environments/toy-*/lib/*/site-packages/six.py")).unlink()
    assert command("doctor", "--json") == 1
    row = toy_row(json.loads(capsys.readouterr().out)["environments"])
    assert row["state"] == "broken"
    assert "No module named 'six'" in row["reason"]


def test_env_lists_what_is_made_and_removes_what_is_named(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def states() -> dict[str | None, str]:
        assert command("env", "list", "toy", "--json") == 0
        return {row["version"]: row["state"] for row in json.loads(capsys.readouterr().out)}

    assert states() == {None: "not made"}
    assert command("env", "create", "toy", "toy==1.16.0") == 0
    capsys.readouterr()
    assert states() == {"1.17.0": "ready", "1.16.0": "ready"}
    assert command("env", "remove", "toy==1.16.0") == 0
    assert "removed toy==1.16.0 (default, cpu)" in capsys.readouterr().out
    assert states() == {"1.17.0": "ready"}
    (toy / "cpu.txt").write_text("six==1.16.0\n")
    assert states() == {None: "not made", "1.17.0": "outdated"}
    assert command("env", "remove", "toy") == 0
    assert command("env", "remove", "toy") == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_env_create_reports_a_failure_and_ends_with_1(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toy / "cpu.txt").write_text("six==999.0\n")
    assert command("env", "create", "toy") == 1
    assert "six==999.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["craete"], "Did you mean 'create'?"),
        (["create", "pytorch"], "Did you mean 'torch'?"),
        (["create", "toy", "--device", "cdua"], "Did you mean 'cuda'?"),
        (["create", "toy", "--device", "gpu"], "toy does not run on 'cuda'"),
        (["list", "toy", "--device", "cuda"], "toy does not run on 'cuda'"),
    ],
)
def test_env_answers_a_wrong_name_with_the_right_one(toy: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        command("env", *words)
    assert said in str(error.value)
