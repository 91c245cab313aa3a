"""Each loss and penalty of the spec in the operators of MXNet. `F` is `mx.nd` or `mx.sym`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.layers import Shape
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported

from .lowering import last_axis

Function = Callable[..., Any]


@functools.singledispatch
def loss_of(loss: spec.Loss, *shapes: Shape) -> Function:
    """The function for a loss of examples of these shapes: `function(F, *inputs)`, shape (1,)."""
    raise Unsupported(f"the mxnet backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy, *shapes: Shape) -> Function:
    logits_shape, labels_shape, *_ = shapes
    axis = last_axis(logits_shape)
    smoothing = loss.label_smoothing
    likelihoods = _likelihoods if math.prod(logits_shape) <= FEW else _likelihoods_of_many

    def cross_entropy(F: Any, logits: Any, labels: Any, *weights: Any) -> Any:
        of_label, of_all = likelihoods(F, logits, labels, axis)
        found = of_label * (1 - smoothing) + of_all() * smoothing if smoothing else of_label
        if not weights:
            return -_reduced(F, found, loss.reduction, labels_shape)
        counted = -F.sum(found * weights[0])
        return counted / F.sum(weights[0]) if loss.reduction == "mean" else counted

    return cross_entropy


FEW = 256
"""As many logits an example as `log_softmax` is best for."""


def _likelihoods(F: Any, logits: Any, labels: Any, axis: int) -> tuple[Any, Callable[[], Any]]:
    """The logarithm of each label's share, and, when called, the mean of all classes'."""
    scores = _log_softmax(F, logits, axis)
    return F.pick(scores, labels, axis=axis), lambda: F.mean(scores, axis=axis)


def _likelihoods_of_many(F: Any, logits: Any, labels: Any, axis: int) -> tuple[Any, Callable[[], Any]]:
    """The same by way of oneDNN's softmax, and the logarithm of its largest share, which never underflows:
    log p(i) = x(i) - x(top) + log p(top).
    """
    top = F.stop_gradient(F.argmax(logits, axis=axis))
    shares = F.softmax(logits, axis=axis)
    highest, its_log = F.pick(logits, top, axis=axis), F.log(F.pick(shares, top, axis=axis))
    of_label = F.pick(logits, labels, axis=axis) - highest + its_log
    return of_label, lambda: F.mean(logits, axis=axis) - highest + its_log


@loss_of.register
def _(loss: spec.BinaryCrossEntropy, *shapes: Shape) -> Function:
    def binary_cross_entropy(F: Any, logits: Any, target: Any = loss.target) -> Any:
        values = F.Activation(logits, act_type="softrelu") - logits * target
        return _reduced(F, values, loss.reduction, shapes[0])

    return binary_cross_entropy


@loss_of.register
def _(loss: spec.MeanSquaredError, *shapes: Shape) -> Function:
    def squared_error(F: Any, prediction: Any, target: Any) -> Any:
        return _reduced(F, F.square(prediction - target), loss.reduction, shapes[0])

    return squared_error


@loss_of.register
def _(loss: spec.Sharpe, *shapes: Shape) -> Function:
    def sharpe(F: Any, holdings: Any, returns: Any) -> Any:
        earned = F.sum(holdings * returns, axis=1)
        centre = F.mean(earned)
        variance = F.mean(F.square(F.broadcast_sub(earned, centre)))
        return -centre / F.sqrt(variance + loss.epsilon)

    return sharpe


@loss_of.register
def _(loss: spec.Yolo, *shapes: Shape) -> Function:
    places = math.prod(shapes[2])

    def yolo(F: Any, predictions: Any, boxes: Any, classes: Any) -> Any:
        found = F.reshape(predictions, shape=(0, -4, loss.anchors, -1, -2))
        # (batch, anchors, *, rows, columns), as the boxes travel too.
        centre, extent, objectness, logits = F.split_v2(found, (2, 4, 5), axis=2)
        there, true_centre, true_extent = F.split_v2(boxes, (1, 3), axis=2)
        apart = F.concat(F.sigmoid(centre) - true_centre, extent - true_extent, dim=2)
        squares = F.sum(F.square(apart), axis=2, keepdims=True)
        named = F.pick(_log_softmax(F, logits, 2), classes, axis=2, keepdims=True)
        without = F.Activation(objectness, act_type="softrelu")
        with_object = squares * loss.coordinate + without * (1 - loss.no_object) - objectness - named
        return F.mean(there * with_object + without * loss.no_object) * places

    return yolo


def _log_softmax(F: Any, logits: Any, axis: int) -> Any:
    # A temperature, even of one, keeps MXNet off oneDNN's kernel, whose logarithm is good to 1e-6 only.
    return F.log_softmax(logits, axis=axis, temperature=1.0)


def _reduced(F: Any, values: Any, reduction: spec.Reduction, shape: Shape) -> Any:
    """Over the batch, of the means over examples of `shape`: of one size, so their mean is that of all."""
    if reduction == "mean":
        return F.mean(values)
    size = math.prod(shape)
    return F.sum(values) if size == 1 else F.sum(values) / size


@functools.singledispatch
def penalty_of(penalty: Penalty) -> Function:
    """The function for a penalty: `function(F, kernel)`, shape (1,)."""
    raise Unsupported(f"the mxnet backend has no lowering for the penalty {name_of(penalty)!r}")


@penalty_of.register
def _(penalty: L1) -> Function:
    return lambda F, kernel: F.sum(F.abs(kernel)) * penalty.rate


@penalty_of.register
def _(penalty: L2) -> Function:
    return lambda F, kernel: F.sum(F.square(kernel)) * penalty.rate
