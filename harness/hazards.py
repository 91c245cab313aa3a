"""What about the machine's condition would spoil a measurement, or has, each with what to do about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.execute.noise import POWER_CAP, Noise
from harness.machine import Condition

BUSY_SHARE = 0.05
STEAL_SHARE = 0.01
PRESSURE = 0.05
MEMORY_BYTES = 3 * 2**30
DISK_BYTES = 8 * 2**30
GPU_USED_BYTES = 2**30
HARNESS_SHARE = 0.01
"""Of one core: what onespec itself may use while a worker measures."""
CLOCK_SHARE = 0.7
GPU_CLOCK_SHARE = 0.85
"""Of a GPU's highest clock while it computes, what its lowest has: boost alone moves it by less."""
GPU_CELSIUS = 80
"""Between 83 and 90 degrees, by model, GPUs begin to take their clock down (nvidia-smi -q -d TEMPERATURE)."""
SWITCHES_PER_SECOND = 200
"""Interruptions of the worker's threads less the times they gave up their core to wait. A pool's thread that
is given work takes the core of another one of the pool, in the run vision-reference of 2026-11-21 up to
22,000 times a second, and it had waited before: that is how a framework works, and no disturbance. What is
left is above this limit in 5 of that run's 189 timed jobs; other programs had 3 to 21 % of the cores there.
"""
MAJOR_FAULTS_PER_SECOND = 10

SPOILING = frozenset({"other work", "stolen time", "throttled", "GPU throttled"})
"""A timed job that met one of these is run again (`repeats` of a suite's [protocol]). The others are said."""


@dataclass(frozen=True)
class Hazard:
    """One thing that would spoil a measurement: a short name, what was seen, and advice."""

    name: str
    seen: str
    advice: str


def hazards(now: Condition) -> list[Hazard]:
    """The hazards of a condition, most harmful first; the limits are this module's constants."""
    found = []
    if now.busy_share > BUSY_SHARE:
        found.append(
            Hazard(
                "other work",
                f"{now.busy_share:.0%} of the processor is in use (load {now.load:.1f})",
                "Stop other programs, or wait until they are done.",
            )
        )
    if now.steal_share > STEAL_SHARE:
        found.append(
            Hazard(
                "stolen time",
                f"the hypervisor gave {now.steal_share:.1%} of the time to other machines",
                "Measure on a machine of your own, or at a quieter time and with more --blocks.",
            )
        )
    if now.quota_cores is not None and now.quota_cores < now.usable_cores:
        threads = max(1, math.floor(now.quota_cores))
        found.append(
            Hazard(
                "CPU quota",
                f"the container may use {now.quota_cores:g} of {now.usable_cores} cores before it is paused",
                f"Raise the container's limit, or run with --threads {threads}.",
            )
        )
    slow = [governor for governor in now.governors if governor != "performance"]
    if slow:
        found.append(
            Hazard(
                "clock frequency",
                f"the frequency governor is {' and '.join(slow)}: the clock follows the load",
                "As root: cpupower frequency-set -g performance",
            )
        )
    if now.on_battery:
        found.append(Hazard("battery", "the machine runs on its battery", "Plug it in."))
    if now.memory_available_bytes < MEMORY_BYTES:
        found.append(
            Hazard(
                "memory",
                f"{now.memory_available_bytes / 2**30:.1f} GiB of memory are available",
                "Close other programs: a framework may need 2 GiB, and swapping ruins every figure.",
            )
        )
    waiting = {"memory": now.memory_pressure, "the disk": now.io_pressure}
    for resource, share in waiting.items():
        if share is not None and share > PRESSURE:
            found.append(
                Hazard(
                    f"waiting for {resource}",
                    f"programs waited for {resource} in {share:.0%} of the last ten seconds",
                    "Find out which with top or iotop, and stop it.",
                )
            )
    if now.disk_free_bytes < DISK_BYTES:
        found.append(
            Hazard(
                "disk space",
                f"{now.disk_free_bytes / 2**30:.1f} GiB are free where the environments are kept",
                "Make room, or set ONESPEC_CACHE to a folder on another disk.",
            )
        )
    for number, gpu in enumerate(now.gpus):
        if gpu.busy_share > BUSY_SHARE or gpu.used_bytes > GPU_USED_BYTES:
            found.append(
                Hazard(
                    f"GPU {number} in use",
                    f"{gpu.name}: {gpu.busy_share:.0%} busy, {gpu.used_bytes / 2**30:.1f} GiB in use",
                    "Look who uses it with nvidia-smi; choose another with --device cuda:N.",
                )
            )
    return found


