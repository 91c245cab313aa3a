"""What a calibration found: does the instrument err as seldom as it says, and is what it measures there?

The blocks of a calibration are cut into runs of a few blocks each, one after the other, as if each had been a
run of its own with a pair of contenders. Runs of one pair share no block, and runs of different pairs no
process, so that counts of them are binomial; their intervals are Clopper and Pearson's. Drawing blocks at
random again and again tells a rate more smoothly, and nothing of how sure it is: those draws share blocks.

A check has the p-value of what was seen for a sound instrument. It fails where that is below 5 % by Holm's
adjustment over all of a calibration's checks, so that of sound instruments 5 % fail any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from harness.analyse.contrasts import LEVEL, POWER, Numbers, compare, detectable_size, holm, interval
from harness.analyse.memory import MIB
from harness.plan.calibration import Design, Pair

RUN_BLOCKS = (3, 5, 10)
"""Blocks of a run: the first is what suites ask for unless they say otherwise."""
DRAWS = 2000
FINDABLE = 0.5
"""A check of a rate tells nothing where no wrong rate up to this one would be found out."""
BIAS = 0.05
"""Nor does one of a difference where no error up to this one would: what suites hold to be equivalent."""
MEMORY_MARGIN = 0.02

Kind = Literal["equals", "coverage", "estimate", "detection", "memory"]
Outcome = Literal["passed", "failed", "not told", "for information"]


@dataclass(frozen=True)
class Check:
    """One question to the instrument, and what was seen.

    `equals`: the rate of differences found between equals in runs of `blocks` blocks; `coverage`: the rate of
    intervals that miss the true slowdown; `detection`: the rate of runs that find the slowdown `truth`. Their
    `value`, `low` and `high` are of `found` in `tried` runs; `smooth` is the rate over random draws of blocks
    (equals), or the rate to be expected at this spread (detection). `estimate`: the ratio of step times, less
    one, for `truth`, over all blocks (`tried`). `memory`: the measured load over the planted one, less one,
    over passes. `error`: the standard error of an estimate's logarithm. `limit` is what the value is held to;
    `findable`, of a rate, the least wrong one that 80 % of such calibrations find out, of an estimate the
    least error. `p` is NaN where nothing is tested; `why` says why something was not told.
    """

    kind: Kind
    outcome: Outcome
    truth: float
    blocks: int
    tried: int
    found: int
    value: float
    low: float
    high: float
    limit: float
    p: float = float("nan")
    smooth: float = float("nan")
    findable: float = float("nan")
    error: float = float("nan")
    why: str | None = None


@dataclass(frozen=True)
class Calibration:
    """The checks, and how many processes were measured and how many of them had no steady state."""

    checks: tuple[Check, ...]
    processes: int
    unsteady: int

    @property
    def exit_code(self) -> int:
        """1 where a check failed, 3 where one could not be told, else 0."""
        outcomes = {check.outcome for check in self.checks}
        return 1 if "failed" in outcomes else 3 if "not told" in outcomes else 0


def calibration(meta: dict[str, Any], measured: pd.DataFrame, passes: pd.DataFrame) -> Calibration | None:
    """What a run found that is a calibration, from its processes and memory passes."""
    asked = meta.get("calibration")
    if not asked:
        return None
    made = Design.of_data(asked)
    logs = measured.pivot_table(index="block", columns="contender", values="step_seconds")
    logs = logs.reindex(columns=[*made.entered]).astype(float).transform(np.log)
    checks = [
        *_equals(logs, made),
        *_coverage(logs, made),
        *(_estimate(_differences(logs, pair), pair) for pair in made.pairs),
        *(check for pair in made.pairs if pair.truth for check in _detection(_differences(logs, pair), pair)),
        _memory(passes, made),
    ]
    unsteady = int(measured["unsteady"].notna().sum())
    return Calibration(tuple(_judged(checks)), len(measured), unsteady)


def _differences(logs: pd.DataFrame, pair: Pair) -> Numbers:
    """Block by block, of those in which both had a steady state: (blocks,)."""
    found: Numbers = (logs[pair.second] - logs[pair.first]).dropna().to_numpy(dtype=float)
    return found


def runs(differences: Numbers, blocks: int) -> Numbers:
    """Runs of so many blocks one after the other: (blocks, runs). What is left over is in none."""
    count = len(differences) // blocks
    return differences[: count * blocks].reshape(count, blocks).T


def _lengths(pairs: Sequence[Numbers]) -> list[int]:
    """The first length of runs in any case, and the others of which there is one."""
    longest = max(map(len, pairs))
    return [blocks for blocks in RUN_BLOCKS if blocks == RUN_BLOCKS[0] or blocks <= longest]


def _equals(logs: pd.DataFrame, made: Design) -> Iterable[Check]:
    pairs = [_differences(logs, pair) for pair in made.pairs if not pair.truth]
    every = [_differences(logs, Pair(first, second, 0.0)) for first, second in combinations(made.copies, 2)]
    for blocks in _lengths(pairs):
        tried = np.concatenate([runs(pair, blocks) for pair in pairs], axis=1)
        differing = int((_p(tried) <= LEVEL).sum())
        drawn = _draws(every, blocks)
        smooth = float((_p(drawn) <= LEVEL).mean()) if drawn.size else float("nan")
        yield replace(_rate("equals", blocks, tried.shape[1], differing), smooth=smooth)


def _coverage(logs: pd.DataFrame, made: Design) -> Iterable[Check]:
    pairs = [(pair, _differences(logs, pair)) for pair in made.pairs if pair.truth]
    for blocks in _lengths([found for _, found in pairs]):
        # Around the truth an interval that misses it is a t test that finds a difference.
        tried = np.concatenate([runs(found - np.log1p(pair.truth), blocks) for pair, found in pairs], axis=1)
        yield _rate("coverage", blocks, tried.shape[1], int((_p(tried) <= LEVEL).sum()))


def _rate(kind: Kind, blocks: int, tried: int, found: int) -> Check:
    from scipy import stats

    value = found / tried if tried else float("nan")
    low, high = _clopper_pearson(found, tried)
    p = float(stats.binom.sf(found - 1, tried, LEVEL)) if tried else float("nan")
    return Check(kind, "not told", float("nan"), blocks, tried, found, value, low, high, LEVEL, p)


def _estimate(differences: Numbers, pair: Pair) -> Check:
    table = compare((differences - np.log1p(pair.truth))[:, None], float(np.log1p(LEVEL)))
    (row,) = table.to_dict("records")
    value, low, high = (
        float(np.expm1(row[name] + np.log1p(pair.truth))) for name in ("difference", "low", "high")
    )
    count = len(differences)
    return Check(
        *("estimate", "not told", pair.truth, count, count, 0, value, low, high, pair.truth),
        p=float(row["p"]),
        error=float(row["error"]),
    )


def _detection(differences: Numbers, pair: Pair) -> Iterable[Check]:
    """In runs, for information; and once over all blocks."""
    if len(differences) < 2:
        return
    shorter = [blocks for blocks in RUN_BLOCKS if blocks < len(differences)]
    for blocks in (*shorter, len(differences)):
        tried = runs(differences, blocks)
        count = tried.shape[1]
        detected = int(((_p(tried) <= LEVEL) & (tried.mean(axis=0) > 0)).sum())
        low, high = _clopper_pearson(detected, count)
        expected = _power(float(differences.std(ddof=1)), blocks, float(np.log1p(pair.truth)))
        whole = blocks == len(differences)
        outcome: Outcome = "for information" if not whole else "passed" if detected else "not told"
        why = None if outcome != "not told" else "the spread from block to block hides it"
        yield Check(
            *("detection", outcome, pair.truth, blocks, count, detected, detected / count, low, high, POWER),
            smooth=expected,
            why=why,
        )


def _memory(passes: pd.DataFrame, made: Design) -> Check:
    mine = passes.pivot_table(index="pass", columns="contender", values="peak_mib")
    mine = mine.reindex(columns=[made.copies[0], made.loaded]).astype(float).dropna()
    measured = (mine[made.loaded] - mine[made.copies[0]]).to_numpy(dtype=float) * MIB / made.memory_bytes - 1
    value, low, high = interval(measured)
    outcome: Outcome = "not told"
    why: str | None = "the interval reaches beyond the limit"
    if len(measured) < 2:
        why = f"{len(measured) or 'no'} pair of memory passes, and a spread needs 2"
    elif low >= -MEMORY_MARGIN and high <= MEMORY_MARGIN:
        outcome, why = "passed", None
    elif low > MEMORY_MARGIN or high < -MEMORY_MARGIN:
        outcome, why = "failed", None
    size, count = float(made.memory_bytes), len(measured)
    return Check("memory", outcome, size, count, count, 0, value, low, high, MEMORY_MARGIN, why=why)


def _judged(checks: Sequence[Check]) -> Iterable[Check]:
    """With the outcomes that a p-value decides. Of rates in runs of several lengths the first length is asked
    for in any case; longer ones, where there are too few for anything to show, are for information.
    """
    tested = int(np.isfinite([check.p for check in checks]).sum())
    adjusted = holm([check.p for check in checks])
    for check, p in zip(checks, adjusted, strict=True):
        if check.kind in ("detection", "memory"):
            yield check
            continue
        level = LEVEL / max(tested, 1)
        if check.kind == "estimate":
            findable = float(np.expm1(check.error * detectable_size(check.blocks - 1.0, level)))
            enough, told = findable <= BIAS, f"only an error above {BIAS:.0%} would show"
        else:
            findable = _findable(check.tried, level)
            enough, told = findable <= FINDABLE, f"only a rate above {FINDABLE:.0%} would show"
        outcome: Outcome = "failed" if p <= LEVEL else "passed" if enough else "not told"
        if outcome == "not told" and check.kind != "estimate" and check.blocks != RUN_BLOCKS[0]:
            outcome = "for information"
        why = None if outcome in ("passed", "failed") else told
        yield replace(check, outcome=outcome, findable=findable, why=why)


def _p(differences: Numbers) -> Numbers:
    """Of the t test of each column, by the comparison that verdicts come from."""
    return compare(differences, float(np.log1p(LEVEL)))["p"].to_numpy(dtype=float)


def _draws(pairs: Sequence[Numbers], blocks: int) -> Numbers:
    """Runs of random blocks of random pairs: (blocks, DRAWS); none where a pair has too few blocks."""
    random = np.random.Generator(np.random.PCG64(blocks))
    if any(len(pair) < blocks for pair in pairs):
        return np.empty((0, 0))
    return np.stack(
        [
            random.choice(pairs[int(random.integers(len(pairs)))], blocks, replace=False, shuffle=False)
            for _ in range(DRAWS)
        ],
        axis=1,
    )


def _clopper_pearson(found: int, tried: int) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    if not tried:
        return float("nan"), float("nan")
    low, high = proportion_confint(found, tried, alpha=LEVEL, method="beta")
    return float(low), float(high)


def _findable(tried: int, level: float) -> float:
    """The least rate above LEVEL that 80 % of calibrations find out, tested at `level`; NaN if none."""
    from scipy import stats

    if not tried:
        return float("nan")
    least = int(stats.binom.isf(level, tried, LEVEL)) + 1
    rates = np.linspace(LEVEL, 1.0, 951)
    enough = rates[stats.binom.sf(least - 1, tried, rates) >= POWER]
    return float(enough[0]) if len(enough) else float("nan")


def _power(deviation: float, blocks: int, size: float) -> float:
    """How often a t test over so many blocks finds a difference of this size."""
    from scipy import stats

    if blocks < 2 or not deviation > 0:
        return float("nan")
    critical = float(stats.t.isf(LEVEL / 2, blocks - 1))
    return float(stats.nct.sf(critical, blocks - 1, size * np.sqrt(blocks) / deviation))
