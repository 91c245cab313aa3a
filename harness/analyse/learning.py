"""How far the contenders' learning curves part: they start equal, and only rounding may part them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Learning:
    """The curves of one workload at one seed, one column a contender.

    `train`: loss by step. `deviation`: the distance of each from the contenders' median at that step, NaN
    where fewer than two contenders have a value or the distance is zero. `validation`: the metric by epoch.
    """

    workload: str
    seed: int | None
    metric: str
    train: pd.DataFrame
    deviation: pd.DataFrame
    validation: pd.DataFrame


def learning(curves: pd.DataFrame, workload: str, metric: str) -> Learning:
    """The curves at the seed that most contenders share (of such the smallest), of its first block."""
    mine = curves[curves["workload"] == workload]
    seeds = mine.groupby("seed")["contender"].nunique()
    seed = None if seeds.empty else int(seeds.index[seeds == seeds.max()].min())
    if seed is not None:
        mine = mine[mine["seed"] == seed]
    train = _wide(mine[(mine["split"] == "train") & (mine["metric"] == "loss")], "step")
    validation = _wide(mine[(mine["split"] == "validation") & (mine["metric"] == metric)], "epoch")
    distance = train.sub(train.median(axis=1), axis=0).abs()
    enough = train.notna().sum(axis=1) >= 2
    deviation = distance.where(distance > 0).where(enough)
    return Learning(workload, seed, metric, train, deviation, validation)


def _wide(points: pd.DataFrame, along: str) -> pd.DataFrame:
    """Values by `along` (rows) and contender (columns, sorted)."""
    first = points.sort_values("block").drop_duplicates(["contender", along])
    return first.pivot(index=along, columns="contender", values="value").sort_index(axis=1)
