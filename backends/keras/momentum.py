"""Momentum with the learning rate outside of the velocity, for rates that change."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Momentum(keras.optimizers.SGD):
    """Keras's velocity holds the learning rates of its past steps; this one is momentum * v + g."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable."""
        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, velocity * ops.cast(self.momentum, variable.dtype) + gradient)
        self.assign_sub(variable, velocity * ops.cast(learning_rate, variable.dtype))
