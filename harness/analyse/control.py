"""The A/A control: one contender under two names. Where the two differ, the clocks cannot be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.analyse.contrasts import LEVEL, compare, judge


@dataclass(frozen=True)
class Control:
    """A contender and its twin, which is measured like a contender and ranked as none.

    `table`: one row a workload, the columns of `harness.analyse.contrasts` with `workload`, and `ratio` (the
    twin's step time over the contender's), `ratio_low`, `ratio_high` and `detectable` as a share. `differs`
    names the workloads in which the twins are told apart, by Holm's adjustment over workloads, so that of
    runs with sound clocks 5 % have a false alarm.
    """

    contender: str
    twin: str
    table: pd.DataFrame
    differs: tuple[str, ...]


def control(meta: dict[str, Any], measured: pd.DataFrame, margin: float) -> Control | None:
    """The run's control, if it has one."""
    entered = meta.get("control")
    if not entered:
        return None
    contender, twin = str(entered["contender"]), str(entered["twin"])
    workloads = list(meta["workloads"])
    by_block = [_by_block(measured[measured["workload"] == name], contender, twin) for name in workloads]
    differences = pd.concat([found[twin] - found[contender] for found in by_block], axis=1)
    table = judge(compare(differences.to_numpy(dtype=float), float(np.log1p(margin))))
    table = table.assign(
        workload=workloads,
        ratio=np.exp(table["difference"]),
        ratio_low=np.exp(table["low"]),
        ratio_high=np.exp(table["high"]),
        detectable=np.expm1(table["detectable"]),
    )
    differing = table.loc[table["p_holm"] <= LEVEL, "workload"]
    return Control(contender, twin, table, tuple(differing))


def _by_block(measured: pd.DataFrame, *contenders: str) -> pd.DataFrame:
    """The logarithms of step times."""
    found = measured.pivot_table(index="block", columns="contender", values="step_seconds")
    return found.reindex(columns=list(contenders)).astype(float).transform(np.log)
