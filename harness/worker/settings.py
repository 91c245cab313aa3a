"""What is the same for every contender of a run, and how each process finds it to be.

The policy: as many threads as the run was asked for; the cores, the allocator and the user's variables as
this process was given them; oneDNN, MKL and XLA as each framework ships them, unless a suite's `variables`
say otherwise, to all alike; matrix products in full float32 (TF32 is another computation, and would not pass
the proof); subnormals flushed; Python's garbage collector on, what exists before the clock starts frozen.
"""

from __future__ import annotations

import gc
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.worker.job import Protocol
from harness.worker.subnormals import flush, flushed

VARIABLES = (
    *("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "ONEDNN_", "DNNL_", "MKLDNN_", "XLA_", "TF_XLA"),
    *("CUDA_", "NVIDIA_", "MALLOC_", "LD_PRELOAD"),
)
"""Prefixes of the environment variables that are recorded for every backend, besides its own."""

_ALLOCATORS = re.compile(r"lib(jemalloc|tcmalloc|mimalloc)[^/]*\.so")


def apply(protocol: Protocol, threads: int) -> None:
    """What has to be before a framework is imported."""
    if protocol.subnormals == "flush":
        flush()
    if protocol.affinity == "pinned":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def settle(protocol: Protocol, *, collect: bool = True) -> None:
    """Collect garbage, then keep the collector from what is left ("freeze"), or from everything ("off")."""
    if protocol.gc == "default":
        return
    if collect:
        gc.collect()
    gc.freeze()
    if protocol.gc == "off":
        gc.disable()


def found(backend: ModuleType | None) -> dict[str, Any]:
    """What is in force in this process: JSON values by name. A backend that has run tells its own."""
    own: dict[str, Any] = getattr(backend, "settings", dict)()
    return {
        "subnormals": "flushed" if flushed() else "default",
        "affinity": ",".join(map(str, sorted(os.sched_getaffinity(0)))),
        "allocator": allocator(Path("/proc/self/maps").read_text()),
        "gc": "off" if not gc.isenabled() else "freeze" if gc.get_freeze_count() else "default",
        **own,
    }


def allocator(maps: str) -> str:
    """The allocator that is loaded in place of the system's, by the files that a process has mapped."""
    loaded = _ALLOCATORS.search(maps)
    return loaded[1] if loaded else "system"
