"""The machine: what stays the same while it is up, and what else it is doing at the moment."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import paths

PRESSURES = ("cpu", "memory", "io")
"""The resources that Linux tells the pressure of."""

HARDWARE = ("cpu", "instruction_sets", "cores", "physical_cores", "usable_cores", "quota_cores", "gpu")
"""What of `describe` is hardware: numbers of machines that differ in it are not of one run."""

_NVIDIA_TIMEOUT_SECONDS = 20
_GPU_FIELDS = ("name", "memory.total", "memory.used", "utilization.gpu", "driver_version")


@dataclass(frozen=True)
class Gpu:
    """One GPU as nvidia-smi reports it; `busy_share` is the share of the last moments it computed in."""

    name: str
    memory_bytes: int
    used_bytes: int
    busy_share: float
    driver: str


@dataclass(frozen=True)
class Condition:
    """What the machine is doing now, and limits that could spoil a measurement.

    Shares are of the whole machine, 0 to 1, over a short sample; pressure is the share of the last ten
    seconds in which something waited (Linux pressure stall information, "some avg10"). None is unknown.
    """

    usable_cores: int
    quota_cores: float | None
    load: float
    busy_share: float
    steal_share: float
    governors: tuple[str, ...]
    on_battery: bool
    memory_available_bytes: int
    disk_free_bytes: int
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted since the machine started, at one moment; None is unknown.

    CPU times are sums over the `cores` that this process may use; `waited_seconds` has for each resource the
    time in which some task waited for it, and lacks a resource that the kernel does not watch. `megahertz` is
    the mean clock of those cores now, `megahertz_limit` the mean of the highest that they are allowed.
    """

    seconds: float
    cores: int
    busy_seconds: float | None
    stolen_seconds: float | None
    waited_seconds: Mapping[str, float]
    megahertz: float | None
    megahertz_limit: float | None
    throttles: int | None


def describe() -> dict[str, Any]:
    """What a run records of the machine it was made on: JSON values that stay the same while it is up."""
    import psutil

    found = gpus()
    flags = set(_cpuinfo("flags").split())
    return {
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "physical_cores": psutil.cpu_count(logical=False),
        "usable_cores": len(os.sched_getaffinity(0)),
        "quota_cores": quota_cores(),
        "instruction_sets": [name for name in ("avx2", "avx512f", "amx_tile") if name in flags],
        "virtual_machine": "hypervisor" in flags,
        "governors": list(governors()),
        "memory_bytes": psutil.virtual_memory().total,
        "os": _os_name(),
        "kernel": platform.release(),
        "gpu": ", ".join(gpu.name for gpu in found) or None,
        "gpu_driver": found[0].driver if found else None,
    }


def condition(sample_seconds: float = 0.5) -> Condition:
    """Look at what the machine is doing, for `sample_seconds`."""
    import psutil

    times = psutil.cpu_times_percent(interval=sample_seconds)
    steal = getattr(times, "steal", 0.0)
    battery = psutil.sensors_battery()
    return Condition(
        usable_cores=len(os.sched_getaffinity(0)),
        quota_cores=quota_cores(),
        load=os.getloadavg()[0],
        busy_share=max(0.0, 100.0 - times.idle - getattr(times, "iowait", 0.0) - steal) / 100,
        steal_share=steal / 100,
        governors=governors(),
        on_battery=battery is not None and battery.power_plugged is False,
        memory_available_bytes=psutil.virtual_memory().available,
        disk_free_bytes=shutil.disk_usage(_existing(paths.cache())).free,
        cpu_pressure=pressure("cpu"),
        memory_pressure=pressure("memory"),
        io_pressure=pressure("io"),
        gpus=gpus(),
    )