def disturbances(noise: Noise, steady: Mapping[str, float] | None = None) -> list[Hazard]:
    """What disturbed a timed job, the spoiling first; the limits are this module's constants.

    `steady` is the worker's own account of its timed steps (`measures.steady` of a record).
    """
    found = []
    if noise.others_share is not None and noise.others_share > BUSY_SHARE:
        found.append(
            Hazard(
                "other work",
                f"other programs had {noise.others_share:.0%} of the cores",
                "Stop them, or measure at a quieter time.",
            )
        )
    if noise.steal_share is not None and noise.steal_share > STEAL_SHARE:
        found.append(
            Hazard(
                "stolen time",
                f"the hypervisor gave {noise.steal_share:.1%} of the time to other machines",
                "Measure on a machine of your own, or at a quieter time and with more --blocks.",
            )
        )
    if noise.throttles:
        found.append(
            Hazard(
                "throttled",
                f"heat slowed a core {noise.throttles} times",
                "Cool the machine, or limit its clock so that it can be held.",
            )
        )
    slowdowns = noise.gpu.slowdowns if noise.gpu is not None else ()
    if set(slowdowns) - {POWER_CAP}:
        found.append(
            Hazard(
                "GPU throttled",
                f"the GPU's clock was held down by: {', '.join(slowdowns)}",
                "Cool it, or lock its clock below the limit: nvidia-smi --lock-gpu-clocks",
            )
        )
    if POWER_CAP in slowdowns:
        found.append(
            Hazard(
                "GPU power cap",
                "the GPU's clock was held down by its power limit",
                "Lock its clock below what the limit allows: nvidia-smi --lock-gpu-clocks",
            )
        )
    found += _gpu_disturbances(noise)
    if noise.harness_cpu_seconds > HARNESS_SHARE * noise.seconds:
        found.append(
            Hazard(
                "the harness",
                f"onespec itself computed for {noise.harness_cpu_seconds:.2f} s of {noise.seconds:.1f} s",
                "It should sleep while a worker measures: please report it.",
            )
        )
    if noise.megahertz and noise.megahertz_limit and noise.megahertz < CLOCK_SHARE * noise.megahertz_limit:
        found.append(
            Hazard(
                "clock frequency",
                f"the cores ran at {noise.megahertz:.0f} of {noise.megahertz_limit:.0f} MHz at the end",
                "As root: cpupower frequency-set -g performance",
            )
        )
    waiting = {"memory": noise.memory_pressure, "the disk": noise.io_pressure}
    for resource, share in waiting.items():
        if share is not None and share > PRESSURE:
            found.append(
                Hazard(
                    f"waiting for {resource}",
                    f"programs waited for {resource} in {share:.0%} of the time",
                    "Find out which with top or iotop, and stop it.",
                )
            )
    if steady is not None and steady["seconds"] > 0:
        switches = (steady["involuntary_switches"] - steady["voluntary_switches"]) / steady["seconds"]
        faults = steady["major_faults"] / steady["seconds"]
        if switches > SWITCHES_PER_SECOND:
            found.append(
                Hazard(
                    "preempted",
                    f"the timed steps were interrupted {switches:.0f} times a second more than they waited",
                    "More threads compute than there are cores: stop other programs, or use fewer --threads. "
                    "A framework's own pools (intra-op, inter-op) may have more threads than those.",
                )
            )
        if faults > MAJOR_FAULTS_PER_SECOND:
            found.append(
                Hazard(
                    "page faults",
                    f"the timed steps waited for pages from the disk {faults:.0f} times a second",
                    "Close other programs: memory is short.",
                )
            )
    return found


def _gpu_disturbances(noise: Noise) -> list[Hazard]:
    """Of a GPU: its clock where nothing is said to have held it down, and its temperature."""
    found: list[Hazard] = []
    gpu = noise.gpu
    if gpu is None:
        return found
    low, high = gpu.megahertz_min, gpu.megahertz_max
    if low and high and low < GPU_CLOCK_SHARE * high and not gpu.slowdowns:
        found.append(
            Hazard(
                "GPU clock",
                f"the GPU computed at {low:.0f} MHz and at {high:.0f} MHz",
                "Lock its clock: nvidia-smi --lock-gpu-clocks",
            )
        )
    if gpu.celsius_max is not None and gpu.celsius_max > GPU_CELSIUS:
        found.append(
            Hazard(
                "GPU temperature",
                f"the GPU was at {gpu.celsius_max:.0f} degrees",
                "Cool it, or lock its clock below what heat allows: nvidia-smi --lock-gpu-clocks",
            )
        )
    return found


def spoiled(found: Iterable[Hazard]) -> bool:
    """Whether a timed job that met these is to be run again."""
    return any(hazard.name in SPOILING for hazard in found)
