"""Verdicts err as seldom as they say, on synthetic processes: thousands of runs whose truth is known.

A process's observation is the sum of its contender's log time, an effect of its block that all contenders
share, and an effect of its own. Rates are held against the binomial interval of their repetitions.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from harness.analyse.contrasts import (
    ABOVE,
    BELOW,
    EQUIVALENT,
    INCONCLUSIVE,
    LEVEL,
    POWER,
    Numbers,
    against,
    among,
    compare,
    detectable_size,
    holm,
    judge,
    tiers,
)
from harness.analyse.run import Run, load
from harness.analyse.steady import steady
from tests import synthetic
from tests.synthetic import good, measure, memory, verify

RUNS = 4000
CLOCKS = 2000
MARGIN = float(np.log1p(0.05))
NOISE = 0.03
"""Of a process, in log time; that of a difference is sqrt(2) times it."""


def at_most(rate: float, repetitions: int) -> float:
    """What a rate that is `rate` in truth exceeds once in a thousand times."""
    return float(stats.binom.ppf(0.999, repetitions, rate)) / repetitions


def at_least(rate: float, repetitions: int) -> float:
    return float(stats.binom.ppf(0.001, repetitions, rate)) / repetitions


def observations(
    random: np.random.Generator, blocks: int, truth: Numbers, runs: int = RUNS, shape: str = "normal"
) -> Numbers:
    """Log times, (runs, blocks, contenders)."""
    size = (runs, blocks, len(truth))
    own: Numbers = random.standard_normal(size)
    if shape == "heavy tails":
        own = random.standard_t(3, size) / np.sqrt(3)
    elif shape == "skewed":
        own = random.exponential(1.0, size) - 1.0
    elif shape == "unequal":
        own *= np.linspace(0.3, 2.0, len(truth))
    shared: Numbers = random.normal(0, 0.3, (runs, blocks, 1))
    return truth + shared + NOISE * own


def differences(logs: Numbers) -> Numbers:
    """Of the first two contenders: (blocks, runs)."""
    found: Numbers = (logs[:, :, 1] - logs[:, :, 0]).T
    return found


@pytest.mark.parametrize("shape", ["normal", "heavy tails", "skewed", "unequal"])
@pytest.mark.parametrize("blocks", [3, 5, 12])
def test_equal_contenders_are_told_apart_in_at_most_five_percent_of_runs(blocks: int, shape: str) -> None:
    logs = observations(np.random.default_rng(blocks), blocks, np.zeros(2), shape=shape)
    found = compare(differences(logs), MARGIN)
    assert (found["p"] <= LEVEL).mean() <= at_most(LEVEL, RUNS)


@pytest.mark.parametrize("blocks", [2, 5, 12])
def test_intervals_cover_the_truth_at_their_rate(blocks: int) -> None:
    logs = observations(np.random.default_rng(blocks), blocks, np.array([0.0, 0.1]))
    found = compare(differences(logs), MARGIN)
    covered = ((found["low"] <= 0.1) & (found["high"] >= 0.1)).mean()
    assert at_least(1 - LEVEL, RUNS) <= covered <= at_most(1 - LEVEL, RUNS)


@pytest.mark.parametrize("blocks", [3, 5, 12])
def test_the_promised_difference_is_found_in_eighty_percent_of_runs(blocks: int) -> None:
    random = np.random.default_rng(blocks)
    error = NOISE * np.sqrt(2 / blocks)
    pair = pd.DataFrame({"error": [error], "freedom": [blocks - 1.0], "difference": [0.0]})
    promised = float(judge(pair.assign(p=1.0, p_equivalent=1.0))["detectable"].iloc[0])
    found = compare(differences(observations(random, blocks, np.array([0.0, promised]))), MARGIN)
    detected = ((found["p"] <= LEVEL) & (found["difference"] > 0)).mean()
    assert at_least(POWER, RUNS) <= detected <= at_most(POWER, RUNS)


def test_what_a_run_promises_follows_from_its_own_spread() -> None:
    found = compare(differences(observations(np.random.default_rng(0), 10, np.zeros(2))), MARGIN)
    alone = [judge(found.iloc[[place]])["detectable"].iloc[0] for place in range(100)]
    assert np.median(alone) == pytest.approx(0.996 * NOISE * np.sqrt(2), rel=0.1)


@pytest.mark.parametrize(("blocks", "times"), [(3, 10.0), (5, 3.0), (10, 1.5)])
def test_five_contenders_find_what_the_readme_says(blocks: int, times: float) -> None:
    """In terms of the spread of a pair's ratio from block to block."""
    pairs = len([*combinations(range(5), 2)])
    assert detectable_size(blocks - 1.0, LEVEL / pairs) / np.sqrt(blocks) == pytest.approx(times, rel=0.1)


