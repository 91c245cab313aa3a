"""Each optimizer of the spec as one of `keras.optimizers`."""

from __future__ import annotations

import functools
from dataclasses import replace

import keras
import numpy as np

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.spec.layers.base import Parameter
from harness.spec.schedules import LearningRate, Schedule
from harness.worker.protocol import Unsupported

from .framework import framework
from .schedules import Rate


@functools.singledispatch
def optimizer_of(optimizer: spec.Optimizer, clip_norm: float | None) -> keras.optimizers.Optimizer:
    """The optimizer, not yet built. It clips the gradient first where `clip_norm` is given."""
    raise Unsupported(f"the keras backend has no lowering for the optimizer {name_of(optimizer)!r}")


@optimizer_of.register
def _(optimizer: spec.SGD, clip_norm: float | None) -> keras.optimizers.Optimizer:
    # The learning rate stands inside of Keras's velocity: the same while it is constant. Its decay, of which
    # the velocity knows nothing, is the same without momentum.
    changing = isinstance(optimizer.learning_rate, Schedule)
    own = optimizer.momentum and (changing or optimizer.weight_decay)
    native: keras.optimizers.Optimizer = (framework.Momentum if own else keras.optimizers.SGD)(
        _rate(optimizer.learning_rate),
        momentum=_number(optimizer.momentum),
        weight_decay=_number(optimizer.weight_decay) if optimizer.weight_decay else None,
        global_clipnorm=clip_norm,
    )
    return native


@optimizer_of.register
def _(optimizer: spec.Adam, clip_norm: float | None) -> keras.optimizers.Optimizer:
    native: keras.optimizers.Optimizer = framework.Adam(
        _rate(optimizer.learning_rate),
        beta_1=optimizer.beta1,
        beta_2=optimizer.beta2,
        epsilon=optimizer.epsilon,
        weight_decay=_number(optimizer.weight_decay) if optimizer.weight_decay else None,
        global_clipnorm=clip_norm,
    )
    return native


@optimizer_of.register
def _(optimizer: spec.RMSProp, clip_norm: float | None) -> keras.optimizers.Optimizer:
    return keras.optimizers.RMSprop(
        _rate(optimizer.learning_rate),
        rho=optimizer.rho,
        epsilon=optimizer.epsilon,
        global_clipnorm=clip_norm,
    )


def decays(optimizer: spec.Optimizer, parameter: Parameter) -> bool:
    """Whether the optimizer's rule for a tensor has the decay of weights that it has in general."""
    rule = optimizer.of(parameter)
    if rule == optimizer:
        return True
    if isinstance(optimizer, spec.SGD | spec.Adam) and rule == replace(optimizer, weight_decay=0.0):
        return False
    raise Unsupported(
        f"the keras backend has one rule for all tensors of an optimizer, but for its decay: {rule}"
    )


def _rate(learning_rate: LearningRate) -> float | Rate:
    return Rate(learning_rate) if isinstance(learning_rate, Schedule) else learning_rate


def _number(value: float) -> float:
    """On TensorFlow a Python float is a float32 tensor before Keras casts it; a NumPy float64 stays exact."""
    return np.float64(value) if keras.config.floatx() == "float64" else value
