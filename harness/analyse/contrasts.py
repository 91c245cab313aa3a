"""Differences between contenders: how large, how sure, how small a one could have been found.

One process gives one observation. Two contenders are compared by the differences of their observations in
the same block (of logarithms, where ratios are meant): the mean with its t interval, the t test, and beside
it the signed-rank test, which assumes less and reaches less. Samples without blocks in common, those of two
runs, are compared by Welch's t test (`compare_samples`). A verdict is about a pair, in a family of pairs:

- a difference is claimed where its t test rejects at 5 %, by Holm's adjustment over the family;
- equivalence is claimed where no difference is, and TOST rejects differences of the margin and beyond, by
  Holm's adjustment likewise; of a metric it comes before a difference, however sure: one in the fifth digit,
  the same at every seed, does not matter;
- all else is inconclusive.

The family of a ranking is *all* pairs of its contenders, since the one that all are held against, the
fastest, was picked by the same data. With a family of only those comparisons, five equal contenders in five
blocks are told apart in 8 % of runs and fifteen in 13 %, not in 5 % (`tests/test_verdicts.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

LEVEL = 0.05
"""The rate of false claims of a family; intervals cover the truth at 1 - LEVEL."""
POWER = 0.8
EXACT_RANKS = 50
"""Up to how many pairs the signed-rank test's distribution is counted out."""

BELOW, ABOVE, EQUIVALENT, INCONCLUSIVE = "below", "above", "equivalent", "inconclusive"

COLUMNS = (
    "pairs",
    "difference",
    "low",
    "high",
    "deviation",
    "error",
    "freedom",
    "p",
    "p_equivalent",
    "rank_p",
    "rank_p_least",
)

Numbers = npt.NDArray[np.float64]


def compare(differences: Numbers, margin: float) -> pd.DataFrame:
    """One row for each column of `differences` (pairs of observations, comparisons), NaN where a pair lacks
    one: `COLUMNS`, without any adjustment.

    `difference` is the mean with its interval from `low` to `high`, its standard `error` with its degrees
    of `freedom`, `deviation` the standard deviation of a pair's difference; `p` of the two-sided t test,
    `p_equivalent` of TOST for a difference within -margin and margin, `rank_p` of the signed-rank test and
    `rank_p_least` the least it could give. What fewer than two pairs cannot tell is NaN.
    """
    present = np.isfinite(differences)
    columns = {name: np.full(differences.shape[1], np.nan) for name in COLUMNS}
    columns["pairs"] = present.sum(axis=0).astype(float)
    patterns = np.unique(present, axis=1).T if present.any() else ()
    for pattern in patterns:
        same = np.flatnonzero((present == pattern[:, None]).all(axis=0))
        if pattern.any():
            for name, values in _complete(differences[np.ix_(pattern, same)], margin).items():
                columns[name][same] = values
    return pd.DataFrame(columns)


def _complete(differences: Numbers, margin: float) -> dict[str, Numbers]:
    """The columns of `compare` for pairs that are all there."""
    from scipy import stats
    from statsmodels.stats.weightstats import DescrStatsW

    pairs = len(differences)
    if pairs < 2:
        return {"difference": differences[0]}
    described = DescrStatsW(differences)
    # Differences that do not vary at all (memory, accuracy) have an interval of no width and p of 0 or 1.
    with np.errstate(divide="ignore", invalid="ignore"):
        half = stats.t.isf(LEVEL / 2, pairs - 1) * described.std_mean
        p = described.ttest_mean(0.0)[1]
        p_equivalent = described.ttost_mean(-margin, margin)[0]
        # Exact but for ties, which "auto" would permute: seconds where contenders score alike.
        method = "exact" if pairs <= EXACT_RANKS else "asymptotic"
        ranks = stats.wilcoxon(differences, axis=0, method=method).pvalue
    alike = np.all(differences == 0, axis=0)
    return {
        "difference": described.mean,
        "low": described.mean - half,
        "high": described.mean + half,
        "deviation": differences.std(axis=0, ddof=1),
        "error": described.std_mean,
        "freedom": np.full(differences.shape[1], pairs - 1.0),
        "p": np.where(alike, 1.0, p),
        "p_equivalent": p_equivalent,
        "rank_p": np.where(alike, 1.0, ranks),
        "rank_p_least": np.full(differences.shape[1], 2.0 ** (1 - pairs)),
    }


