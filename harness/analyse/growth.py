"""How cost grows with size: the exponent of a power law, fitted to the levels of a sweep.

A sweep whose levels are numbers (`[workload.sweep.length]` with 32, 64, 128) is one of size. Over its range,
cost is taken as c * size^k, and k is the slope of a straight line through the logarithms, by least squares,
with a 95 % t interval. What does not grow (a call's overhead, the framework's own memory) makes k smaller
than what the largest sizes show: memory is therefore what a process holds above the imported framework. Each
process, and of memory each pass, is an observation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from harness.analyse.contrasts import LEVEL

LEAST_SIZES = 3
"""Two sizes make a line that nothing could contradict."""
COSTS = ("time", "memory")
COLUMNS = ("contender", *(f"{cost}{end}" for cost in COSTS for end in ("", "_low", "_high")))


def sizes(levels: Iterable[str]) -> dict[str, float] | None:
    """The size that each level is, where all are positive numbers and there are enough; else None."""
    found = {}
    for level in levels:
        try:
            found[level] = float(level)
        except ValueError:
            return None
    return found if len(found) >= LEAST_SIZES and min(found.values()) > 0 else None


def growth(observed: pd.DataFrame, size_of: Mapping[str, float]) -> pd.DataFrame:
    """One row a contender with the exponent of each cost and its interval; NaN where fewer than three sizes
    have one. `observed` has a row an observation: `contender`, `level`, `cost` (time, memory) and `value`.
    """
    rows = []
    for contender, mine in observed.groupby("contender", sort=True):
        row: dict[str, object] = {"contender": contender}
        for cost in COSTS:
            values = mine[(mine["cost"] == cost) & (mine["value"] > 0)]
            bounds = exponent(values["level"].map(size_of).to_numpy(dtype=float), values["value"].to_numpy())
            row |= dict(zip((cost, f"{cost}_low", f"{cost}_high"), bounds, strict=True))
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def exponent(size: np.ndarray, cost: np.ndarray) -> tuple[float, float, float]:
    """The slope of log(cost) on log(size), and its 95 % t interval."""
    from scipy import stats

    if len(np.unique(size)) < LEAST_SIZES:
        return (float("nan"),) * 3
    line = stats.linregress(np.log(size), np.log(cost))
    reach = stats.t.ppf(1 - LEVEL / 2, len(size) - 2) * line.stderr
    return float(line.slope), float(line.slope - reach), float(line.slope + reach)
