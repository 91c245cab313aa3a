"""Each loss and penalty of the spec in TensorFlow's own ops."""

from __future__ import annotations

import functools

import tensorflow as tf

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported

_REDUCE = {"mean": tf.reduce_mean, "sum": tf.reduce_sum}


@functools.singledispatch
def loss_of(loss: spec.Loss, *inputs: tf.Tensor) -> tf.Tensor:
    """A loss of tensors (batch, *shape): a scalar."""
    raise Unsupported(f"the tensorflow backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return _REDUCE[loss.reduction](tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


@loss_of.register
def _(loss: spec.MeanSquaredError, prediction: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    mean = tf.reduce_mean(tf.math.squared_difference(prediction, target))
    return mean if loss.reduction == "mean" else mean * prediction.shape[0]


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
