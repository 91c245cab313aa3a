"""A contender's step time over that of its script written by hand, paired by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.analyse.comparisons import of_ratios, too_few, wide
from harness.analyse.contrasts import compare, judge
from harness.plan.overhead import BY_HAND

LIMIT = 0.02
WITHIN, BEYOND, NOT_TOLD = "within", "beyond", "not told"
COLUMNS = (
    *("workload", "contender", "pairs", "step_seconds", "by_hand_seconds", "estimate", "low", "high"),
    *("detectable", "verdict", "why"),
)


def overheads(meta: dict[str, Any], measured: pd.DataFrame) -> pd.DataFrame | None:
    """One row a workload and contender with `COLUMNS`; None of a run without scripts.

    The two step times are geometric means over processes; `estimate` is the mean ratio with the 95 % interval
    of this one comparison, from `low` to `high`. The verdict is `within` where the interval lies below 1.02
    as a whole, `beyond` where it lies above, else `not told`. `detectable` is the overhead that 80 % of such
    comparisons tell from none.
    """
    if meta.get("made_by") != "overhead":
        return None
    rows = []
    for workload in meta["workloads"]:
        for name in meta["contenders"]:
            pair = wide(measured, workload, [name + BY_HAND, name], "block", "step_seconds")
            logs = pair.transform(np.log)
            difference = (logs[name] - logs[name + BY_HAND]).to_numpy(dtype=float)[:, None]
            found = of_ratios(judge(compare(difference, float(np.log1p(LIMIT)))), LIMIT).iloc[0]
            ours, theirs = (float(np.exp(logs[column].mean())) for column in (name, name + BY_HAND))
            pairs = int(found["pairs"])
            rows.append(
                {
                    **{"workload": workload, "contender": name, "pairs": pairs},
                    **{"step_seconds": ours, "by_hand_seconds": theirs},
                    **{field: float(found[field]) for field in ("estimate", "low", "high", "detectable")},
                    "verdict": _verdict(float(found["low"]), float(found["high"])),
                    "why": too_few(pairs, "block"),
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _verdict(low: float, high: float) -> str:
    if high <= 1 + LIMIT:
        return WITHIN
    return BEYOND if low > 1 + LIMIT else NOT_TOLD


def exit_code(table: pd.DataFrame) -> int:
    """1 where a contender is beyond the limit, 3 where one could not be told, else 0."""
    verdicts = set(table["verdict"])
    return 1 if BEYOND in verdicts else 3 if NOT_TOLD in verdicts or table.empty else 0