@pytest.mark.parametrize("truth", [MARGIN, -MARGIN, 0.1])
@pytest.mark.parametrize("blocks", [3, 12])
def test_a_difference_of_the_margin_is_called_equivalent_in_at_most_five_percent(
    blocks: int, truth: float
) -> None:
    logs = observations(np.random.default_rng(blocks), blocks, np.array([0.0, truth]))
    found = compare(differences(logs), MARGIN)
    assert (found["p_equivalent"] <= LEVEL).mean() <= at_most(LEVEL, RUNS)


def test_equal_contenders_are_found_equivalent_once_there_are_blocks_enough() -> None:
    random = np.random.default_rng(0)
    shares = [
        (compare(differences(observations(random, blocks, np.zeros(2))), MARGIN)["p_equivalent"] <= LEVEL)
        for blocks in (3, 6, 20)
    ]
    few, some, many = (share.mean() for share in shares)
    assert few < 0.3
    assert few < some < many
    assert many > 0.99


def family(logs: Numbers, pairs: list[tuple[int, int]]) -> Numbers:
    """Unadjusted p of these pairs: (runs, pairs)."""
    firsts, seconds = ([pair[side] for pair in pairs] for side in (0, 1))
    found = logs[:, :, seconds] - logs[:, :, firsts]
    runs, blocks, count = found.shape
    columns = found.transpose(1, 0, 2).reshape(blocks, runs * count)
    return compare(columns, MARGIN)["p"].to_numpy(dtype=float).reshape(runs, count)


@pytest.mark.parametrize(("contenders", "blocks"), [(3, 3), (5, 5), (10, 5)])
def test_among_equal_contenders_a_run_claims_any_difference_in_at_most_five_percent(
    contenders: int, blocks: int
) -> None:
    logs = observations(np.random.default_rng(contenders), blocks, np.zeros(contenders), 2000)
    p = family(logs, list(combinations(range(contenders), 2)))
    claimed = (holm(p) <= LEVEL).any(axis=1).mean()
    assert claimed <= at_most(LEVEL, 2000)


def test_differences_that_there_are_do_not_make_false_ones_more_likely() -> None:
    logs = observations(np.random.default_rng(0), 8, np.array([0.0, 0.0, 0.0, 0.5, 1.0]), 2000)
    pairs = list(combinations(range(5), 2))
    false = [pairs.index(pair) for pair in ((0, 1), (0, 2), (1, 2))]
    rejected = holm(family(logs, pairs)) <= LEVEL
    assert rejected[:, false].any(axis=1).mean() <= at_most(LEVEL, 2000)
    others = [place for place in range(len(pairs)) if place not in false]
    assert rejected[:, others].all(axis=1).mean() > 0.99


@pytest.mark.parametrize(("contenders", "rate"), [(5, 0.08), (15, 0.13)])
def test_a_family_of_comparisons_with_the_fastest_alone_would_err_more(contenders: int, rate: float) -> None:
    """Why the family is all pairs: the fastest was picked by the same data."""
    logs = observations(np.random.default_rng(1), 5, np.zeros(contenders))
    fastest = np.argmin(logs.mean(axis=1), axis=1)
    own = np.take_along_axis(logs, fastest[:, None, None], axis=2)
    columns: Numbers = np.asarray(logs - own, dtype=np.float64).transpose(1, 0, 2)
    p = compare(columns.reshape(5, -1), MARGIN)["p"].to_numpy(dtype=float).reshape(RUNS, contenders)
    p[np.arange(RUNS), fastest] = 1.0
    claimed = float(np.mean(p.min(axis=1) * (contenders - 1) <= LEVEL))
    assert claimed == pytest.approx(rate, abs=0.015)
    assert claimed > at_most(LEVEL, RUNS)


