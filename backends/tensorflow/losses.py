"""Each loss and penalty of the spec in TensorFlow's own ops."""

from __future__ import annotations

import functools
import math

import tensorflow as tf

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported


@functools.singledispatch
def loss_of(loss: spec.Loss, *inputs: tf.Tensor) -> tf.Tensor:
    """A loss of tensors (batch, *shape): a scalar."""
    raise Unsupported(f"the tensorflow backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy, logits: tf.Tensor, labels: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
    found = _entropies(loss, logits, labels)
    if not weights:
        return _reduced(found, loss.reduction)
    (weight,) = weights
    counted = tf.reduce_sum(found * weight)
    return counted / tf.reduce_sum(weight) if loss.reduction == "mean" else counted


def _entropies(loss: spec.CrossEntropy, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Of each position: (batch, *shape)."""
    if not loss.label_smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    classes = logits.shape[-1]
    spread = loss.label_smoothing / classes
    shares = tf.one_hot(labels, classes, 1 - loss.label_smoothing + spread, spread, dtype=logits.dtype)
    return tf.nn.softmax_cross_entropy_with_logits(shares, logits)


@loss_of.register
def _(loss: spec.BinaryCrossEntropy, logits: tf.Tensor, *targets: tf.Tensor) -> tf.Tensor:
    (target,) = targets or (loss.target,)
    # As `tf.nn.sigmoid_cross_entropy_with_logits`, in fewer passes over memory.
    return _reduced(tf.math.softplus(logits) - logits * target, loss.reduction)


@loss_of.register
def _(loss: spec.MeanSquaredError, prediction: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    return _reduced(tf.math.squared_difference(prediction, target), loss.reduction)


@loss_of.register
def _(loss: spec.Sharpe, holdings: tf.Tensor, returns: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(tf.reduce_sum(holdings * returns, 1), 0)
    return -mean / tf.math.sqrt(variance + loss.epsilon)


@loss_of.register
def _(loss: spec.Yolo, predictions: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    *places, depth = predictions.shape
    found = tf.reshape(predictions, (*places, loss.anchors, depth // loss.anchors))
    centre, extent, objectness, logits = tf.split(found, (2, 2, 1, found.shape[-1] - 5), -1)
    there, true_centre, true_extent = tf.split(boxes, (1, 2, 2), -1)
    objectness, there = tf.squeeze(objectness, -1), tf.squeeze(there, -1)
    squares = tf.reduce_sum(tf.math.squared_difference(tf.math.sigmoid(centre), true_centre), -1)
    squares += tf.reduce_sum(tf.math.squared_difference(extent, true_extent), -1)
    named = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    with_object = there * (squares * loss.coordinate + named - objectness)
    # Binary cross-entropy of both kinds of place by one softplus, weighted.
    weight = there * (1 - loss.no_object) + loss.no_object
    return tf.reduce_sum(with_object + weight * tf.math.softplus(objectness)) / predictions.shape[0]


def _reduced(elements: tf.Tensor, reduction: spec.Reduction) -> tf.Tensor:
    """The mean over an example's elements, its mean or sum over the examples."""
    if reduction == "mean":
        return tf.reduce_mean(elements)
    return tf.reduce_sum(elements) / math.prod(elements.shape[1:])


@functools.singledispatch
def penalty_of(penalty: Penalty, kernel: tf.Variable) -> tf.Tensor:
    """A penalty on one tensor: a scalar."""
    raise Unsupported(f"the tensorflow backend has no lowering for the penalty {name_of(penalty)!r}")


@penalty_of.register
def _(penalty: L1, kernel: tf.Variable) -> tf.Tensor:
    return tf.reduce_sum(tf.math.abs(kernel)) * penalty.rate


@penalty_of.register
def _(penalty: L2, kernel: tf.Variable) -> tf.Tensor:
    # `l2_loss` is half the sum of squares.
    return tf.nn.l2_loss(kernel) * (2 * penalty.rate)
