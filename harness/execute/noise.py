"""What disturbed a measured job: the machine's counters before and after it, and the worker's own.

Nothing here runs while the worker does, except where it uses a GPU: nvidia-smi, once a second, since a GPU's
clock falls as soon as it is idle.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from harness import machine
from harness.execute.local import Usage, Worker

_GPU_FIELDS = ("clocks.sm", "temperature.gpu", "power.draw", "clocks_throttle_reasons.active")
POWER_CAP = "power cap"
"""The one slowdown that is a busy GPU's ordinary state."""

_GPU_IDLE = 0x01
"""The bit that stands for a clock which falls since nothing runs."""

_GPU_SLOWDOWNS = {
    0x04: POWER_CAP,
    0x08: "hardware slowdown",
    0x20: "heat",
    0x40: "heat (hardware)",
    0x80: "power brake",
}
"""Bits of `clocks_throttle_reasons.active` that stand for a clock below what the GPU could (NVML manual)."""


@dataclass(frozen=True)
class GpuNoise:
    """A GPU while the job ran, over `samples` readings; None is unknown. Of the clock those count in which it
    computed, and had already in the one before: right after it was idle, its clock still rises.
    """

    samples: int
    megahertz_min: float | None
    megahertz_max: float | None
    celsius_max: float | None
    watts_mean: float | None
    slowdowns: tuple[str, ...]


@dataclass(frozen=True)
class Noise:
    """One job's surroundings, from before its process started until after it ended. None is unknown, never 0.

    Shares are of the cores given to us: `others_share` is their CPU time that neither the worker nor anything
    it started had. A pressure is the share of the time in which some task of the machine waited for the
    resource. `megahertz` is the cores' mean clock at the end, `megahertz_limit` the most it may be;
    `throttles` counts the times that heat slowed a core. `harness_cpu_seconds` is this process's own.
    """

    seconds: float
    harness_cpu_seconds: float
    worker_cpu_seconds: float | None
    others_share: float | None
    steal_share: float | None
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None
    megahertz: float | None
    megahertz_limit: float | None
    throttles: int | None
    voluntary_switches: int | None
    involuntary_switches: int | None
    minor_faults: int | None
    major_faults: int | None
    gpu: GpuNoise | None

    def as_data(self) -> dict[str, Any]:
        """For a record."""
        return asdict(self)


class Watch:
    """Looks now and, at `noise`, once more."""

    def __init__(self, device: str = "cpu") -> None:
        kind, _, number = device.partition(":")
        self.gpu = _watch_gpu(number or "0") if kind == "cuda" else None
        self.before = machine.counters()

    def noise(self, worker: Worker) -> Noise:
        """What there was since; the worker has ended."""
        after = machine.counters()
        return between(self.before, after, worker.harness_cpu_seconds, worker.usage, self._gpu_noise())

    def stop(self) -> None:
        """End what still looks."""
        if self.gpu is not None:
            self.gpu.kill()
            self.gpu.communicate()
            self.gpu = None

    def _gpu_noise(self) -> GpuNoise | None:
        if self.gpu is None:
            return None
        self.gpu.terminate()
        said, _ = self.gpu.communicate()
        self.gpu = None
        return gpu_noise(said.splitlines())


def between(
    before: machine.Counters,
    after: machine.Counters,
    harness_cpu_seconds: float,
    usage: Usage | None,
    gpu: GpuNoise | None = None,
) -> Noise:
    """The noise between two readings of the machine's counters."""
    seconds = after.seconds - before.seconds
    available = seconds * after.cores
    busy = _difference(before.busy_seconds, after.busy_seconds)
    stolen = _difference(before.stolen_seconds, after.stolen_seconds)
    others = None if busy is None or usage is None else max(0.0, busy - usage.cpu_seconds)
    waited = {
        resource: _difference(before.waited_seconds.get(resource), after.waited_seconds.get(resource))
        for resource in machine.PRESSURES
    }
    throttles = _difference(before.throttles, after.throttles)
    return Noise(
        seconds=seconds,
        harness_cpu_seconds=harness_cpu_seconds,
        worker_cpu_seconds=None if usage is None else usage.cpu_seconds,
        others_share=None if others is None else others / available,
        steal_share=None if stolen is None else stolen / available,
        **{f"{name}_pressure": None if share is None else share / seconds for name, share in waited.items()},
        megahertz=after.megahertz,
        megahertz_limit=after.megahertz_limit,
        throttles=None if throttles is None else int(throttles),
        voluntary_switches=None if usage is None else usage.voluntary_switches,
        involuntary_switches=None if usage is None else usage.involuntary_switches,
        minor_faults=None if usage is None else usage.minor_faults,
        major_faults=None if usage is None else usage.major_faults,
        gpu=gpu,
    )


def gpu_noise(lines: Iterable[str]) -> GpuNoise | None:
    """Of nvidia-smi's lines (MHz, degrees, watts, bits of the reasons); None where not one can be read."""
    rows = [[_number(text) for text in line.split(",")] for line in lines]
    rows = [row for row in rows if len(row) == len(_GPU_FIELDS) and any(value is not None for value in row)]
    if not rows:
        return None
    _, celsius, watts, reasons = (
        [value for value in column if value is not None] for column in zip(*rows, strict=True)
    )
    clocks = [now[0] for before, now in pairwise(rows) if _computes(before) and _computes(now) and now[0]]
    return GpuNoise(
        samples=len(rows),
        megahertz_min=min(clocks, default=None),
        megahertz_max=max(clocks, default=None),
        celsius_max=max(celsius, default=None),
        watts_mean=sum(watts) / len(watts) if watts else None,
        slowdowns=tuple(
            name for bit, name in _GPU_SLOWDOWNS.items() if any(int(value) & bit for value in reasons)
        ),
    )


def _computes(row: list[float | None]) -> bool:
    reasons = row[-1]
    return reasons is not None and not int(reasons) & _GPU_IDLE


def _watch_gpu(number: str) -> subprocess.Popen[str] | None:
    query = f"--query-gpu={','.join(_GPU_FIELDS)}"
    command = ["nvidia-smi", "-i", number, query, "--format=csv,noheader,nounits", "-lms", "1000"]
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _number(text: str) -> float | None:
    text = text.strip()
    try:
        return float(int(text, 16)) if text.startswith("0x") else float(text)
    except ValueError:
        return None
