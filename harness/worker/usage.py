"""What this process, all its threads together, has used of the machine (getrusage(2))."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Usage:
    """A reading of the clock and the books."""

    seconds: float
    cpu_seconds: float
    voluntary_switches: int
    involuntary_switches: int
    minor_faults: int
    major_faults: int

    @staticmethod
    def now() -> Usage:
        """Read them."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Usage(
            perf_counter(),
            used.ru_utime + used.ru_stime,
            used.ru_nvcsw,
            used.ru_nivcsw,
            used.ru_minflt,
            used.ru_majflt,
        )

    def since(self) -> dict[str, float]:
        """What was used from this reading until now, by the fields' names."""
        now = vars(Usage.now())
        return {name: now[name] - value for name, value in vars(self).items()}
