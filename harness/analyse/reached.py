"""How long training takes to reach the target: seconds and samples until a validation first shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.analyse.comparisons import LOWER_IS_BETTER

COLUMNS = ("target_seconds", "target_samples", "target_seeds", "target_tried")


def reached(workload: dict[str, Any], curves: pd.DataFrame, batch_size: float) -> dict[str, float]:
    """The geometric means, over the seeds that one contender trained with, of the `target_seconds` spent in
    training alone and of `target_samples`, to the end of the first epoch whose validation is as good as the
    target. NaN unless every one of the `target_tried` seeds reached it, as `target_seeds` did: a mean over
    those alone would favour whoever fails on the slow ones.
    """
    metric, target = workload.get("metric"), workload.get("target")
    nothing: dict[str, float] = dict.fromkeys(COLUMNS, float("nan"))
    validation = curves[(curves["split"] == "validation") & (curves["metric"] == metric)]
    if target is None or validation.empty:
        return nothing
    values = validation["value"]
    good = validation[values <= target if metric in LOWER_IS_BETTER else values >= target]
    first = good.sort_values("epoch").groupby("seed", dropna=False).first()
    tried = validation["seed"].nunique(dropna=False)
    found = {**nothing, "target_seeds": float(len(first)), "target_tried": float(tried)}
    if len(first) < tried:
        return found
    samples = first["step"].to_numpy(dtype=float) * batch_size
    # Records of before a validation had its time do not tell the seconds.
    seconds = first["seconds"].to_numpy(dtype=float)
    return found | {
        "target_seconds": float(np.exp(np.log(seconds).mean())),
        "target_samples": float(np.exp(np.log(samples).mean())),
    }
