"""Each loss and penalty of the spec in Optax and `jax.numpy`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from flax import nnx

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported

Function = Callable[..., Any]


def _reduce(values: Any, reduction: spec.Reduction) -> Any:
    """Values (batch, *shape), averaged over `shape` in either reduction."""
    return values.mean() if reduction == "mean" else values.sum() / math.prod(values.shape[1:])


@functools.singledispatch
def loss_of(loss: spec.Loss) -> Function:
    """The function for a loss."""
    raise Unsupported(f"the jax backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy) -> Function:
    def cross_entropy(logits: Any, labels: Any, *weights: Any) -> Any:
        if not loss.label_smoothing:
            found = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        else:
            shares = nnx.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
            found = optax.softmax_cross_entropy(logits, optax.smooth_labels(shares, loss.label_smoothing))
        if weights:
            counted = (found * weights[0]).sum()
            return counted / weights[0].sum() if loss.reduction == "mean" else counted
        return _reduce(found, loss.reduction)

    return cross_entropy


@loss_of.register
def _(loss: spec.BinaryCrossEntropy) -> Function:
    def binary_cross_entropy(logits: Any, *targets: Any) -> Any:
        (target,) = targets or (jnp.full_like(logits, loss.target),)
        return _reduce(optax.sigmoid_binary_cross_entropy(logits, target), loss.reduction)

    return binary_cross_entropy


@loss_of.register
def _(loss: spec.MeanSquaredError) -> Function:
    return lambda prediction, target: _reduce(optax.squared_error(prediction, target), loss.reduction)


@loss_of.register
def _(loss: spec.Sharpe) -> Function:
    def sharpe(holdings: Any, returns: Any) -> Any:
        earned = (holdings * returns).sum(-1)
        return -earned.mean() / jnp.sqrt(earned.var() + loss.epsilon)

    return sharpe


@loss_of.register
def _(loss: spec.Yolo) -> Function:
    def yolo(predictions: Any, boxes: Any, classes: Any) -> Any:
        found = predictions.reshape(*classes.shape, -1)
        there, objectness = boxes[..., 0], found[..., 4]
        centre = optax.squared_error(nnx.sigmoid(found[..., :2]), boxes[..., 1:3]).sum(-1)
        extent = optax.squared_error(found[..., 2:4], boxes[..., 3:]).sum(-1)
        named = optax.softmax_cross_entropy_with_integer_labels(found[..., 5:], classes)
        with_object = loss.coordinate * (centre + extent) - nnx.log_sigmoid(objectness) + named
        without = -loss.no_object * nnx.log_sigmoid(-objectness)
        return (there * with_object + (1 - there) * without).sum((1, 2, 3)).mean()

    return yolo


@functools.singledispatch
def penalty_of(penalty: Penalty) -> Function:
    """The function for a penalty."""
    raise Unsupported(f"the jax backend has no lowering for the penalty {name_of(penalty)!r}")


@penalty_of.register
def _(penalty: L1) -> Function:
    return lambda kernel: jnp.abs(kernel).sum() * penalty.rate


@penalty_of.register
def _(penalty: L2) -> Function:
    return lambda kernel: jnp.square(kernel).sum() * penalty.rate
