"""Metrics of forecasts, texts and portfolios, in NumPy."""

from __future__ import annotations

import math

import numpy as np

from harness.spec.metric import Arrays, Metric, choices, pair, prediction

_AT_ONCE = 1 << 22
"""Logits that are looked at together: what float64 makes of them must fit in memory."""


def _mae(outputs: Arrays, arrays: Arrays) -> float:
    found, true = pair(outputs, arrays, "value")
    return float(np.mean(np.abs(found - true)))


def _mae_over_naive(outputs: Arrays, arrays: Arrays) -> float:
    found, true = pair(outputs, arrays, "value")
    return _ratio(np.mean(np.abs(found - true)), np.mean(np.abs(arrays["naive"] - true)))


def _rmse_over_naive(outputs: Arrays, arrays: Arrays) -> float:
    found, true = pair(outputs, arrays, "value")
    return _ratio(np.mean((found - true) ** 2) ** 0.5, np.mean((arrays["naive"] - true) ** 2) ** 0.5)


def _ratio(found: np.floating, naive: np.floating) -> float:
    if naive == 0:
        raise ValueError("the seasonal-naive forecast makes no error")
    return float(found / naive)


def _f1(outputs: Arrays, arrays: Arrays) -> float:
    found, true = choices(outputs, arrays, "y")
    classes = prediction(outputs).shape[-1]
    scores = []
    for label in range(classes) if classes > 2 else (1,):
        both = np.sum((found == label) & (true == label))
        either = np.sum(found == label) + np.sum(true == label)
        scores.append(2 * both / either if either else 0.0)
    return float(np.mean(scores))


def _bits(outputs: Arrays, arrays: Arrays) -> float:
    """The cross-entropy of all tokens of y together, in bits."""
    logits, y = prediction(outputs), np.asarray(arrays["y"])
    if logits.shape[:-1] != y.shape:
        raise ValueError(f"the logits are {logits.shape}, the array 'y' is {y.shape}")
    flat, labels = logits.reshape(-1, logits.shape[-1]), y.reshape(-1)
    rows = max(1, _AT_ONCE // flat.shape[1])
    nats = 0.0
    for first in range(0, len(labels), rows):
        part = flat[first : first + rows].astype(np.float64)
        part = part - part.max(-1, keepdims=True)
        wanted = part[np.arange(len(part)), labels[first : first + rows]]
        nats += float(np.sum(np.log(np.exp(part).sum(-1)) - wanted))
    return nats / math.log(2)


def _bits_per_character(outputs: Arrays, arrays: Arrays) -> float:
    return _bits(outputs, arrays) / float(np.sum(arrays["characters"], dtype=np.float64))


def _bits_over_source(outputs: Arrays, arrays: Arrays) -> float:
    known = float(np.sum(arrays["bits"], dtype=np.float64))
    return (_bits(outputs, arrays) - known) / float(np.sum(arrays["characters"], dtype=np.float64))


def _masked_accuracy(outputs: Arrays, arrays: Arrays) -> float:
    found, true = choices(outputs, arrays, "x")
    hidden = np.asarray(arrays["weights"]) > 0
    if not hidden.any():
        raise ValueError("no token is hidden")
    return float(np.mean(found[hidden] == true[hidden]))


def _sharpe(outputs: Arrays, arrays: Arrays) -> float:
    holdings, returns = pair(outputs, arrays, "returns")
    return _ratio_of((holdings * returns).sum(1))


def _sharpe_gained(outputs: Arrays, arrays: Arrays) -> float:
    return _sharpe(outputs, arrays) - _ratio_of(arrays["returns"].mean(1, dtype=np.float64))


def _ratio_of(earned: np.ndarray) -> float:
    spread = float(np.std(earned))
    if spread == 0:
        raise ValueError("a Sharpe ratio needs returns that are not all equal")
    return float(np.mean(earned)) / spread


SEQUENCE_METRICS = {
    "mae": Metric(
        "MAE",
        "",
        False,
        "the mean absolute error, in the unit of the prepared values",
        ("value",),
        _mae,
    ),
    "mae_over_naive": Metric(
        "MAE over seasonal-naive's",
        "",
        False,
        "the mean absolute error over that of the seasonal-naive forecast, the last season again: below 1 is "
        "better than that",
        ("value", "naive"),
        _mae_over_naive,
    ),
    "rmse_over_naive": Metric(
        "RMSE over seasonal-naive's",
        "",
        False,
        "the root of the mean squared error over that of the seasonal-naive forecast, the last season again: "
        "below 1 is better than that",
        ("value", "naive"),
        _rmse_over_naive,
    ),
    "f1": Metric(
        "F1",
        "",
        True,
        "twice the hits of class 1 over all that are in it or said to be; of more than two classes the mean "
        "over the classes",
        ("y",),
        _f1,
    ),
    "bits_per_character": Metric(
        "Bits per character",
        "",
        False,
        "the cross-entropy of the tokens that come next, in bits, over how many characters they are",
        ("y", "characters"),
        _bits_per_character,
    ),
    "bits_over_source": Metric(
        "Bits per character over the source's",
        "",
        False,
        "bits per character less what the same characters are worth to who knows the grammar they were drawn "
        "from and sees as much of the text: 0 is the best there is",
        ("y", "characters", "bits"),
        _bits_over_source,
    ),
    "masked_accuracy": Metric(
        "Accuracy on hidden tokens",
        "",
        True,
        "the share of the hidden tokens that have the largest logit",
        ("x", "weights"),
        _masked_accuracy,
    ),
    "sharpe": Metric(
        "Sharpe ratio",
        "",
        True,
        "the mean of the portfolio's returns over their standard deviation, of one period, not of a year "
        "(of days: times the root of 252), without costs and with no riskless rate",
        ("returns",),
        _sharpe,
    ),
    "sharpe_gained": Metric(
        "Sharpe ratio gained",
        "",
        True,
        "the Sharpe ratio less that of equal holdings in the same periods",
        ("returns",),
        _sharpe_gained,
    ),
    "bleu": Metric(
        "BLEU",
        "",
        True,
        "of greedy translations against the one reference of each, over the whole split, 0 to 100, by "
        "sacrebleu (tokens by 13a, exponential smoothing)",
        ("y",),
    ),
}
