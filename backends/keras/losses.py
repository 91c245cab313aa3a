"""Each loss of the spec as one of `keras.losses`, penalties as a regularizer of `keras.regularizers`."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.layers import Shape
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported

REDUCTIONS = {"mean": "sum_over_batch_size", "sum": "sum"}
WEIGHTED = {"mean": "mean_with_sample_weight", "sum": "sum"}

T = TypeVar("T")


@functools.singledispatch
def loss_of(loss: spec.Loss, shape: Shape, weighted: bool) -> tuple[keras.losses.Loss, float]:
    """The loss for predictions of an example shape, `weighted` position by position or not, and its own
    weight in `compile`.
    """
    raise Unsupported(f"the keras backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy, shape: Shape, weighted: bool) -> tuple[keras.losses.Loss, float]:
    reduction = (WEIGHTED if weighted else REDUCTIONS)[loss.reduction]
    share = 1.0 if weighted else _share(loss, shape)
    if loss.label_smoothing:
        return SmoothedCrossEntropy(loss.label_smoothing, reduction=reduction), share
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction), share


@loss_of.register
def _(loss: spec.BinaryCrossEntropy, shape: Shape, weighted: bool) -> tuple[keras.losses.Loss, float]:
    native = keras.losses.BinaryCrossentropy(from_logits=True, reduction=REDUCTIONS[loss.reduction])
    return native, _share(loss, shape)


@loss_of.register
def _(loss: spec.MeanSquaredError, shape: Shape, weighted: bool) -> tuple[keras.losses.Loss, float]:
    return keras.losses.MeanSquaredError(reduction=REDUCTIONS[loss.reduction]), _share(loss, shape)


@loss_of.register
def _(loss: spec.Yolo, shape: Shape, weighted: bool) -> tuple[keras.losses.Loss, float]:
    return Yolo(loss), 1.0


@loss_of.register
def _(loss: spec.Sharpe, shape: Shape, weighted: bool) -> tuple[keras.losses.Loss, float]:
    return Sharpe(loss.epsilon), 1.0


def _share(loss: spec.CrossEntropy | spec.BinaryCrossEntropy | spec.MeanSquaredError, shape: Shape) -> float:
    """Keras takes the mean over the last axis alone, and the reduction over all that is left."""
    return 1.0 / math.prod(shape[:-1]) if loss.reduction == "sum" else 1.0


class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy with label smoothing, which Keras has for one-hot labels only."""

    def __init__(self, label_smoothing: float, **options: Any) -> None:
        super().__init__(**options)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch, *shape) for labels (batch, *shape)."""
        labels = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            labels, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )


class Sharpe(keras.losses.Loss):
    """Minus the Sharpe ratio of the batch: one number, which no reduction changes."""

    def __init__(self, epsilon: float, **options: Any) -> None:
        super().__init__(**options)
        self.epsilon = epsilon

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """() for returns and holdings (batch, assets)."""
        earned = ops.sum(y_pred * y_true, axis=1)
        centre = ops.mean(earned)
        return -centre / ops.sqrt(ops.mean(ops.square(earned - centre)) + self.epsilon)


class Yolo(keras.losses.Loss):
    """The detector's loss. The target is one tensor (batch, rows, columns, anchors, 6): a box, its class."""

    def __init__(self, loss: spec.Yolo, **options: Any) -> None:
        super().__init__(**options)
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,): the sum over an example's places."""
        rows, columns, depth = y_pred.shape[1:]
        anchors = self.loss.anchors
        found = ops.reshape(y_pred, (-1, rows, columns, anchors, depth // anchors))
        there, objectness = y_true[..., 0], found[..., 4]
        centre = ops.square(ops.sigmoid(found[..., 0:2]) - y_true[..., 1:3])
        extent = ops.square(found[..., 2:4] - y_true[..., 3:5])
        squares = ops.sum(centre + extent, axis=-1)
        named = ops.sparse_categorical_crossentropy(y_true[..., 5], found[..., 5:], from_logits=True)
        with_object = there * (self.loss.coordinate * squares + named - objectness)
        # Binary cross-entropy of both kinds of place by one softplus, weighted.
        weight = there * (1.0 - self.loss.no_object) + self.loss.no_object
        return ops.sum(with_object + weight * ops.softplus(objectness), axis=(1, 2, 3))


def parted(loss: spec.Loss, given: list[T]) -> tuple[list[T], T | None]:
    """What a loss is given beside its prediction as targets, and weights or None."""
    if isinstance(loss, spec.CrossEntropy) and len(given) == 2:
        return given[:1], given[1]
    return given, None


def joined(targets: list[np.ndarray]) -> np.ndarray:
    """The arrays that an output is held against as the one that Keras takes: boxes with their classes."""
    if len(targets) == 1:
        return targets[0]
    boxes, classes = targets
    return np.concatenate([boxes, classes[..., None]], axis=-1, dtype=boxes.dtype)


def target_of(loss: spec.Loss, prediction: Any, *targets: Any) -> Any:
    """The same for tensors of a training step, and the target of a loss that has none among its inputs."""
    if isinstance(loss, spec.BinaryCrossEntropy) and loss.target is not None:
        return ops.full_like(prediction, loss.target)
    if len(targets) == 1:
        return targets[0]
    boxes, classes = targets
    return ops.concatenate([boxes, ops.cast(ops.expand_dims(classes, -1), boxes.dtype)], axis=-1)


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
