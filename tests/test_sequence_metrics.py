"""Metrics of forecasts, texts and portfolios: by hand or by another library, and where they have no value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import f1_score

from harness.spec import sequence_metrics
from tests.test_metrics import draw, one


def test_a_forecast_is_held_against_last_season() -> None:
    true, naive = draw(8, 3), draw(8, 3, seed=1)
    assert one("mae", true + 0.5, value=true) == pytest.approx(0.5)
    assert one("mae_over_naive", naive, value=true, naive=naive) == pytest.approx(1)
    assert one("rmse_over_naive", naive, value=true, naive=naive) == pytest.approx(1)
    assert one("mae_over_naive", true, value=true, naive=naive) == 0
    half = true + (naive - true) / 2
    assert one("rmse_over_naive", half, value=true, naive=naive) == pytest.approx(0.5)


def test_f1_is_scikit_learns() -> None:
    two, three = draw(40, 2), draw(40, 3)
    labels = np.arange(40) % 2
    assert one("f1", two, y=labels) == pytest.approx(f1_score(labels, two.argmax(1)))
    labels = np.arange(40) % 3
    assert one("f1", three, y=labels) == pytest.approx(f1_score(labels, three.argmax(1), average="macro"))
    assert one("f1", np.array([[1.0, 0.0]]), y=np.array([0])) == 0


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
def test_bits_are_the_cross_entropy_by_characters(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_metrics, "_AT_ONCE", at_once)
    logits, y = draw(5, 4, 6) * 50, np.arange(20).reshape(5, 4) % 6
    nats = -np.take_along_axis(log_softmax(logits.astype(float), -1), y[..., None], -1).sum()
    characters = np.array([4, 4, 8, 8, 8])
    expected = nats / math.log(2) / 32
    assert one("bits_per_character", logits, y=y, characters=characters) == pytest.approx(expected)
    known = np.full((5, 4), 0.25)
    over = one("bits_over_source", logits, y=y, characters=characters, bits=known)
    assert over == pytest.approx(expected - 5 / 32)


def test_who_knows_nothing_has_all_the_bits() -> None:
    y = np.zeros((2, 3), int)
    assert one("bits_per_character", np.zeros((2, 3, 8)), y=y, characters=np.full(2, 3)) == pytest.approx(3)


def test_only_hidden_tokens_count() -> None:
    x = np.array([[0, 1, 2], [2, 1, 0]])
    logits = np.eye(3)[np.array([[0, 0, 2], [0, 1, 0]])]
    weights = np.array([[0, 1, 1], [1, 0, 0]])
    assert one("masked_accuracy", logits, x=x, weights=weights) == pytest.approx(1 / 3)


def test_the_sharpe_ratio_is_of_the_portfolios_returns() -> None:
    returns = np.array([[0.1, -0.1], [0.2, 0.0], [-0.1, 0.3], [0.0, 0.2]])
    first = np.tile([1.0, 0.0], (4, 1))
    expected = returns[:, 0].mean() / returns[:, 0].std()
    assert one("sharpe", first, returns=returns) == pytest.approx(expected)
    equal = returns.mean(1)
    gained = one("sharpe_gained", first, returns=returns)
    assert gained == pytest.approx(expected - equal.mean() / equal.std())
    assert one("sharpe_gained", np.full((4, 2), 0.5), returns=returns) == pytest.approx(0)


@pytest.mark.parametrize(
    ("name", "output", "arrays", "words"),
    [
        ("mae_over_naive", draw(4, 1), {"value": draw(4, 1), "naive": draw(4, 1)}, "makes no error"),
        ("mae_over_naive", draw(4, 1), {"value": draw(4, 1)}, "needs the array 'naive'"),
        ("bits_per_character", draw(4, 3), {"y": np.zeros((4, 3)), "characters": np.ones(4)}, "the logits"),
        ("masked_accuracy", draw(2, 3, 4), {"x": np.zeros((2, 3)), "weights": np.zeros((2, 3))}, "no token"),
        ("sharpe", np.ones((3, 2)) / 2, {"returns": np.ones((3, 2))}, "not all equal"),
        ("sharpe", draw(3, 3), {"returns": draw(3, 2)}, r"the prediction is \(3, 3\)"),
    ],
)
def test_what_does_not_fit_is_told(
    name: str, output: np.ndarray, arrays: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        one(name, output, **arrays)
