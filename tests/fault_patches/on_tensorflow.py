"""Faults inside the TensorFlow backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import tensorflow as tf

from harness.spec.layers import Dropout, Upsample2D
from tests.proving_ground import EPSILON


def epsilon_first(module: ModuleType) -> Callable[[], None]:
    right = tf.raw_ops.ResourceApplyAdam

    def wrong(**words: Any) -> Any:
        return right(**{**words, "epsilon": tf.constant(EPSILON, words["lr"].dtype)})

    tf.raw_ops.ResourceApplyAdam = wrong
    return lambda: setattr(tf.raw_ops, "ResourceApplyAdam", right)


def dropout_left_on(module: ModuleType) -> Callable[[], None]:
    lower = module.layers.lower
    right = lower.dispatch(Dropout)
    lower.register(Dropout, lambda layer, variables, this, x: tf.nn.dropout(x, layer.rate))
    return lambda: lower.register(Dropout, right)


def epsilon_outside(module: ModuleType) -> Callable[[], None]:
    right = tf.raw_ops.ResourceApplyRMSProp

    def wrong(
        *, var: Any, ms: Any, mom: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any
    ) -> None:
        second = rho * tf.raw_ops.ReadVariableOp(resource=ms, dtype=grad.dtype) + (1 - rho) * grad * grad
        tf.raw_ops.AssignVariableOp(resource=ms, value=second)
        tf.raw_ops.AssignSubVariableOp(resource=var, value=lr * grad / (tf.sqrt(second) + epsilon))

    tf.raw_ops.ResourceApplyRMSProp = wrong
    return lambda: setattr(tf.raw_ops, "ResourceApplyRMSProp", right)


def rate_inside(module: ModuleType) -> Callable[[], None]:
    """TensorFlow's other kernel of momentum: the velocity holds the learning rates of its past steps."""
    right = tf.raw_ops.ResourceApplyMomentum
    tf.raw_ops.ResourceApplyMomentum = tf.raw_ops.ResourceApplyKerasMomentum
    return lambda: setattr(tf.raw_ops, "ResourceApplyMomentum", right)


def clipped_by_tensor(module: ModuleType) -> Callable[[], None]:
    right = tf.clip_by_global_norm
    tf.clip_by_global_norm = lambda found, limit: ([tf.clip_by_norm(each, limit) for each in found], None)
    return lambda: setattr(tf, "clip_by_global_norm", right)


def bilinear(module: ModuleType) -> Callable[[], None]:
    lower = module.layers.lower
    right = lower.dispatch(Upsample2D)

    def wrong(layer: Upsample2D, variables: Any, this: Any, x: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = x.shape
        rows, columns = layer.size
        resized = tf.image.resize(x, (height * rows, width * columns), tf.image.ResizeMethod.BILINEAR)
        return tf.cast(resized, x.dtype)

    lower.register(Upsample2D, wrong)
    return lambda: lower.register(Upsample2D, right)
