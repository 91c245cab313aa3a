"""The framework below Keras, which KERAS_BACKEND names: what differs between the three."""

from __future__ import annotations

import importlib
from typing import Any

import keras

framework: Any = importlib.import_module(f".on_{keras.backend.backend()}", __package__)
