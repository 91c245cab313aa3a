"""What about the machine's condition would spoil a measurement, each with what to do about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.machine import Condition

BUSY_SHARE = 0.05
STEAL_SHARE = 0.01
PRESSURE = 0.05
MEMORY_BYTES = 3 * 2**30
DISK_BYTES = 8 * 2**30
GPU_USED_BYTES = 2**30


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
