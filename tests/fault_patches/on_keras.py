"""Faults inside the Keras backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras
from keras import ops


def epsilon_first(module: ModuleType) -> Callable[[], None]:
    """Keras's own Adam, as it comes."""
    framework = module.framework
    right = framework.Adam
    framework.Adam = keras.optimizers.Adam
    return lambda: setattr(framework, "Adam", right)


def dropout_left_on(module: ModuleType) -> Callable[[], None]:
    right = keras.layers.Dropout.call

    def wrong(self: Any, inputs: Any, training: bool = False) -> Any:
        return right(self, inputs, training=True)

    keras.layers.Dropout.call = wrong
    return lambda: setattr(keras.layers.Dropout, "call", right)


class EpsilonOutside(keras.optimizers.RMSprop):
    """RMSProp as PyTorch writes it: epsilon is added to the root."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        second = self._velocities[self._get_variable_index(variable)]
        self.assign(second, self.rho * second + (1 - self.rho) * ops.square(gradient))
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * gradient / (ops.sqrt(second) + self.epsilon))


def epsilon_outside(module: ModuleType) -> Callable[[], None]:
    right = keras.optimizers.RMSprop
    keras.optimizers.RMSprop = EpsilonOutside
    return lambda: setattr(keras.optimizers, "RMSprop", right)


def rate_inside(module: ModuleType) -> Callable[[], None]:
    """Keras's own momentum, as it comes."""
    framework = module.framework
    right = framework.Momentum
    framework.Momentum = keras.optimizers.SGD
    return lambda: setattr(framework, "Momentum", right)


def clipped_by_tensor(module: ModuleType) -> Callable[[], None]:
    right = module.optimizer_of

    def wrong(optimizer: Any, clip_norm: float | None) -> keras.optimizers.Optimizer:
        native = right(optimizer, clip_norm)
        native.clipnorm, native.global_clipnorm = native.global_clipnorm, None
        return native

    module.optimizer_of = wrong  # type: ignore[attr-defined]
    return lambda: setattr(module, "optimizer_of", right)


def bilinear(module: ModuleType) -> Callable[[], None]:
    right = keras.layers.UpSampling2D
    keras.layers.UpSampling2D = lambda size, layout, _: right(size, layout, "bilinear")
    return lambda: setattr(keras.layers, "UpSampling2D", right)