def counters(root: Path = Path("/")) -> Counters:
    """Read them: a few small files, in well under a millisecond."""
    cores = sorted(os.sched_getaffinity(0))
    busy, stolen = _cpu_seconds(root, cores)
    place = root / "sys/devices/system/cpu"
    throttles = [_read(place / f"cpu{core}/thermal_throttle/core_throttle_count") for core in cores]
    return Counters(
        seconds=time.perf_counter(),
        cores=len(cores),
        busy_seconds=busy,
        stolen_seconds=stolen,
        waited_seconds={name: seconds for name in PRESSURES if (seconds := _waited(name, root)) is not None},
        megahertz=_mean_megahertz([place / f"cpu{core}/cpufreq/scaling_cur_freq" for core in cores]),
        megahertz_limit=_mean_megahertz([place / f"cpu{core}/cpufreq/scaling_max_freq" for core in cores]),
        throttles=sum(map(_int, throttles)) if all(throttles) else None,
    )


def _cpu_seconds(root: Path, cores: list[int]) -> tuple[float | None, float | None]:
    """Time the cores worked, and time a hypervisor kept from them (the lines cpuN of proc(5), /proc/stat)."""
    busy, stolen, found = 0, 0, 0
    names = {f"cpu{core}" for core in cores}
    for line in _read(root / "proc/stat").splitlines():
        name, *fields = line.split()
        if name in names and len(fields) >= 8:
            user, nice, system, _, _, interrupts, soft_interrupts, steal = map(int, fields[:8])
            busy += user + nice + system + interrupts + soft_interrupts
            stolen += steal
            found += 1
    if found < len(cores):
        return None, None
    ticks = os.sysconf("SC_CLK_TCK")
    return busy / ticks, stolen / ticks


def _waited(resource: str, root: Path) -> float | None:
    text = _pressure(resource, root).get("total")
    return None if text is None else int(text) / 1e6


def _mean_megahertz(files: list[Path]) -> float | None:
    kilohertz = [_int(_read(file)) for file in files]
    return sum(kilohertz) / len(kilohertz) / 1000 if all(kilohertz) else None


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs, none where nvidia-smi is missing or fails."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_NVIDIA_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(gpu for line in answer.stdout.splitlines() if (gpu := gpu_from(line)))


def gpu_from(line: str) -> Gpu | None:
    """Read one line of nvidia-smi's table: name, MiB, MiB, per cent, driver. What it does not know is 0."""
    values = [value.strip() for value in line.split(",")]
    if len(values) != len(_GPU_FIELDS):
        return None
    name, total, used, busy, driver = values
    return Gpu(name, _int(total) * 2**20, _int(used) * 2**20, _int(busy) / 100, driver)


def quota_cores(root: Path = Path("/")) -> float | None:
    """How many cores' worth of time this process's control groups allow, None where they set no limit.

    Both versions are read: `cpu.max` (v2) and `cpu.cfs_quota_us` (v1), in the process's group and above it.
    """
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, group = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            top = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            top = root / "sys/fs/cgroup" / controllers
            top = top if top.is_dir() else root / "sys/fs/cgroup/cpu"
        else:
            continue
        folder = top / group.strip("/")
        for place in [folder, *folder.parents]:
            quota, period = [*_read(place / "cpu.max").split(), "", ""][:2]
            quota = quota or _read(place / "cpu.cfs_quota_us")
            period = period or _read(place / "cpu.cfs_period_us")
            if _int(quota) > 0 and _int(period) > 0:
                limits.append(_int(quota) / _int(period))
            if place == top:
                break
    return min(limits, default=None)


def governors(root: Path = Path("/")) -> tuple[str, ...]:
    """The frequency governors in use, none where the system does not show them (most virtual machines)."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return tuple(sorted({_read(file) for file in files} - {""}))


def pressure(resource: str, root: Path = Path("/")) -> float | None:
    """The share of the last ten seconds in which some task waited for `cpu`, `memory` or `io`."""
    share = _pressure(resource, root).get("avg10")
    return None if share is None else float(share) / 100


def _pressure(resource: str, root: Path) -> dict[str, str]:
    """The fields of the line "some" of Linux pressure stall information; none where it is not there."""
    for line in _read(root / "proc/pressure" / resource).splitlines():
        kind, *fields = line.split()
        if kind == "some":
            return dict(field.split("=", 1) for field in fields)
    return {}


def _cpuinfo(field: str) -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
