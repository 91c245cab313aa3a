"""The steady state is found where it is, and none where there is none: on synthetic clocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analyse.run import load
from harness.analyse.steady import LEAST_BLOCKS, NOISE_FLOOR, Numbers, Steady, levels, noise, steady
from tests.conftest import OLD_RUN

BLOCKS = 25


def of_logs(logs: Numbers) -> Steady:
    """The steady state of timed blocks of ten steps."""
    return steady(np.full(len(logs), 10.0), 10 * np.exp(logs), np.zeros(len(logs), bool))


def noisy(random: np.random.Generator, noise: float = 0.02) -> Numbers:
    return noise * random.standard_normal(BLOCKS)


def test_without_a_change_the_observation_is_the_median_of_all_blocks() -> None:
    logs = noisy(np.random.default_rng(0))
    found = of_logs(logs)
    assert (found.blocks, found.entered, found.changes, found.reason) == (BLOCKS, BLOCKS, 0, None)
    assert found.step_seconds == pytest.approx(np.exp(np.median(logs)))


def test_noise_without_a_change_is_seldom_cut_and_still_steady() -> None:
    random = np.random.default_rng(1)
    found = [of_logs(noisy(random)) for _ in range(200)]
    assert np.mean([each.changes > 0 for each in found]) <= 0.02
    assert np.mean([each.reason is not None for each in found]) <= 0.01


def test_what_comes_before_the_last_level_does_not_count() -> None:
    random = np.random.default_rng(2)
    for _ in range(60):
        logs = noisy(random)
        logs[:9] += 0.3
        found = of_logs(logs)
        assert found.reason is None
        assert found.changes >= 1
        assert abs(np.log(found.step_seconds)) < 0.03


def test_a_decay_to_a_plateau_is_steady_on_the_plateau() -> None:
    random = np.random.default_rng(3)
    decay = 0.8 * np.exp(-np.arange(BLOCKS) / 2)
    found = [of_logs(noisy(random) + decay) for _ in range(60)]
    assert np.mean([each.reason is None for each in found]) > 0.95
    assert np.nanmedian([abs(np.log(each.step_seconds)) for each in found]) < 0.01


@pytest.mark.parametrize("height", [0.2, 3.0])
def test_single_spikes_neither_cut_nor_move_the_level(height: float) -> None:
    random = np.random.default_rng(4)
    for _ in range(60):
        logs = noisy(random)
        quiet = of_logs(logs)
        logs[random.choice(np.arange(1, BLOCKS, 2), 3, replace=False)] += height
        found = of_logs(logs)
        assert found.reason is None
        assert abs(np.log(found.step_seconds / quiet.step_seconds)) < 0.03


def test_a_change_shortly_before_the_end_is_no_steady_state() -> None:
    logs = noisy(np.random.default_rng(5))
    logs[-5:] += 0.4
    found = of_logs(logs)
    assert np.isnan(found.step_seconds)
    assert found.reason == "the step time still changed 5 blocks before the end, of 25"


def test_a_change_that_leaves_a_quarter_of_the_blocks_is_one() -> None:
    logs = noisy(np.random.default_rng(6))
    logs[-7:] += 0.4
    assert of_logs(logs).step_seconds == pytest.approx(np.exp(0.4), rel=0.03)


@pytest.mark.parametrize("direction", [-1, 1])
def test_a_drift_is_no_steady_state(direction: int) -> None:
    random = np.random.default_rng(7)
    slope = direction * 0.3 * np.arange(BLOCKS) / BLOCKS
    found = [of_logs(noisy(random) + slope) for _ in range(60)]
    assert np.mean([each.reason is not None for each in found]) > 0.95
    assert any("still drifts" in str(each.reason) for each in found)


def test_a_drift_of_a_few_thousandths_is_let_be() -> None:
    logs = noisy(np.random.default_rng(8), 0.0005) + 0.02 * np.arange(BLOCKS) / BLOCKS
    assert of_logs(logs).reason is None


def test_growing_blocks_stay_out_and_full_ones_enter_though_they_warm_up() -> None:
    steps = np.array([1, 2, 4, 8, 10, 10, *[10] * 8], float)
    warmup = np.arange(len(steps)) < 6
    seconds = steps * 1.0 + 2.0
    found = steady(steps, seconds, warmup)
    assert (found.entered, found.blocks) == (10, 10)
    assert found.step_seconds == pytest.approx(1.2)


@pytest.mark.parametrize(("blocks", "reason"), [(0, "no timed block"), (1, "1 block,"), (2, "2 blocks, and")])
def test_too_few_blocks_are_no_steady_state(blocks: int, reason: str) -> None:
    found = of_logs(np.zeros(blocks))
    assert np.isnan(found.step_seconds)
    assert str(found.reason).startswith(reason)


def test_the_noise_is_that_of_the_blocks_whatever_levels_and_spikes_do() -> None:
    random = np.random.default_rng(9)
    logs = 0.02 * random.standard_normal(4000)
    logs[2000:] += 1.0
    logs[::50] += 5.0
    assert noise(logs) == pytest.approx(0.02, rel=0.1)
    assert noise(np.zeros(10)) == NOISE_FLOOR


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_levels_cost_at_most_one_change_more_than_the_cheapest(seed: int) -> None:
    logs, penalty = stepped(np.random.default_rng(seed))
    least = cheapest(logs, penalty)
    assert least - 1e-9 <= price(logs, levels(logs), penalty) <= least + penalty


def test_levels_are_the_cheapest_but_for_one_series_in_a_hundred() -> None:
    random = np.random.default_rng(10)
    series = [stepped(random) for _ in range(400)]
    found = [price(logs, levels(logs), penalty) for logs, penalty in series]
    least = [cheapest(logs, penalty) for logs, penalty in series]
    assert np.mean(np.isclose(found, least)) >= 0.99


def stepped(random: np.random.Generator) -> tuple[Numbers, float]:
    """A short series of noise with up to three changes of level, and what a change costs there."""
    logs = 0.02 * random.standard_normal(random.integers(6, 19))
    for place in random.integers(0, len(logs), random.integers(0, 4)):
        logs[place:] += random.normal(0, 0.2)
    return logs, 3 * noise(logs) * float(np.log(len(logs)))


def price(logs: Numbers, starts: list[int], penalty: float) -> float:
    parts = np.split(logs, starts[1:])
    return sum(float(np.abs(part - np.median(part)).sum()) + penalty for part in parts)


def cheapest(logs: Numbers, penalty: float) -> float:
    """Optimal partitioning, written out."""
    best = {0: 0.0}
    for end in range(LEAST_BLOCKS, len(logs) + 1):
        best[end] = min(
            best[start] + price(logs[start:end], [0], penalty)
            for start in best
            if end - start >= LEAST_BLOCKS
        )
    return best[len(logs)]


def test_a_run_made_with_five_long_blocks_still_has_its_observations() -> None:
    processes = load(OLD_RUN).processes
    assert processes["step_seconds"].notna().mean() > 0.9
    assert processes["unsteady"].notna().sum() == processes["step_seconds"].isna().sum()
    assert processes.groupby("contender")["step_seconds"].count().min() >= 1
