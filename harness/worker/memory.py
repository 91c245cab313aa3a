"""The memory of this very process, from the kernel's own books."""

from __future__ import annotations

from pathlib import Path

_FIELDS = {"resident": "VmRSS", "peak": "VmHWM"}


def memory_bytes(which: str) -> int:
    """`resident`: memory held now; `peak`: the most ever held by this process alone.

    /proc/self/status counts from this process's own start (proc(5)), unlike getrusage's maximum, which a
    child takes over from its parent.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == _FIELDS[which]:
            return int(rest.split()[0]) * 1024
    raise OSError(f"/proc/self/status has no {_FIELDS[which]}")
