"""Momentum with the learning rate outside of the velocity, and decay inside."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Momentum(keras.optimizers.SGD):
    """Keras's velocity holds the learning rates of its past steps; this one is momentum * v + g, and g has
    the decay in it, by which Keras moves variables beside their velocities.
    """

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing before the step: decay is a part of the gradient."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable."""
        if self.weight_decay and self._use_weight_decay(variable):
            gradient = gradient + variable * ops.cast(self.weight_decay, variable.dtype)
        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, velocity * ops.cast(self.momentum, variable.dtype) + gradient)
        self.assign_sub(variable, velocity * ops.cast(learning_rate, variable.dtype))