@pytest.fixture(scope="module")
def clock_errors() -> Numbers:
    """What the steady state is off by, in log time, in each of CLOCKS processes of 20 timed blocks that
    warm up, drift, have a spike and are noisy; NaN where it finds none.
    """
    random = np.random.default_rng(0)
    place = np.arange(20)
    found = np.zeros(CLOCKS)
    for process in range(CLOCKS):
        logs = 0.02 * random.standard_normal(20)
        logs += 0.5 * np.exp(-place / random.uniform(0.2, 2.0))
        logs += random.normal(0, 0.02) * (place / 20 - 0.5)
        logs[random.integers(20)] += random.exponential(0.5)
        state = steady(np.full(20, 10.0), 10 * np.exp(logs), np.zeros(20, bool))
        found[process] = np.log(state.step_seconds)
    return found


def test_the_steady_state_of_nearly_every_clock_is_found_within_a_hundredth(clock_errors: Numbers) -> None:
    assert np.isfinite(clock_errors).mean() > 0.97
    assert np.nanmean(np.abs(clock_errors)) < 0.01


@pytest.mark.parametrize("effects", [0.0, 1.0])
@pytest.mark.parametrize("blocks", [3, 5, 12])
def test_from_clocks_to_verdicts_contenders_are_told_apart_or_called_equivalent_in_at_most_five_percent(
    blocks: int, effects: float, clock_errors: Numbers
) -> None:
    """The whole chain 4,000 times each: processes with and without an effect of their own, each with a clock
    drawn from 2,000 that went through the steady state; equal contenders, and such as differ by the margin.
    """
    random = np.random.default_rng(blocks)
    logs = effects * observations(random, blocks, np.zeros(2)) + random.choice(
        clock_errors, (RUNS, blocks, 2)
    )
    equal = compare(differences(logs), MARGIN)
    assert (equal["p"] <= LEVEL).mean() <= at_most(LEVEL, RUNS)
    apart = compare(differences(logs) + MARGIN, MARGIN)
    assert (apart["p_equivalent"] <= LEVEL).mean() <= at_most(LEVEL, RUNS)


def test_the_numbers_are_scipys_and_statsmodels() -> None:
    first, second = np.random.default_rng(0).normal(0, 0.02, (2, 7))
    (row,) = compare((second - first)[:, None], MARGIN).to_dict("records")
    paired = stats.ttest_rel(second, first)
    interval = paired.confidence_interval()
    assert (row["p"], row["low"], row["high"]) == pytest.approx((paired.pvalue, interval.low, interval.high))
    assert row["p_equivalent"] == pytest.approx(ttost_paired(second, first, -MARGIN, MARGIN)[0])
    assert row["rank_p"] == pytest.approx(stats.wilcoxon(second - first).pvalue)