def compare_samples(first: Numbers, second: Numbers, margin: float) -> dict[str, float]:
    """The second sample's mean less the first's, by Welch's t test: what `compare` says of a difference, but
    for what there is of pairs alone. The samples are finite, independent and may have unequal variances. What
    a sample of fewer than two cannot tell is NaN.
    """
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    names = ("difference", "low", "high", "error", "freedom", "p", "p_equivalent")
    found = dict.fromkeys(names, float("nan"))
    if not (len(first) and len(second)):
        return found
    # From the first value on, so that samples of one value have no spread and no difference by rounding.
    two = CompareMeans(DescrStatsW(second - first[0]), DescrStatsW(first - first[0]))
    difference = float(two.d1.mean - two.d2.mean)
    found["difference"] = difference
    if min(len(first), len(second)) < 2:
        return found
    error = float(two.std_meandiff_separatevar)
    if error == 0:
        certain = {"p": float(difference == 0), "p_equivalent": float(abs(difference) >= margin)}
        freedom = float(len(first) + len(second) - 2)
        return found | {"low": difference, "high": difference, "error": error, "freedom": freedom} | certain
    low, high = two.tconfint_diff(alpha=LEVEL, usevar="unequal")
    return {
        "difference": difference,
        "low": float(low),
        "high": float(high),
        "error": error,
        "freedom": float(two.dof_satt()),
        "p": float(two.ttest_ind(usevar="unequal")[1]),
        "p_equivalent": float(two.ttost_ind(-margin, margin, usevar="unequal")[0]),
    }


def judge(table: pd.DataFrame, of_metric: bool | pd.Series[bool] = False) -> pd.DataFrame:
    """The table of `compare`, or rows of `compare_samples`, which are one family, with `p_holm`,
    `p_equivalent_holm`, `verdict`, and `detectable`: the difference that runs with such a standard error find
    in 80 % of cases, whatever the family's other members do (tested at the family's strictest level).

    In rows that are `of_metric` equivalence comes before a difference.
    """
    judged = table.assign(p_holm=holm(table["p"]), p_equivalent_holm=holm(table["p_equivalent"]))
    differs = judged["p_holm"] <= LEVEL
    alike = judged["p_equivalent_holm"] <= LEVEL
    signs = judged["difference"] > 0
    judged["verdict"] = np.select(
        [alike & of_metric, differs & signs, differs & ~signs, alike],
        [EQUIVALENT, ABOVE, BELOW, EQUIVALENT],
        INCONCLUSIVE,
    )
    level = LEVEL / max(int(table["p"].notna().sum()), 1)
    sizes = [detectable_size(float(freedom), level) for freedom in judged["freedom"]]
    return judged.assign(detectable=judged["error"] * sizes)


def holm(p: npt.ArrayLike) -> Numbers:
    """Holm's adjusted p of families along the last axis; what is NaN could not be tested, is in no family and
    stays NaN. (As statsmodels' `multipletests`, which collects garbage at every call: 0.1 s.)
    """
    unadjusted = np.asarray(p, dtype=float)
    order = np.argsort(unadjusted, axis=-1)
    tested = np.isfinite(unadjusted).sum(axis=-1, keepdims=True)
    left = tested - np.arange(unadjusted.shape[-1])
    rising = np.maximum.accumulate(np.take_along_axis(unadjusted, order, axis=-1) * left, axis=-1)
    adjusted = np.empty_like(unadjusted)
    np.put_along_axis(adjusted, order, np.minimum(rising, 1.0), axis=-1)
    return adjusted


