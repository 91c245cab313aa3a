"""How many blocks a run needs for a wanted precision within a time budget, from a pilot of a few blocks.

The number is fixed before the first block that counts: looking at results to decide when to stop would find
differences that are not there. The pilot's own blocks are not counted, for the same reason: the number of
blocks follows from their spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PILOT_BLOCKS = 3
LEAST_BLOCKS = 2
"""An interval needs two."""
MOST_BLOCKS = 100
CONFIDENCE = 0.95

Decided = Literal["precision", "budget", "least", "most"]

StepSeconds = Mapping[str, Mapping[str, Mapping[int, float]]]
"""A process's seconds a step, by workload, contender and block."""


@dataclass(frozen=True)
class Goal:
    """`precision` is the relative half-width of the interval of a ratio: 0.03 is 3 %. `budget_seconds` is for
    the pilot and the blocks together. One of them may be None.
    """

    precision: float | None
    budget_seconds: float | None


@dataclass(frozen=True)
class Cost:
    """What blocks cost, as the pilot found: `spent_seconds` so far, `block_seconds` each, `cold_seconds` more
    for the first (empty compile caches), `learning_seconds` more for each of the first `learning_blocks`.
    """

    spent_seconds: float
    block_seconds: float
    cold_seconds: float
    learning_seconds: float
    learning_blocks: int

    def total(self, blocks: int) -> float:
        """Seconds for the pilot and so many blocks."""
        learning = self.learning_seconds * min(blocks, self.learning_blocks)
        return self.spent_seconds + self.cold_seconds + self.block_seconds * blocks + learning


@dataclass(frozen=True)
class Spread:
    """How the ratio of a contender to the workload's fastest differs from block to block: the standard
    deviation of its logarithm, over `pairs` blocks of the pilot.
    """

    workload: str
    contender: str
    fastest: str
    log_deviation: float
    pairs: int


@dataclass(frozen=True)
class Plan:
    """The number of blocks, and why it is that: `precision` where it suffices for what was asked, `budget`
    where more would take longer, `least` and `most` where a bound of this module decided.

    `half_width` is the relative half-width to be expected of the widest interval, None where the pilot has no
    pairs.
    """

    blocks: int
    decided_by: Decided
    half_width: float | None
    seconds: float
    spreads: tuple[Spread, ...]


def spreads(step_seconds: StepSeconds) -> tuple[Spread, ...]:
    """Each contender's spread, paired within blocks with the contender of the lowest mean log step time.

    From few blocks the usual standard deviation is more often too small than too large (three blocks: in 63
    of 100 cases); it is divided by the median of its distribution for normal noise, which makes either
    equally likely.
    """
    from scipy import stats

    found = []
    for workload, contenders in step_seconds.items():
        logs = {
            name: {block: math.log(seconds) for block, seconds in blocks.items()}
            for name, blocks in contenders.items()
            if blocks
        }
        if not logs:
            continue
        fastest = min(sorted(logs), key=lambda name: math.fsum(logs[name].values()) / len(logs[name]))
        for name in sorted(set(logs) - {fastest}):
            common = sorted(logs[name].keys() & logs[fastest].keys())
            if len(common) < 2:
                continue
            ratios = [logs[name][block] - logs[fastest][block] for block in common]
            mean, freedom = math.fsum(ratios) / len(ratios), len(ratios) - 1
            variance = math.fsum((ratio - mean) ** 2 for ratio in ratios) / float(stats.chi2.median(freedom))
            found.append(Spread(workload, name, fastest, math.sqrt(variance), len(common)))
    return tuple(found)


def half_width(log_deviation: float, blocks: int) -> float:
    """The relative half-width to be expected of a t interval over so many blocks."""
    from scipy import stats

    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, blocks - 1))
    return math.expm1(min(quantile * log_deviation / math.sqrt(blocks), 700.0))


def plan(found: tuple[Spread, ...], goal: Goal, cost: Cost, least: int = LEAST_BLOCKS) -> Plan:
    """The fewest blocks with which every contender's interval is as narrow as wanted, if they fit the budget;
    as many as fit where they do not, or where no precision is asked for. `least` are made in any case.
    """
    least = max(least, LEAST_BLOCKS)
    choices = range(least, max(MOST_BLOCKS, least) + 1)
    widest = max((spread.log_deviation for spread in found), default=None)
    wanted = choices[-1]
    if goal.precision is not None:
        # Without a pair of pilot blocks nothing tells how many would do.
        enough = (n for n in choices if widest is None or half_width(widest, n) <= goal.precision)
        wanted = next(enough, choices[-1])
    limit = math.inf if goal.budget_seconds is None else goal.budget_seconds
    blocks = max((n for n in choices if n <= wanted and cost.total(n) <= limit), default=least)
    expected = None if widest is None else half_width(widest, blocks)
    decided: Decided = "most"
    if blocks < wanted:
        decided = "budget" if cost.total(blocks) <= limit else "least"
    elif goal.precision is not None:
        decided = "least" if expected is None else "precision" if expected <= goal.precision else "most"
    return Plan(blocks, decided, expected, cost.total(blocks), found)
