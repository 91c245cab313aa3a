"""Each loss and penalty of the spec as calls of `torch.nn.functional`.

The functions are traced: they are given symbols, whose shapes are told beforehand.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch.nn import functional

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.layers import Shape
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported

Function = Callable[..., torch.Tensor]


@functools.singledispatch
def loss_of(loss: spec.Loss, *shapes: Shape) -> Function:
    """The function for a loss of tensors with these example shapes."""
    raise Unsupported(f"the torch backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy, *shapes: Shape) -> Function:
    labels_shape = shapes[1]
    if len(shapes) == 3:
        return _weighted(loss)
    entropy = functools.partial(
        functional.cross_entropy, reduction=loss.reduction, label_smoothing=loss.label_smoothing
    )
    if not labels_shape:
        return entropy
    # Classes last, as they lie in memory: torch's own (batch, classes, *shape) would be copied first.
    return _averaged(
        lambda logits, labels: entropy(logits.flatten(0, -2), labels.flatten()), loss.reduction, labels_shape
    )


def _weighted(loss: spec.CrossEntropy) -> Function:
    entropy = functools.partial(
        functional.cross_entropy, reduction="none", label_smoothing=loss.label_smoothing
    )

    def apply(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        each = weights.flatten()
        total = entropy(logits.flatten(0, -2), labels.flatten()).dot(each)
        return total / each.sum() if loss.reduction == "mean" else total

    return apply


@loss_of.register
def _(loss: spec.BinaryCrossEntropy, *shapes: Shape) -> Function:
    entropy = functools.partial(functional.binary_cross_entropy_with_logits, reduction=loss.reduction)
    if loss.target is None:
        return _averaged(entropy, loss.reduction, shapes[0])
    return _averaged(
        lambda logits: entropy(logits, torch.full_like(logits, loss.target)), loss.reduction, shapes[0]
    )


@loss_of.register
def _(loss: spec.MeanSquaredError, *shapes: Shape) -> Function:
    error = functools.partial(functional.mse_loss, reduction=loss.reduction)
    return _averaged(error, loss.reduction, shapes[0])


@loss_of.register
def _(loss: spec.Sharpe, *shapes: Shape) -> Function:
    def apply(holdings: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean((holdings * returns).sum(1), correction=0)
        return -mean / (variance + loss.epsilon).sqrt()

    return apply


@loss_of.register
def _(loss: spec.Yolo, *shapes: Shape) -> Function:
    numbers = shapes[0][2] // loss.anchors

    def apply(predictions: torch.Tensor, boxes: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        found = predictions.unflatten(-1, (loss.anchors, numbers))
        centre, extent, objectness, logits = found.split((2, 2, 1, numbers - 5), -1)
        there, true_centre, true_extent = boxes.split((1, 2, 2), -1)
        squares = (centre.sigmoid() - true_centre).square() + (extent - true_extent).square()
        confidence = functional.binary_cross_entropy_with_logits(
            objectness, there, there * (1 - loss.no_object) + loss.no_object, reduction="none"
        )
        named = functional.cross_entropy(logits.flatten(0, -2), classes.flatten(), reduction="none")
        with_object = squares.sum(-1).flatten() * loss.coordinate + named
        return (there.flatten() * with_object + confidence.flatten()).sum() / predictions.shape[0]

    return apply


def _averaged(function: Function, reduction: spec.Reduction, shape: Shape) -> Function:
    """torch sums over an example's elements where it sums over the batch; the spec takes their mean."""
    elements = math.prod(shape)
    if reduction == "mean" or elements == 1:
        return function
    return lambda *inputs: function(*inputs) / elements


@functools.singledispatch
def penalty_of(penalty: Penalty) -> Function:
    """The function for a penalty."""
    raise Unsupported(f"the torch backend has no lowering for the penalty {name_of(penalty)!r}")


@penalty_of.register
def _(penalty: L1) -> Function:
    return lambda kernel: kernel.abs().sum() * penalty.rate


@penalty_of.register
def _(penalty: L2) -> Function:
    return lambda kernel: kernel.square().sum() * penalty.rate
