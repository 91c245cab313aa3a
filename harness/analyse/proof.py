"""What a proof found: the worst tensor of a contender, and of each part of its proof."""

from __future__ import annotations

from typing import Any

import pandas as pd

PRECISIONS = ("float64", "float32")
WORST = ("ratio", "error", "tolerance", "tensor")
_UNKNOWN = {"ratio": float("nan"), "error": float("nan"), "tolerance": float("nan"), "tensor": None}


def worst(proofs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For each precision the tensor whose error is largest in terms of its tolerance."""
    found = {}
    for precision in PRECISIONS:
        entries = _by_ratio(proofs[proofs["precision"] == precision])
        found[precision] = (
            dict(_UNKNOWN) if entries.empty else {field: entries.iloc[0][field] for field in WORST}
        )
    return found


def groups(proofs: pd.DataFrame) -> pd.DataFrame:
    """One row a workload, contender, precision and group, with the columns of `proofs` for its worst tensor.

    A group is a part of the proof (output, loss, gradient, parameters); `tensors` counts what it compares and
    `failed` how many of them exceed their tolerance.
    """
    keys = ["workload", "contender", "precision", "group"]
    counted = proofs.groupby(keys, sort=True)["passed"].agg(tensors="size", passing="sum").reset_index()
    counted["failed"] = counted["tensors"] - counted["passing"]
    leading = _by_ratio(proofs).drop_duplicates(keys)
    return leading.merge(counted.drop(columns="passing"), on=keys).sort_values(keys).reset_index(drop=True)


def _by_ratio(proofs: pd.DataFrame) -> pd.DataFrame:
    return proofs.sort_values(["ratio", "error", "tensor"], ascending=[False, False, True])
