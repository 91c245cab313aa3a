"""Each optimizer of the spec as one of `keras.optimizers`."""

from __future__ import annotations

import functools

import keras
import numpy as np

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.worker.protocol import Unsupported

from .framework import framework


@functools.singledispatch
def optimizer_of(optimizer: spec.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer, not yet built."""
    raise Unsupported(f"the keras backend has no lowering for the optimizer {name_of(optimizer)!r}")


@optimizer_of.register
def _(optimizer: spec.SGD) -> keras.optimizers.Optimizer:
    # The learning rate stands inside of Keras's velocity: the same while it is constant.
    return keras.optimizers.SGD(optimizer.learning_rate, momentum=_number(optimizer.momentum))


@optimizer_of.register
def _(optimizer: spec.Adam) -> keras.optimizers.Optimizer:
    native: keras.optimizers.Optimizer = framework.Adam(
        optimizer.learning_rate,
        beta_1=optimizer.beta1,
        beta_2=optimizer.beta2,
        epsilon=optimizer.epsilon,
        weight_decay=_number(optimizer.weight_decay) if optimizer.weight_decay else None,
    )
    return native


def _number(value: float) -> float:
    """On TensorFlow a Python float is a float32 tensor before Keras casts it; a NumPy float64 stays exact."""
    return np.float64(value) if keras.config.floatx() == "float64" else value
