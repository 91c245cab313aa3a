"""Each optimizer of the spec as one of Optax."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.spec.schedules import LearningRate, Schedule, rate_at
from harness.worker.protocol import Unsupported


@functools.singledispatch
def optimizer_of(optimizer: spec.Optimizer) -> optax.GradientTransformation:
    """The gradient transformation of an optimizer."""
    raise Unsupported(f"the jax backend has no lowering for the optimizer {name_of(optimizer)!r}")


@optimizer_of.register
def _(optimizer: spec.SGD) -> optax.GradientTransformation:
    descent = optax.sgd(_rate(optimizer.learning_rate), optimizer.momentum or None)
    if not optimizer.weight_decay:
        return descent
    return optax.chain(optax.add_decayed_weights(optimizer.weight_decay), descent)


@optimizer_of.register
def _(optimizer: spec.Adam) -> optax.GradientTransformation:
    rate = _rate(optimizer.learning_rate)
    numbers = {"b1": optimizer.beta1, "b2": optimizer.beta2, "eps": optimizer.epsilon}
    if not optimizer.weight_decay:
        return optax.adam(rate, **numbers)
    return optax.adamw(rate, **numbers, weight_decay=optimizer.weight_decay)


@optimizer_of.register
def _(optimizer: spec.RMSProp) -> optax.GradientTransformation:
    rate = _rate(optimizer.learning_rate)
    return optax.rmsprop(rate, decay=optimizer.rho, eps=optimizer.epsilon, eps_in_sqrt=True)


def by_tensor(
    rules: Mapping[str, spec.Optimizer],
    optimizer_of: Callable[[spec.Optimizer], optax.GradientTransformation],
) -> optax.GradientTransformation:
    """The rule of each tensor, by its name: one optimizer, or a part of the tensors to each of several."""
    numbers = {rule: str(number) for number, rule in enumerate(dict.fromkeys(rules.values()))}
    optimizers = {number: optimizer_of(rule) for rule, number in numbers.items()}
    if len(optimizers) == 1:
        return optimizers["0"]
    return optax.partition(optimizers, {name: numbers[rule] for name, rule in rules.items()})


def clipped(optimizer: optax.GradientTransformation, clip_norm: float | None) -> optax.GradientTransformation:
    """The optimizer behind a scaling of all gradients together, where there is a `clip_norm`."""
    return optimizer if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)


def _rate(learning_rate: LearningRate) -> Any:
    """A number, or a function of Optax's count of steps done. The count is an int32, and JAX would divide it
    in float32; as `float` it has the precision of the program.
    """
    if not isinstance(learning_rate, Schedule):
        return learning_rate
    return lambda count: rate_at(learning_rate, count.astype(float), jnp)
