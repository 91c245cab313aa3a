"""The A/A control: one contender under two names. Where the two differ, the instrument cannot be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.analyse.comparisons import wide
from harness.analyse.contrasts import LEVEL, compare, judge

MEASURES = {"step_seconds": "block", "peak_mib": "pass"}
"""What the twins are compared in, and what pairs its observations."""


@dataclass(frozen=True)
class Control:
    """A contender and its twin, which is measured like a contender and ranked as none.

    `table`: one row a `measure` and `workload`, with the columns of `harness.analyse.contrasts` and `ratio`
    (the twin's over the contender's), `ratio_low`, `ratio_high` and `detectable` as a share. `differs` names
    of each measure the workloads in which the twins are told apart, by Holm's adjustment over workloads, so
    that of runs with a sound instrument 5 % have a false alarm in a measure.
    """

    contender: str
    twin: str
    table: pd.DataFrame
    differs: Mapping[str, tuple[str, ...]]

    @property
    def withheld(self) -> tuple[str, ...]:
        """The measures on which the run has no verdicts, since the twins differ in them."""
        return tuple(measure for measure, workloads in self.differs.items() if workloads)

    def of(self, measure: str) -> pd.DataFrame:
        """The table's rows of one measure."""
        return self.table[self.table["measure"] == measure]


def control(
    meta: dict[str, Any], measured: pd.DataFrame, passes: pd.DataFrame, margin: float
) -> Control | None:
    """The run's control, if it has one, from its processes and memory passes."""
    entered = meta.get("control")
    if not entered:
        return None
    twins = [str(entered["contender"]), str(entered["twin"])]
    workloads = list(meta["workloads"])
    observed = {"step_seconds": measured, "peak_mib": passes}
    judged = [_judged(observed[measure], measure, workloads, twins, margin) for measure in MEASURES]
    table = pd.concat(judged, ignore_index=True)
    told = table[table["p_holm"] <= LEVEL]
    differs = {measure: tuple(told.loc[told["measure"] == measure, "workload"]) for measure in MEASURES}
    return Control(twins[0], twins[1], table, differs)


def _judged(
    observed: pd.DataFrame, measure: str, workloads: list[str], twins: list[str], margin: float
) -> pd.DataFrame:
    """The twins' comparisons in one measure: the family over which Holm adjusts."""
    pairs = [wide(observed, workload, twins, MEASURES[measure], measure) for workload in workloads]
    logarithms = [pair.transform(np.log) for pair in pairs]
    differences = pd.concat([pair[twins[1]] - pair[twins[0]] for pair in logarithms], axis=1)
    table = judge(compare(differences.to_numpy(dtype=float), float(np.log1p(margin))))
    return table.assign(
        measure=measure,
        workload=workloads,
        ratio=np.exp(table["difference"]),
        ratio_low=np.exp(table["low"]),
        ratio_high=np.exp(table["high"]),
        detectable=np.expm1(table["detectable"]),
    )
