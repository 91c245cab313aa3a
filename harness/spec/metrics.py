"""Metrics: what a trained model is judged by, computed from its outputs alike for everyone.

Most are computed here, in NumPy, where the outputs are: in the worker. Those that need a library are computed
by `harness.score` from the test outputs that a worker leaves behind.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from harness.spec.metric import Arrays, Metric, choices, pair, prediction
from harness.spec.sequence_metrics import SEQUENCE_METRICS

LEAST_ERROR = 1e-10
"""The least mean squared error that a PSNR tells from zero: 100 dB is the most there is."""


def compute(names: Iterable[str], outputs: Arrays, arrays: Arrays) -> dict[str, float]:
    """Those of the named metrics that NumPy suffices for.

    Raises ValueError where outputs and arrays do not fit a metric, or it has no value for them.
    """
    scores = {}
    for name in names:
        metric = METRICS[name]
        if metric.compute is not None:
            metric.check(arrays)
            scores[name] = metric.compute(outputs, arrays)
    return scores


def _accuracy(outputs: Arrays, arrays: Arrays) -> float:
    found, true = choices(outputs, arrays, "y")
    return float(np.mean(found == true))


def _roc_auc(outputs: Arrays, arrays: Arrays) -> float:
    logits, positive = prediction(outputs), arrays["y"] == 1
    if logits.ndim != 2 or logits.shape[1] != 2:
        raise ValueError(f"the ROC AUC needs two logits an example, got {logits.shape[1:]}")
    count = int(positive.sum())
    if not 0 < count < len(positive):
        raise ValueError("the ROC AUC needs examples of both classes")
    scores = logits[:, 1].astype(np.float64) - logits[:, 0]
    _, places, ties = np.unique(scores, return_inverse=True, return_counts=True)
    # Equal scores share the mean of the ranks that they take up.
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[places]
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


def _rmse(outputs: Arrays, arrays: Arrays) -> float:
    found, true = pair(outputs, arrays, "value")
    return float(np.sqrt(np.mean((found - true) ** 2)))


def _r2(outputs: Arrays, arrays: Arrays) -> float:
    found, true = pair(outputs, arrays, "value")
    spread = np.sum((true - true.mean()) ** 2)
    if spread == 0:
        raise ValueError("R2 needs values that are not all equal")
    return float(1 - np.sum((found - true) ** 2) / spread)


def _reconstruction_error(outputs: Arrays, arrays: Arrays) -> float:
    found, true = pair(outputs, arrays, "x")
    return float(np.mean((found - true) ** 2))


def _psnr(outputs: Arrays, arrays: Arrays) -> float:
    return _decibels(*pair(outputs, arrays, "x"))


def _psnr_gained(outputs: Arrays, arrays: Arrays) -> float:
    found, true = pair(outputs, arrays, "x")
    return _decibels(found, true) - _decibels(arrays["noisy"].astype(np.float64), true)


def _decibels(found: np.ndarray, true: np.ndarray) -> float:
    errors = np.mean((found - true) ** 2, axis=tuple(range(1, true.ndim)))
    return float(np.mean(-10 * np.log10(np.maximum(errors, LEAST_ERROR))))


def _mean_iou(outputs: Arrays, arrays: Arrays) -> float:
    shared, found, true = _pixels(outputs, arrays)
    union = found + true - shared
    return float(np.mean(np.where(union == 0, 1.0, shared / np.maximum(union, 1))))


def _dice(outputs: Arrays, arrays: Arrays) -> float:
    shared, found, true = _pixels(outputs, arrays)
    both = found + true
    return float(np.mean(np.where(both == 0, 1.0, 2 * shared / np.maximum(both, 1))))


def _pixels(outputs: Arrays, arrays: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each image: the pixels in both masks, in the found one, in the true one."""
    logits, mask = pair(outputs, arrays, "mask")
    found = (logits > 0).reshape(len(logits), -1)
    true = (mask > 0.5).reshape(len(mask), -1)
    return (found & true).sum(1), found.sum(1), true.sum(1)


METRICS = {
    "accuracy": Metric(
        "Accuracy",
        "",
        True,
        "the share of labels (of examples, or of positions) whose class has the largest logit",
        ("y",),
        _accuracy,
    ),
    "roc_auc": Metric(
        "ROC AUC",
        "",
        True,
        "the chance that an example of class 1 scores above one of class 0 (by the difference of the two "
        "logits), ties counting half",
        ("y",),
        _roc_auc,
    ),
    "rmse": Metric(
        "RMSE",
        "",
        False,
        "the root of the mean squared error, in the unit of the prepared values",
        ("value",),
        _rmse,
    ),
    "r2": Metric(
        "R2",
        "",
        True,
        "one minus the squared error over that of always predicting the split's mean",
        ("value",),
        _r2,
    ),
    "reconstruction_mse": Metric(
        "Reconstruction MSE",
        "",
        False,
        "the mean squared difference from x over all elements",
        ("x",),
        _reconstruction_error,
    ),
    "psnr": Metric(
        "PSNR",
        "dB",
        True,
        "peak signal-to-noise ratio of images in [0, 1]: -10 log10 of an image's mean squared error (no less "
        "than 1e-10), the mean over images",
        ("x",),
        _psnr,
    ),
    "psnr_gained": Metric(
        "PSNR gained",
        "dB",
        True,
        "the output's PSNR less that of the noisy input",
        ("noisy", "x"),
        _psnr_gained,
    ),
    "mean_iou": Metric(
        "IoU, mean",
        "",
        True,
        "intersection over union of the mask (logit > 0) with the true one, the mean over images; 1 where "
        "both are empty",
        ("mask",),
        _mean_iou,
    ),
    "dice": Metric(
        "Dice",
        "",
        True,
        "twice the intersection over the sum of the mask (logit > 0) and the true one, the mean over images; "
        "1 where both are empty",
        ("mask",),
        _dice,
    ),
    "map50": Metric(
        "mAP@0.5",
        "",
        True,
        "mean average precision at IoU 0.5 (COCO's: 101 recall points, 100 boxes an image and class), by "
        "pycocotools, after suppression within each class at IoU 0.5",
        ("objects",),
    ),
    "frechet_distance": Metric(
        "Frechet distance",
        "",
        False,
        "between Gaussians fitted to generated and to real test images in the space of the first principal "
        "components (64 at most) of the real training images; not comparable with an FID in Inception's "
        "features, and the smaller the test set, the larger for everyone",
        ("x",),
    ),
    "mse_over_pca": Metric(
        "MSE over PCA's",
        "",
        False,
        "the reconstruction's mean squared error over that of PCA, fitted on the training set, with as many "
        "components as the code (the second output) has numbers",
        ("x",),
    ),
    **SEQUENCE_METRICS,
}
