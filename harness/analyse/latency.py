"""Latency: how long single calls take, each waited for, as percentiles, and what they get done a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.analyse.contrasts import interval

PERCENTILES = {50: 1, 95: 20, 99: 100}
"""Each with the calls that a process must have for it: so many that one lies beyond."""
GENERATION = ("prefill", "token")
KEYS = ["workload", "contender", "kind", "batch_size"]
COLUMNS = (
    *KEYS,
    "tokens",
    "processes",
    "calls",
    "least_calls",
    *(f"p{rank}{end}" for rank in PERCENTILES for end in ("", "_low", "_high")),
    "samples_per_second",
    "tokens_per_second",
)


def latencies(calls: pd.DataFrame) -> pd.DataFrame:
    """One row a workload, contender, `kind` (train: a step; evaluate; prefill and token: of generation, where
    a call reads so many `tokens` of each example) and `batch_size`, in seconds.

    `p50`, `p95` and `p99` are taken in each process, without its first call; the row has the mean of their
    logarithms over `processes` with its 95 % t interval (`_low`, `_high`; NaN of one process). A percentile
    is NaN unless each process has the calls for it (`PERCENTILES`): of a hundred the p99 is their second
    largest. `calls` counts all processes' together, `least_calls` those of the process with the fewest. The
    rates are of the p50: `tokens_per_second` of generation, `samples_per_second` of all else.
    """
    rows = []
    for key, mine in calls[~calls["warmup"]].groupby(KEYS, sort=False):
        by_process = [each["seconds"].to_numpy(dtype=float) for _, each in mine.groupby("job")]
        row: dict[str, Any] = {**dict(zip(KEYS, key, strict=True)), "tokens": mine["tokens"].iloc[0]}
        least = min(map(len, by_process))
        row |= {"processes": len(by_process), "calls": len(mine), "least_calls": least}
        for rank, needed in PERCENTILES.items():
            logs = np.log([np.percentile(seconds, rank) for seconds in by_process])
            bounds = interval(logs) if least >= needed else (float("nan"),) * 3
            for end, bound in zip(("", "_low", "_high"), bounds, strict=True):
                row[f"p{rank}{end}"] = float(np.exp(bound))
        a_second = row["batch_size"] / row["p50"]
        generates = row["kind"] in GENERATION
        row["samples_per_second"] = float("nan") if generates else a_second
        row["tokens_per_second"] = a_second * row["tokens"] if generates else float("nan")
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))
