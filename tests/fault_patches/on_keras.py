"""Faults inside the Keras backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras


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
