"""What came of a planned number of blocks: how precise the least precise ratio is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from harness.analyse.control import Control


@dataclass(frozen=True)
class Achieved:
    """The widest 95 % interval of a ratio of step times: of `contender` to the first-ranked of `workload`, or
    of the control's twin to its original. `half_width` is relative, as that of `harness.plan.precision`.
    """

    workload: str
    contender: str
    half_width: float


def achieved(summary: pd.DataFrame, control: Control | None) -> Achieved | None:
    """The widest interval of a run; None where no ratio has one."""
    ratios = summary[["workload", "contender", "ratio_low", "ratio_high"]]
    if control is not None:
        ratios = pd.concat(
            [ratios, control.of("step_seconds").assign(contender=control.twin)[list(ratios.columns)]]
        )
    found = [
        Achieved(row["workload"], row["contender"], _half_width(row["ratio_low"], row["ratio_high"]))
        for row in ratios.dropna().to_dict("records")
    ]
    return max(found, key=lambda one: one.half_width, default=None)


def _half_width(low: float, high: float) -> float:
    return math.sqrt(high / low) - 1 if low > 0 else math.inf
