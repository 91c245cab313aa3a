"""Faults inside the JAX backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from harness.spec.layers import Upsample2D


def epsilon_first(module: ModuleType) -> Callable[[], None]:
    right = module.optimizer_of
    module.optimizer_of = _epsilon_first  # type: ignore[attr-defined]
    return lambda: setattr(module, "optimizer_of", right)


def _epsilon_first(spec: Any) -> optax.GradientTransformation:
    """AdamW as TensorFlow and MXNet write it: epsilon is added before the bias correction."""

    def init(parameters: Any) -> Any:
        first, second = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
        return jnp.zeros((), jnp.int32), first, second

    def update(gradients: Any, state: Any, parameters: Any) -> Any:
        count, first, second = state
        count = count + 1
        first = jax.tree.map(lambda m, g: spec.beta1 * m + (1 - spec.beta1) * g, first, gradients)
        second = jax.tree.map(lambda v, g: spec.beta2 * v + (1 - spec.beta2) * g * g, second, gradients)
        rate = jnp.sqrt(1 - spec.beta2**count) / (1 - spec.beta1**count)
        moves = jax.tree.map(
            lambda p, m, v: -spec.learning_rate
            * (rate * m / (jnp.sqrt(v) + spec.epsilon) + spec.weight_decay * p),
            parameters,
            first,
            second,
        )
        return moves, (count, first, second)

    return optax.GradientTransformation(init, update)


def dropout_left_on(module: ModuleType) -> Callable[[], None]:
    right = nnx.Dropout.__call__

    def wrong(self: Any, inputs: Any, **words: Any) -> Any:
        return right(self, inputs, **{**words, "deterministic": False})

    nnx.Dropout.__call__ = wrong
    return lambda: setattr(nnx.Dropout, "__call__", right)


def epsilon_outside(module: ModuleType) -> Callable[[], None]:
    right = optax.rmsprop
    optax.rmsprop = lambda *words, **named: right(*words, **{**named, "eps_in_sqrt": False})
    return lambda: setattr(optax, "rmsprop", right)


def rate_inside(module: ModuleType) -> Callable[[], None]:
    """Momentum as Keras and MXNet write it: the velocity holds the learning rates of its past steps."""
    right = optax.sgd
    optax.sgd = lambda rate, momentum: optax.chain(
        optax.scale_by_learning_rate(rate), optax.trace(momentum or 0.0)
    )
    return lambda: setattr(optax, "sgd", right)


def clipped_by_tensor(module: ModuleType) -> Callable[[], None]:
    right = optax.clip_by_global_norm

    def wrong(limit: float) -> optax.GradientTransformation:
        def clip(gradient: Any) -> Any:
            return gradient * jnp.minimum(1.0, limit / jnp.linalg.norm(gradient.reshape(-1)))

        return optax.stateless(lambda gradients, _: jax.tree.map(clip, gradients))

    optax.clip_by_global_norm = wrong
    return lambda: setattr(optax, "clip_by_global_norm", right)


def bilinear(module: ModuleType) -> Callable[[], None]:
    layers = module.layers
    right = layers.lower.dispatch(Upsample2D)

    def wrong(layer: Upsample2D, place: Any) -> Any:
        rows, columns = layer.size

        def resize(x: Any) -> Any:
            n, height, width, channels = x.shape
            return jax.image.resize(x, (n, height * rows, width * columns, channels), "bilinear")

        return layers._function(resize)

    layers.lower.register(Upsample2D, wrong)
    return lambda: layers.lower.register(Upsample2D, right)
