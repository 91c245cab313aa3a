"""Latency: how long single calls take, each waited for, as percentiles."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.analyse.contrasts import interval

PERCENTILES = (50, 95, 99)
KEYS = ["workload", "contender", "kind", "batch_size"]
COLUMNS = (
    *KEYS,
    "tokens",
    "processes",
    "calls",
    *(f"p{rank}{end}" for rank in PERCENTILES for end in ("", "_low", "_high")),
)


def latencies(calls: pd.DataFrame) -> pd.DataFrame:
    """One row a workload, contender, `kind` (train: a step; evaluate; prefill and token: of generation, where
    a call reads so many `tokens` of each example) and `batch_size`, in seconds.

    `p50`, `p95` and `p99` are taken in each process, without its first call; the row has the mean of their
    logarithms over `processes` with its 95 % t interval (`_low`, `_high`; NaN of one process). `calls` counts
    all processes' together: of a hundred calls the p99 is their second largest.
    """
    rows = []
    for key, mine in calls[~calls["warmup"]].groupby(KEYS, sort=False):
        by_process = [each["seconds"].to_numpy(dtype=float) for _, each in mine.groupby("job")]
        row = {**dict(zip(KEYS, key, strict=True)), "tokens": mine["tokens"].iloc[0]}
        row |= {"processes": len(by_process), "calls": len(mine)}
        for rank in PERCENTILES:
            logs = np.log([np.percentile(seconds, rank) for seconds in by_process])
            for end, bound in zip(("", "_low", "_high"), interval(logs), strict=True):
                row[f"p{rank}{end}"] = float(np.exp(bound))
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))
