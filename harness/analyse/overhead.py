"""A contender's step time over that of its script written by hand, paired turn by turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.analyse.comparisons import of_ratios, too_few
from harness.analyse.contrasts import compare, judge
from harness.plan.overhead import BY_HAND

LIMIT = 0.02
WITHIN, BEYOND, NOT_TOLD = "within", "beyond", "not told"
COLUMNS = (
    *("workload", "contender", "pairs", "step_seconds", "by_hand_seconds", "estimate", "low", "high"),
    *("detectable", "verdict", "why"),
)


WARM_UP_SHARE = 0.25
"""Of the turns, from the first, that do not count: a script has little warm-up of its own."""


def overheads(meta: dict[str, Any], samples: pd.DataFrame) -> pd.DataFrame | None:
    """One row a workload and contender with `COLUMNS`, from the table of `harness.analyse.tables.samples` of
    those jobs that were measured, not of the pilot's; None of a run without scripts.

    A pair of processes, which took turns, gives one observation: the median over its turns of the ratio of
    their step times. The two step times are geometric means over processes of their medians; `estimate` is
    the mean ratio over pairs with the 95 % interval of this one comparison, from `low` to `high`. The verdict
    is `within` where the interval lies below 1.02 as a whole, `beyond` where it lies above, else `not told`.
    `detectable` is the overhead that 80 % of such comparisons tell from none.
    """
    if meta.get("made_by") != "overhead":
        return None
    rows = []
    for workload in meta["workloads"]:
        for name in meta["contenders"]:
            logs = _turns(samples, workload, name)
            by_pair = logs.groupby("block").median()
            difference = by_pair["ratio"].to_numpy(dtype=float)[:, None]
            found = of_ratios(judge(compare(difference, float(np.log1p(LIMIT)))), LIMIT).iloc[0]
            ours, theirs = (float(np.exp(by_pair[column].mean())) for column in ("ours", "theirs"))
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


def _turns(samples: pd.DataFrame, workload: str, contender: str) -> pd.DataFrame:
    """One row a turn that both took and that counts: `block`, and the logarithms of the step times of the
    contender (`ours`) and the script (`theirs`) and of their `ratio`.
    """
    mine = samples[(samples["workload"] == workload) & (samples["kind"] == "train") & ~samples["warmup"]]
    mine = mine.sort_values("index")
    mine = mine.assign(
        turn=mine.groupby(["contender", "block"]).cumcount(), log=np.log(mine["seconds"] / mine["steps"])
    )
    sides = [mine[mine["contender"] == entry] for entry in (contender, contender + BY_HAND)]
    ours, theirs = (side[["block", "turn", "log"]] for side in sides)
    both = ours.merge(theirs, on=["block", "turn"], suffixes=("_ours", "_theirs"))
    both = both.rename(columns={"log_ours": "ours", "log_theirs": "theirs"})
    last = both.groupby("block")["turn"].transform("max")
    counted = both[both["turn"] >= WARM_UP_SHARE * (last + 1)]
    return counted.assign(ratio=counted["ours"] - counted["theirs"]).drop(columns="turn")


def _verdict(low: float, high: float) -> str:
    if high <= 1 + LIMIT:
        return WITHIN
    return BEYOND if low > 1 + LIMIT else NOT_TOLD


def exit_code(table: pd.DataFrame) -> int:
    """1 where a contender is beyond the limit, 3 where one could not be told, else 0."""
    verdicts = set(table["verdict"])
    return 1 if BEYOND in verdicts else 3 if NOT_TOLD in verdicts or table.empty else 0
