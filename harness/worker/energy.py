"""Energy, by the machine's own meters: RAPL of the processor (powercap), NVML of a GPU.

RAPL's files are readable by root alone on most systems: `sudo chmod a+r /sys/class/powercap/*/energy_uj`.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Meter:
    """A counter of joules at one moment; of a RAPL counter, `wraps_at` is where it begins again at 0."""

    joules: float
    wraps_at: float | None = None


Meters = dict[str, Meter]
"""By name: a processor package as RAPL calls it (`package-0`), or `gpu`."""


def read(device: str, root: Path = Path("/")) -> Meters:
    """Every meter that can be read."""
    meters = {}
    for folder in sorted((root / "sys/class/powercap").glob("*rapl:*")):
        name = _text(folder / "name")
        energy, most = _text(folder / "energy_uj"), _text(folder / "max_energy_range_uj")
        # A package counts what its parts (core, uncore, dram of some) count again.
        if name.startswith("package") and energy and most:
            meters[name] = Meter(int(energy) / 1e6, int(most) / 1e6)
    kind, _, number = device.partition(":")
    joules = _gpu_joules(int(number or 0)) if kind == "cuda" else None
    if joules is not None:
        meters["gpu"] = Meter(joules)
    return meters


def lacking(device: str, root: Path = Path("/")) -> str:
    """Why no meter can be read, in words."""
    there = any((root / "sys/class/powercap").glob("*rapl:*"))
    reasons = [f"the processor's counters (RAPL) are {'for root alone to read' if there else 'not there'}"]
    if device.startswith("cuda"):
        reasons.append("the driver (NVML) counts no energy of the GPU")
    return ", and ".join(reasons)


def between(before: Meters, after: Meters, reason: str) -> dict[str, Any]:
    """Joules by meter, of those read both times; `joules` is their sum, or None with the `reason`."""
    by_meter = {}
    for name in before.keys() & after.keys():
        used = after[name].joules - before[name].joules
        wraps_at = after[name].wraps_at
        by_meter[name] = used + wraps_at if used < 0 and wraps_at is not None else used
    if not by_meter:
        return {"joules": None, "reason": reason, "by_meter": {}}
    return {"joules": sum(by_meter.values()), "reason": None, "by_meter": by_meter}


def _gpu_joules(number: int) -> float | None:
    """What NVML counted since the driver was loaded: nvmlDeviceGetTotalEnergyConsumption, in millijoules."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible:
        chosen = visible.split(",")
        if number >= len(chosen) or not chosen[number].isdigit():
            return None
        number = int(chosen[number])
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    good = (
        nvml.nvmlInit_v2() == 0
        and nvml.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)) == 0
        and nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)) == 0
    )
    return millijoules.value / 1000 if good else None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
