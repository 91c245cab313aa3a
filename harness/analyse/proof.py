"""What a proof found: the worst tensor of a contender and of each part of its proof; generated tokens."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.program import Program
from harness.spec.proof import generated_count

PRECISIONS = ("float64", "float32")
TOKENS = "generated/tokens"
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


def same_tokens(proofs: pd.DataFrame) -> dict[str, bool]:
    """Of each contender whose proof generated tokens (from the initial weights, each by the largest logit,
    with a cache), whether all were the reference's in both precisions. `proofs` are those of one workload.
    """
    generated = proofs[proofs["tensor"] == TOKENS]
    return {
        str(contender): set(PRECISIONS) <= set(rows.loc[rows["error"] == 0, "precision"])
        for contender, rows in generated.groupby("contender", sort=True)
    }


def token_count(workload: dict[str, Any]) -> int | None:
    """How many tokens an example the proof of a workload of `run.json` generates; None where it generates
    none, or its spec is of another version and cannot be read.
    """
    try:
        program = codec.decode(Program, (workload.get("spec") or {}).get("program"))
    except SpecError:
        return None
    return None if program.generates is None else generated_count(program)


def _by_ratio(proofs: pd.DataFrame) -> pd.DataFrame:
    return proofs.sort_values(["ratio", "error", "tensor"], ascending=[False, False, True])
