"""Adam with epsilon after the bias correction, where Keras has it before.

With c1 = 1 - beta1^t and c2 = 1 - beta2^t, (m / c1) / (sqrt(v / c2) + e) is
m * (sqrt(c2) / c1) / (sqrt(v) + e * sqrt(c2)). Keras computes c2 by a power in float32, of which the
subtraction from 1 leaves five digits; expm1 leaves all.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


def corrections(optimizer: keras.optimizers.Adam, dtype: str) -> tuple[Any, Any]:
    """c1 and sqrt(c2) of the step that is being taken."""
    step = ops.cast(optimizer.iterations + 1, dtype)
    first, second = (
        -ops.expm1(step * (math.log(beta) if beta else -math.inf))
        for beta in (optimizer.beta_1, optimizer.beta_2)
    )
    return first, ops.sqrt(second)


class Adam(keras.optimizers.Adam):
    """The native optimizer with another update step."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable, in the native step's own operations."""
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        first, root = corrections(self, variable.dtype)
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        alpha = ops.cast(learning_rate, variable.dtype) * root / first
        self.assign_sub(variable, m * alpha / (ops.sqrt(v) + self.epsilon * root))
