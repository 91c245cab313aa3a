"""Learning rates that change, computed where the step runs."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from harness.spec.schedules import Schedule, rate_at


class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the spec as Keras asks for one."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        """The rate after `step` steps."""
        return rate_at(self.schedule, ops.cast(step, keras.config.floatx()), ops)
