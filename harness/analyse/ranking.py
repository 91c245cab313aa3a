"""Who may be ranked by speed, in which order, and at what ratio to the fastest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd


def ranked(table: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The summary with `rank`, and each ranked contender's step time over the fastest's.

    Ratios are paired: only blocks that both contenders finished count. Contenders that are unproven or have
    a record that is not ok get NaN.
    """
    fit = table["proven"].astype(bool) & (table["status"] == "ok")
    speeds = table["step_seconds"].astype(float).where(fit)
    table = table.assign(rank=speeds.groupby(table["workload"]).rank(method="min").astype(float))
    ratios = dict(_ratios(table, measured))
    for name in ("ratio", "ratio_min", "ratio_max", "ratio_blocks"):
        table[name] = pd.Series({index: spread[name] for index, spread in ratios.items()}, dtype=float)
    return table


def _ratios(table: pd.DataFrame, measured: pd.DataFrame) -> Iterator[tuple[Any, dict[str, float]]]:
    for workload, rows in table[table["rank"].notna()].groupby("workload"):
        mine = measured[measured["workload"] == workload]
        by_block = {
            contender: mine[mine["contender"] == contender].groupby("block")["step_seconds"].median()
            for contender in rows["contender"]
        }
        fastest = by_block[rows.sort_values(["rank", "contender"])["contender"].iloc[0]]
        for index, contender in rows["contender"].items():
            paired = (by_block[contender] / fastest).dropna()
            yield (
                index,
                {
                    "ratio": float(paired.median()) if len(paired) else float("nan"),
                    "ratio_min": float(paired.min()),
                    "ratio_max": float(paired.max()),
                    "ratio_blocks": float(len(paired)),
                },
            )