@lru_cache(maxsize=4096)
def detectable_size(freedom: float, level: float) -> float:
    """The difference, in standard errors, that a two-sided t test finds with `POWER`: the noncentral
    t's upper tail (the lower one adds less than 1e-6 here, and SciPy has no numbers for it far out).
    """
    from scipy import stats
    from scipy.optimize import brentq

    if not freedom > 0:
        return float("nan")
    critical = float(stats.t.isf(level / 2, freedom))

    def lacking(size: float) -> float:
        return float(stats.nct.sf(critical, freedom, size)) - POWER

    beyond = 1.0
    while lacking(beyond) < 0:
        beyond *= 2
    return float(brentq(lacking, 0.0, beyond))


def among(observations: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Every pair of the columns of `observations` (rows: what is paired, such as blocks) as one family.

    `first` and `second` in the order of the columns; a `difference` is the second's observation less the
    first's.
    """
    return _of_pairs(observations, list(combinations(observations.columns, 2)), margin)


def against(
    observations: pd.DataFrame, reference: str, margin: float, *, of_metric: bool = False
) -> pd.DataFrame:
    """Each other column of `observations` against the `reference`, as one family; as `among`. The reference
    must not have been picked by these observations. `of_metric` is that of `judge`.
    """
    pairs = [(reference, name) for name in observations.columns if name != reference]
    return _of_pairs(observations, pairs, margin, of_metric)


def _of_pairs(
    observations: pd.DataFrame, pairs: list[tuple[str, str]], margin: float, of_metric: bool = False
) -> pd.DataFrame:
    firsts, seconds = ([pair[side] for pair in pairs] for side in (0, 1))
    differences = observations[seconds].to_numpy(dtype=float) - observations[firsts].to_numpy(dtype=float)
    named = pd.DataFrame(pairs, columns=["first", "second"], dtype=object)
    return pd.concat([named, judge(compare(differences, margin), of_metric)], axis=1)


def tiers(differing: Iterable[tuple[str, str]], order: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The tiers that each contender is in, numbered from 1 by the `order` of their members, from the pairs
    found to differ.

    Two contenders share a tier exactly where they were not found to differ: the compact letter display of
    Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons" (2004), with
    numbers for letters. A contender that cannot be told from members of two tiers that differ is in both.
    """
    groups = [frozenset(order)]
    for first, second in differing:
        split = [
            part
            for group in groups
            for part in ((group - {first}, group - {second}) if {first, second} <= group else (group,))
        ]
        groups = [group for group in dict.fromkeys(split) if not any(group < other for other in split)]
    place = {name: number for number, name in enumerate(order)}
    groups.sort(key=lambda group: sorted(place[name] for name in group))
    return {name: tuple(number for number, group in enumerate(groups, 1) if name in group) for name in order}


def interval(values: Numbers) -> tuple[float, float, float]:
    """The mean of the finite values with its t interval, whose ends are NaN for fewer than two."""
    from scipy import stats

    # In one order, whatever order they came in: sums differ in the last digit, and equals would be ranked.
    seen = np.sort(values[np.isfinite(values)])
    if not len(seen):
        return float("nan"), float("nan"), float("nan")
    mean = float(seen.mean())
    if len(seen) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.isf(LEVEL / 2, len(seen) - 1) * seen.std(ddof=1) / np.sqrt(len(seen)))
    return mean, mean - half, mean + half


def geometric(name: str, values: pd.Series[float]) -> dict[str, float]:
    """The mean of the values above 0 with its interval as `name`, `name_low` and `name_high`, of logarithms:
    a ratio's error is the same both ways.
    """
    logarithms = np.log(values[values > 0].to_numpy(dtype=float))
    bounds = np.exp(interval(logarithms))
    return {f"{name}{end}": float(bound) for end, bound in zip(("", "_low", "_high"), bounds, strict=True)}
