"""Each loss of the spec as one of `keras.losses`, penalties as a regularizer of `keras.regularizers`."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import keras
import numpy as np

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.layers import Shape
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported

REDUCTIONS = {"mean": "sum_over_batch_size", "sum": "sum"}


@functools.singledispatch
def loss_of(loss: spec.Loss, shape: Shape) -> tuple[keras.losses.Loss, float]:
    """The loss for predictions of an example shape, and its weight in `compile`."""
    raise Unsupported(f"the keras backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy, shape: Shape) -> tuple[keras.losses.Loss, float]:
    reduction = REDUCTIONS[loss.reduction]
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction), 1.0


@loss_of.register
def _(loss: spec.MeanSquaredError, shape: Shape) -> tuple[keras.losses.Loss, float]:
    # Keras takes the mean over the last axis alone, and the reduction over all that is left.
    left = math.prod(shape[:-1]) if loss.reduction == "sum" else 1
    return keras.losses.MeanSquaredError(reduction=REDUCTIONS[loss.reduction]), 1.0 / left


def regularizer_of(penalties: Iterable[Penalty]) -> keras.Regularizer | None:
    """The sum of the penalties for one tensor; None where there are none."""
    rates = {"l1": 0.0, "l2": 0.0}
    for penalty in penalties:
        rates[_name(penalty)] += penalty.rate
    if not any(rates.values()):
        return None
    regularizer = keras.regularizers.L1L2(**rates)
    # On TensorFlow a Python float is a float32 tensor before Keras casts it; a NumPy float64 stays exact.
    regularizer.l1, regularizer.l2 = np.float64(rates["l1"]), np.float64(rates["l2"])
    return regularizer


@functools.singledispatch
def _name(penalty: Penalty) -> str:
    raise Unsupported(f"the keras backend has no lowering for the penalty {name_of(penalty)!r}")


@_name.register
def _(penalty: L1) -> str:
    return "l1"


@_name.register
def _(penalty: L2) -> str:
    return "l2"
