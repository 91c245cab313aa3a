"""Each optimizer of the spec as one of Optax."""

from __future__ import annotations

import functools

import optax

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.worker.protocol import Unsupported


@functools.singledispatch
def optimizer_of(optimizer: spec.Optimizer) -> optax.GradientTransformation:
    """The gradient transformation of an optimizer."""
    raise Unsupported(f"the jax backend has no lowering for the optimizer {name_of(optimizer)!r}")


@optimizer_of.register
def _(optimizer: spec.SGD) -> optax.GradientTransformation:
    return optax.sgd(optimizer.learning_rate, optimizer.momentum or None)


@optimizer_of.register
def _(optimizer: spec.Adam) -> optax.GradientTransformation:
    numbers = {"b1": optimizer.beta1, "b2": optimizer.beta2, "eps": optimizer.epsilon}
    if not optimizer.weight_decay:
        return optax.adam(optimizer.learning_rate, **numbers)
    return optax.adamw(optimizer.learning_rate, **numbers, weight_decay=optimizer.weight_decay)
