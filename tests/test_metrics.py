"""Each metric is what its definition says, and says clearly where it has no value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, r2_score, roc_auc_score
from sklearn.metrics import root_mean_squared_error as sklearn_rmse

from harness.score import SCORES
from harness.spec.metrics import METRICS, compute


def one(name: str, output: np.ndarray, **arrays: np.ndarray) -> float:
    return compute([name], {"output": output}, arrays)[name]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_every_metric_is_computed_in_exactly_one_place() -> None:
    assert set(SCORES) == {name for name, metric in METRICS.items() if metric.compute is None}


def test_every_metric_says_what_it_is() -> None:
    for metric in METRICS.values():
        assert metric.title
        assert metric.definition
        assert not metric.definition.endswith(".")
        assert metric.arrays


def test_what_needs_a_library_is_passed_over() -> None:
    assert compute(["map50", "rmse"], {"output": draw(3, 1)}, {"value": draw(3, 1)}) == {"rmse": 0.0}


def test_the_first_output_is_the_prediction() -> None:
    outputs = {"output": draw(4, 2), "output.1": draw(4, 7)}
    assert compute(["reconstruction_mse"], outputs, {"x": outputs["output"]}) == {"reconstruction_mse": 0.0}


def test_accuracy_counts_examples_or_positions() -> None:
    logits, labels = draw(20, 3), np.arange(20, dtype=np.int32) % 3
    assert one("accuracy", logits, y=labels) == accuracy_score(labels, logits.argmax(1))
    positions = np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]], np.float32)
    assert one("accuracy", positions, y=np.array([[1, 1], [1, 1]])) == 0.75


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_the_roc_auc_is_scikit_learns_with_many_ties(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], np.float32)
    labels = np.array([label for _, label in pairs], np.int32)
    labels[:2] = 0, 1
    logits = np.stack([np.zeros_like(scores), scores], 1) + 5
    assert one("roc_auc", logits, y=labels) == pytest.approx(roc_auc_score(labels, scores))


def test_errors_of_a_regression_are_scikit_learns() -> None:
    found, true = draw(30, 1), draw(30, 1, seed=1) * 5 + 100
    assert one("rmse", found, value=true) == pytest.approx(sklearn_rmse(true, found))
    assert one("r2", found, value=true) == pytest.approx(r2_score(true, found))
    assert one("r2", np.full_like(true, true.mean()), value=true) == pytest.approx(0)


def test_overlaps_are_scikit_learns_averaged_over_images() -> None:
    logits, mask = draw(5, 6, 6, 1), (draw(5, 6, 6, 1, seed=1) > 0).astype(np.float32)
    pairs = [(true.ravel(), found.ravel() > 0) for true, found in zip(mask, logits, strict=True)]
    iou, dice = (np.mean([score(*pair) for pair in pairs]) for score in (jaccard_score, f1_score))
    assert one("mean_iou", logits, mask=mask) == pytest.approx(iou)
    assert one("dice", logits, mask=mask) == pytest.approx(dice)


@pytest.mark.parametrize("name", ["mean_iou", "dice"])
def test_an_empty_mask_is_right_only_when_it_is_found_empty(name: str) -> None:
    nothing = np.zeros((2, 4, 4, 1), np.float32)
    assert one(name, nothing - 1, mask=nothing) == 1
    logits = nothing - 1
    logits[0, 0, 0] = 1
    assert one(name, logits, mask=nothing) == 0.5


def test_the_psnr_is_that_of_each_image() -> None:
    x = np.zeros((2, 4, 4, 1), np.float32)
    found = x.copy()
    found[0] = 0.1
    found[1] = 0.01
    assert one("psnr", found, x=x) == pytest.approx((20 + 40) / 2, abs=1e-4)
    assert one("psnr", x, x=x) == pytest.approx(100)
    assert one("psnr_gained", found, x=x, noisy=x + 0.1) == pytest.approx(10, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "output", "arrays", "words"),
    [
        ("rmse", draw(4), {"value": draw(4, 1)}, r"the prediction is \(4,\), the array 'value' is \(4, 1\)"),
        ("accuracy", draw(4, 2, 2), {"y": np.zeros(4, int)}, r"the predicted classes are \(4, 2\)"),
        ("roc_auc", draw(4, 3), {"y": np.array([0, 1, 0, 1])}, "two logits"),
        ("roc_auc", draw(4, 2), {"y": np.ones(4, int)}, "both classes"),
        ("r2", draw(4, 1), {"value": np.ones((4, 1))}, "not all equal"),
        ("dice", draw(4, 2, 2, 1), {"x": draw(4, 2, 2, 1)}, "Dice needs the array 'mask'"),
    ],
)
def test_what_does_not_fit_is_told(
    name: str, output: np.ndarray, arrays: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        one(name, output, **arrays)
