"""How long training takes to reach the target: seconds and samples until a validation first shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.analyse.comparisons import LOWER_IS_BETTER

COLUMNS = ("target_seconds", "target_samples", "target_seeds", "target_tried", "target_unknown")

NOTHING_HELD_OUT = "nothing is held out"
AT_THE_END_ALONE = "computed at the end alone"


def reached(workload: dict[str, Any], curves: pd.DataFrame, batch_size: float) -> dict[str, Any]:
    """The geometric means, over the seeds that one contender trained with, of the `target_seconds` spent in
    training alone and of `target_samples`, to the end of the first epoch whose validation is as good as the
    target. NaN unless every one of the `target_tried` seeds reached it, as `target_seeds` did: a mean over
    those alone would favour whoever fails on the slow ones.

    `target_unknown` says why nothing can be told of a contender that was trained towards a target: nothing is
    held out, or no validation has the metric, as one of generated texts. Else it is None.
    """
    metric, target = workload.get("metric"), workload.get("target")
    nothing: dict[str, Any] = {**dict.fromkeys(COLUMNS, float("nan")), "target_unknown": None}
    if target is None or not (curves["split"] == "test").any():
        return nothing
    validation = curves[curves["split"] == "validation"]
    if validation.empty:
        return {**nothing, "target_unknown": NOTHING_HELD_OUT}
    validation = validation[validation["metric"] == metric]
    if validation.empty:
        return {**nothing, "target_unknown": AT_THE_END_ALONE}
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
