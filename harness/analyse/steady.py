"""Where a process's training became steady, found from the times of its blocks of steps.

The logarithm of the seconds a step, block by block, is cut where its level changes: PELT (Killick, Fearnhead
and Eckley 2012, by `ruptures`) with absolute deviations as the cost, once single spikes are set aside. The
last segment is the steady state and its median, spikes and all, the process's observation. After Barrett et
al., "Virtual Machine Warmup Blows Hot and Cold" (2017): a last segment too short to be believed is no steady
state, and a process without one gives no observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

LEAST_BLOCKS = 3
"""The shortest segment: two spikes in a row are no state."""
LEAST_SHARE = 0.25
"""Of all blocks, what the last segment must have at least."""
FULL_LENGTH = 0.9
"""A warm-up block enters when it has this share of a timed block's steps. The wait at a block's end is spread
over its steps: in the run mnist-reference blocks of full length that only fill the warm-up's time read 0.4 %
above their process's timed blocks (the median), of a half to 90 % of the steps 1 %, of an eighth 12 %.
"""
PENALTY = 3.0
"""What a change of level costs, in units of noise times log(blocks). On noise without a change, 25 blocks, a
change is found in 0 % of processes where blocks are independent and in 2 % where neighbours correlate by 0.4.
"""
NOISE_FLOOR = 0.005
"""The least noise assumed, so that a very quiet process is not cut at changes of a few thousandths."""
SPIKE = 5.0
"""From how many times the noise on a block that stands apart from the two on either side is a spike."""
DRIFT = 0.05
"""The change along the last levels from which on a straight slope is a drift and not a steady state."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Steady:
    """A process's steady state: its median `step_seconds` over its last `blocks` of `entered`, after
    `changes` of level. Where there is none, `step_seconds` is NaN and `reason` says why.
    """

    step_seconds: float
    blocks: int
    entered: int
    changes: int
    reason: str | None


def of_samples(samples: pd.DataFrame) -> pd.DataFrame:
    """The steady state of each process (`job`), with the fields of `Steady` as columns, from the training
    blocks in the table of `harness.analyse.tables.samples`.
    """
    train = samples[samples["kind"] == "train"].sort_values(["job", "index"])
    found = {
        job: steady(
            blocks["steps"].to_numpy(dtype=float),
            blocks["seconds"].to_numpy(dtype=float),
            blocks["warmup"].to_numpy(dtype=bool),
        )
        for job, blocks in train.groupby("job")
    }
    columns = list(Steady.__dataclass_fields__)
    return pd.DataFrame([vars(state) for state in found.values()], index=pd.Index(found), columns=columns)


def observation(train_blocks: Sequence[Mapping[str, Any]]) -> float:
    """The one observation that a process gives: the seconds a step of its steady state, NaN where it has
    none. `train_blocks` are those of a record.
    """
    steps, seconds, warmup = (
        np.array([block[name] for block in train_blocks]) for name in ("steps", "seconds", "warmup")
    )
    return steady(steps.astype(float), seconds.astype(float), warmup.astype(bool)).step_seconds


def steady(steps: Numbers, seconds: Numbers, warmup: npt.NDArray[np.bool_]) -> Steady:
    """The steady state of one process, from its blocks in their order."""
    timed = steps[~warmup]
    if not len(timed):
        return Steady(float("nan"), 0, 0, 0, "no timed block of training steps on record")
    enters = ~warmup | (steps >= FULL_LENGTH * np.median(timed))
    logs = np.log(seconds[enters] / steps[enters])
    entered = len(logs)
    if entered < LEAST_BLOCKS:
        counted = f"{entered} block{'s' if entered > 1 else ''}"
        return Steady(float("nan"), 0, entered, 0, f"{counted}, and a steady state needs {LEAST_BLOCKS}")
    smooth = without_spikes(logs)
    starts = levels(smooth)
    last = logs[starts[-1] :]
    changes = len(starts) - 1
    reason = _too_short(len(last), entered) or _drifting(smooth, starts)
    step_seconds = float("nan") if reason else float(np.exp(np.median(last)))
    return Steady(step_seconds, len(last), entered, changes, reason)


def levels(logs: Numbers) -> list[int]:
    """Where each level of the series begins; the first is 0.

    With a least length of a level PELT's pruning is not exact: in one short series of some thousands the
    levels cost a fraction of a change more than the cheapest.
    """
    import ruptures

    if len(logs) < 2 * LEAST_BLOCKS:
        return [0]
    search = ruptures.Pelt(model="l1", min_size=LEAST_BLOCKS, jump=1)
    return [0, *search.fit(logs).predict(pen=_penalty(logs))[:-1]]


def noise(logs: Numbers) -> float:
    """The noise's standard deviation from the differences of neighbours and next neighbours, whose median
    neither a spike nor a few changes of level move; at least `NOISE_FLOOR`.
    """
    differences = np.abs(np.concatenate([logs[lag:] - logs[:-lag] for lag in (1, 2)]))
    # 0.6745: the median of |z|; a difference has twice the variance of its terms.
    return max(float(np.median(differences) / (0.6745 * np.sqrt(2.0))), NOISE_FLOOR)


def without_spikes(logs: Numbers) -> Numbers:
    """The series with each spike replaced by the median of the five blocks around it (a Hampel filter)."""
    around = np.array([np.median(logs[max(place - 2, 0) : place + 3]) for place in range(len(logs))])
    return np.where(np.abs(logs - around) > SPIKE * noise(logs), around, logs)


def _penalty(logs: Numbers) -> float:
    return PENALTY * noise(logs) * float(np.log(len(logs)))


def _too_short(blocks: int, entered: int) -> str | None:
    if blocks >= LEAST_SHARE * entered:
        return None
    return f"the step time still changed {blocks} blocks before the end, of {entered}"


def _drifting(logs: Numbers, starts: list[int]) -> str | None:
    """Whether a straight slope tells some of the last levels (or the only one) better than levels do, at what
    either has in parameters, and changes by more than `DRIFT` along them.
    """
    from scipy import stats

    ends = [*starts[1:], len(logs)]
    deviation, penalty = 0.0, _penalty(logs)
    for count, (begin, end) in enumerate(zip(reversed(starts), reversed(ends), strict=True)):
        deviation += _deviation(logs[begin:end])
        span = logs[begin:]
        time = np.arange(len(span), dtype=float)
        slope = float(stats.theilslopes(span, time).slope)
        change = slope * (len(span) - 1)
        if abs(change) > DRIFT and _deviation(span - slope * time) + penalty < deviation + count * penalty:
            moved = 100 * np.expm1(change)
            return f"the step time still drifts: {moved:+.0f} % over the last {len(span)} blocks"
    return None


def _deviation(values: Numbers) -> float:
    """The sum of absolute deviations from the median: the cost that levels are found by."""
    return float(np.abs(values - np.median(values)).sum())