@pytest.mark.parametrize(("blocks", "least"), [(3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_the_rank_test_says_what_it_can_reach(blocks: int, least: float) -> None:
    column = np.array([[1.0 + block] for block in range(blocks)])
    (row,) = compare(column, MARGIN).to_dict("records")
    assert (row["rank_p"], row["rank_p_least"]) == pytest.approx((least, least))


def test_differences_that_do_not_vary_are_certain() -> None:
    found = judge(compare(np.array([[0.0, 0.1, -0.1]] * 3), MARGIN))
    assert found["verdict"].tolist() == [EQUIVALENT, ABOVE, BELOW]


def test_pairs_that_one_of_both_lacks_do_not_count() -> None:
    logs = pd.DataFrame({"a": [0.0, 0.1, np.nan, 0.0], "b": [0.5, 0.6, 0.5, np.nan], "c": [np.nan] * 4})
    found = against(logs, "a", MARGIN).set_index("second")
    assert found.loc["b", "pairs"] == 2
    assert found.loc["b", "difference"] == pytest.approx(0.5)
    assert (found.loc["c", "pairs"], found.loc["c", "verdict"]) == (0, INCONCLUSIVE)
    assert found.loc["b", "p_holm"] == found.loc["b", "p"], "what cannot be tested is not in the family"


NAMES = list("abcdefg")


@given(
    st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).filter(lambda pair: pair[0] < pair[1]))
)
def test_contenders_share_a_tier_exactly_where_they_were_not_told_apart(
    differing: set[tuple[str, str]],
) -> None:
    found = tiers(differing, NAMES)
    for pair in combinations(NAMES, 2):
        assert bool(set(found[pair[0]]) & set(found[pair[1]])) == (pair not in differing)
    assert found["a"][0] == 1
    assert {number for numbers in found.values() for number in numbers} == set(
        range(1, max(max(numbers) for numbers in found.values()) + 1)
    )


def test_tiers_are_counted_from_the_fastest() -> None:
    order = ["a", "b", "c", "d"]
    apart = [("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    assert tiers(apart, order) == {"a": (1,), "b": (1, 2), "c": (2,), "d": (3,)}


def loaded(folder: Path, records: list[synthetic.Record], **options: Any) -> Run:
    return load(synthetic.write(folder / "run", records, **options))


def timed(contender: str, step_ms: Numbers, workload: str = "mlp") -> list[synthetic.Record]:
    return good(contender, workload, step_ms=tuple(step_ms))


def rows(run: Run) -> dict[str, dict[Any, Any]]:
    return {row["contender"]: row for row in run.summary.to_dict("records")}


SHARED = np.exp(np.random.default_rng(5).normal(0, 0.3, 8))


def wobble(seed: int, size: float = 0.01) -> Numbers:
    found: Numbers = SHARED * np.exp(np.random.default_rng(seed).normal(0, size, 8))
    return found


def test_a_run_says_slower_equivalent_and_inconclusive(tmp_path: Path) -> None:
    records = [
        *timed("alpha", wobble(1)),
        *timed("beta", 1.01 * wobble(2)),
        *timed("delta", 1.3 * wobble(3, 0.3)),
        *timed("gamma", 2.0 * wobble(4)),
    ]
    found = rows(loaded(tmp_path, records))
    verdicts = {name: found[name]["verdict"] for name in ("beta", "delta", "gamma")}
    assert verdicts == {"beta": "equivalent", "delta": "inconclusive", "gamma": "slower"}
    assert [found[name]["tiers"] for name in ("alpha", "beta", "delta", "gamma")] == ["1", "1", "1", "2"]
    assert found["gamma"]["ratio_low"] < 2.0 < found["gamma"]["ratio_high"]
    assert 0 < found["gamma"]["detectable"] < found["delta"]["detectable"]


def test_one_block_is_inconclusive_and_says_why(tmp_path: Path) -> None:
    run = loaded(tmp_path, timed("alpha", SHARED[:1]) + timed("beta", 3 * SHARED[:1]))
    (row,) = run.comparisons[run.comparisons["measure"] == "step_seconds"].to_dict("records")
    assert (row["verdict"], row["why"]) == ("inconclusive", "1 block in common, and a spread needs 2")
    assert np.isnan(row["detectable"])


@pytest.mark.parametrize(("margin", "verdict"), [(0.5, "equivalent"), (0.001, "inconclusive")])
def test_the_margin_is_the_protocols(tmp_path: Path, margin: float, verdict: str) -> None:
    records = timed("alpha", wobble(1)) + timed("beta", wobble(2))
    run = loaded(tmp_path, records, protocol={"equivalence_margin": margin})
    assert rows(run)["beta"]["verdict"] == verdict or rows(run)["alpha"]["verdict"] == verdict
    assert run.comparisons["margin"].iloc[0] == margin


def test_memory_is_compared_where_there_are_several_passes(tmp_path: Path) -> None:
    def passes(contender: str, peaks: tuple[float, ...]) -> list[synthetic.Record]:
        proven = [record for record in timed(contender, wobble(1)) if record["kind"] != "memory"]
        return proven + [memory(contender, peak=peak, block=block) for block, peak in enumerate(peaks)]

    first = passes("alpha", (300, 301, 300.5))
    found = rows(loaded(tmp_path / "several", first + passes("beta", (600, 601, 602))))
    assert found["beta"]["peak_verdict"] == "more"
    assert found["beta"]["peak_mib_low"] < 601 < found["beta"]["peak_mib_high"]
    run = loaded(tmp_path / "one", passes("alpha", (300,)) + passes("beta", (600,)))
    (row,) = run.comparisons[run.comparisons["measure"] == "peak_mib"].to_dict("records")
    assert (row["verdict"], row["why"]) == ("inconclusive", "1 memory pass in common, and a spread needs 2")


def inferring(contender: str, step_ms: float, rates: Numbers) -> list[synthetic.Record]:
    passed = [
        measure(contender, block=block, step_ms=(step_ms,) * 4, evaluate=(float(rate),))
        for block, rate in enumerate(rates)
    ]
    return [verify(contender), *passed]


def test_inference_is_compared_block_by_block_with_the_first_by_step_time(tmp_path: Path) -> None:
    records = [
        *inferring("alpha", 1.0, 1000 * wobble(1)),
        *inferring("beta", 2.0, 2000 * wobble(2)),
        *inferring("delta", 3.0, 500 * wobble(3)),
        *inferring("gamma", 4.0, 1000 * wobble(4, 0.001)),
    ]
    run = loaded(tmp_path, records)
    verdicts = {name: found["evaluate_verdict"] for name, found in rows(run).items() if name != "alpha"}
    assert verdicts == {"beta": "faster", "delta": "slower", "gamma": "equivalent"}
    compared = run.comparisons[run.comparisons["measure"] == "evaluate_samples_per_second"]
    assert list(compared["first"]) == ["alpha"] * 3
    assert list(compared["pairs"]) == [8] * 3
    beta = compared.iloc[0]
    assert beta["low"] < 2.0 < beta["high"] < 2.1, "what slows a whole block is in no interval"
    assert beta["margin"] == run.margins.equivalence


def test_inference_that_was_not_timed_is_inconclusive_and_says_why(tmp_path: Path) -> None:
    records = [
        record
        for name, step_ms in (("alpha", 1.0), ("beta", 2.0))
        for record in [
            verify(name),
            *(measure(name, block=block, step_ms=(step_ms,) * 4, evaluate=()) for block in range(2)),
        ]
    ]
    run = loaded(tmp_path, records)
    (row,) = run.comparisons[run.comparisons["measure"] == "evaluate_samples_per_second"].to_dict("records")
    assert (row["verdict"], row["why"]) == ("inconclusive", "no block in common, and a spread needs 2")


@pytest.mark.parametrize(
    ("metric", "shift", "spread", "verdict"),
    [
        ("accuracy", 0.0005, 0.001, "equivalent"),
        ("accuracy", 0.0005, 1e-7, "equivalent"),  # sure, and too small to matter
        ("accuracy", -0.2, 0.001, "worse"),
        ("rmse", -0.2, 0.001, "better"),
        ("accuracy", 0.2, 0.001, "better"),
    ],
)
def test_the_metric_is_compared_seed_by_seed(
    tmp_path: Path, metric: str, shift: float, spread: float, verdict: str
) -> None:
    def trained(contender: str, step_ms: float, shift: float) -> list[synthetic.Record]:
        own = spread * np.array([1, -1, 1, -1]) * step_ms
        scores = 0.7 + np.array([0.05, -0.08, 0.02, 0.01]) + shift + own
        learned = [
            measure(
                contender,
                block=seed,
                seed=seed,
                step_ms=(step_ms * (1 + seed / 100),) * 4,
                learning={"train": [], "test": {metric: float(score)}},
            )
            for seed, score in enumerate(scores)
        ]
        return [verify(contender), *learned]

    records = trained("alpha", 1.0, 0.0) + trained("beta", 2.0, shift)
    run = loaded(tmp_path, records, metric=metric)
    assert rows(run)["beta"]["metric_verdict"] == verdict
    compared = run.comparisons[run.comparisons["measure"] == "metric"].iloc[0]
    assert compared["margin"] == pytest.approx(0.01 * (0.7 + shift / 2), rel=0.01)


CONTROL = {"contender": "alpha", "twin": "alpha~twin"}


def twins(factor: float, **options: Any) -> list[synthetic.Record]:
    twin = [
        record for record in timed("alpha~twin", factor * wobble(7), **options) if record["block"] is not None
    ]
    return timed("alpha", wobble(1), **options) + twin + timed("beta", 2 * wobble(2), **options)


def test_twins_alike_leave_the_verdicts_and_are_ranked_once(tmp_path: Path) -> None:
    run = loaded(tmp_path, twins(1.0), contenders=["alpha", "beta"], control=CONTROL)
    assert run.control is not None
    assert run.control.withheld == ()
    assert run.control.table["ratio_low"][0] < 1 < run.control.table["ratio_high"][0]
    assert sorted(rows(run)) == ["alpha", "beta"]
    assert rows(run)["beta"]["verdict"] == "slower"


def test_twins_that_differ_withhold_the_verdicts(tmp_path: Path) -> None:
    run = loaded(tmp_path, twins(1.1), control=CONTROL)
    assert run.control is not None
    assert run.control.differs == {"step_seconds": ("mlp",), "peak_mib": ()}
    assert rows(run)["beta"]["verdict"] == "withheld"
    assert rows(run)["beta"]["ratio"] == pytest.approx(2.0, rel=0.05)
    assert all(pd.isna(row["tiers"]) for row in rows(run).values())
    for clocked in ("step_seconds", "evaluate_samples_per_second"):
        assert set(run.comparisons["verdict"][run.comparisons["measure"] == clocked]) == {"withheld"}
    assert rows(run)["beta"]["evaluate_verdict"] == "withheld"


def test_a_difference_of_twins_in_one_workload_withholds_those_of_all(tmp_path: Path) -> None:
    records = twins(1.0) + twins(1.1, workload="lenet")
    run = loaded(tmp_path, records, control=CONTROL, workloads=("mlp", "lenet"))
    assert run.control is not None
    assert run.control.differs == {"step_seconds": ("lenet",), "peak_mib": ()}
    assert set(run.summary["verdict"].dropna()) == {"withheld"}


def test_a_run_without_a_control_has_none(tmp_path: Path) -> None:
    assert loaded(tmp_path / "a", timed("alpha", wobble(1))).control is None
    assert loaded(tmp_path / "b", timed("alpha", wobble(1)), control=None).control is None


def test_of_sound_runs_five_percent_withhold_however_many_workloads_they_have() -> None:
    workloads, runs = 4, 1500
    logs = observations(np.random.default_rng(3), 5, np.zeros(2), runs * workloads)
    p = compare(differences(logs), MARGIN)["p"].to_numpy(dtype=float).reshape(runs, workloads)
    alarms = (holm(p) <= LEVEL).any(axis=1).mean()
    assert at_least(LEVEL, runs) <= alarms <= at_most(LEVEL, runs)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12))
def test_holms_adjustment_is_that_of_statsmodels(p: list[float]) -> None:
    found = holm(p)
    tested = np.isfinite(p)
    assert np.isnan(found[~tested]).all()
    if tested.any():
        assert found[tested] == pytest.approx(multipletests(np.array(p)[tested], method="holm")[1])


def test_every_pair_is_judged_in_one_family() -> None:
    logs = pd.DataFrame(observations(np.random.default_rng(0), 6, np.zeros(4), 1)[0], columns=list("abcd"))
    found = among(logs, MARGIN)
    assert len(found) == 6
    assert found["p_holm"].min() == pytest.approx(min(6 * found["p"].min(), 1.0))
    sizes = found["detectable"] / found["deviation"]
    critical = stats.t.isf(LEVEL / 6 / 2, 5)
    assert stats.nct.sf(critical, 5, sizes * np.sqrt(6)) == pytest.approx([POWER] * 6)
