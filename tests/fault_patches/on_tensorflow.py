"""Faults inside the TensorFlow backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import tensorflow as tf

from harness.spec.layers import Dropout
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
