"""Who may be ranked by speed, in which order, and what can be said of each pair."""

from __future__ import annotations

import pandas as pd

from harness.analyse.comparisons import FASTER, INFERENCE, SLOWER, WITHHELD, in_order
from harness.analyse.contrasts import tiers


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """The summary with `rank`: by step time in each workload, NaN for a contender that is unproven, has a
    record that is not ok, or no steady step time.
    """
    fit = table["proven"].astype(bool) & (table["status"] == "ok")
    speeds = table["step_seconds"].astype(float).where(fit)
    return table.assign(rank=speeds.groupby(table["workload"]).rank(method="min").astype(float))


def placed(table: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """The summary with each ranked contender's `tiers`, and what was found of it against the first-ranked:
    `ratio` of step times (with `_low` and `_high`), `ratio_blocks`, `verdict` and `detectable`, and the
    verdicts of its inference, memory and metric. The first-ranked has a ratio of 1 and no verdict.
    """
    table = table.astype(dict.fromkeys(_WORDS, object))
    for workload, rows in in_order(table):
        order = list(rows["contender"])
        mine = compared[compared["workload"] == workload]
        times = mine[mine["measure"] == "step_seconds"]
        at = dict(zip(rows["contender"], rows.index, strict=True))
        if WITHHELD not in set(times["verdict"]):
            for contender, numbers in tiers(_differing(times), order).items():
                table.loc[at[contender], "tiers"] = ", ".join(map(str, numbers))
        table.loc[at[order[0]], "ratio"] = 1.0
        for row in mine[mine["first"] == order[0]].to_dict("records"):
            for column, name in _TAKEN[row["measure"]].items():
                table.loc[at[row["second"]], column] = row[name]
    return table


_TAKEN = {
    "step_seconds": {
        "ratio": "estimate",
        "ratio_low": "low",
        "ratio_high": "high",
        "ratio_blocks": "pairs",
        "verdict": "verdict",
        "detectable": "detectable",
    },
    INFERENCE: {"evaluate_verdict": "verdict"},
    "peak_mib": {"peak_verdict": "verdict"},
    "metric": {"metric_verdict": "verdict"},
}
_WORDS = ("tiers", "verdict", "evaluate_verdict", "peak_verdict", "metric_verdict")


def _differing(times: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs that were told apart."""
    differing = times[times["verdict"].isin((FASTER, SLOWER))]
    return list(zip(differing["first"], differing["second"], strict=True))
