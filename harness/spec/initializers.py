"""How initial weights are drawn: once, with NumPy, and never by a framework."""

from __future__ import annotations

import math
import zlib
from typing import Literal

import numpy as np

Initializer = Literal["zeros", "ones", "glorot_uniform", "he_uniform", "he_normal", "lecun_normal"]
"""Glorot and Bengio 2010 (glorot), He et al. 2015 (he), LeCun et al. 1998 (lecun)."""


def draw(
    name: str, shape: tuple[int, ...], initializer: Initializer, fan_in: int, fan_out: int, seed: int
) -> np.ndarray:
    """Initial values of one parameter: float64 numbers of `shape`, each representable in float32.

    The stream depends on the seed and the parameter's name alone, so adding a layer leaves the others as
    they were.
    """
    if initializer == "zeros":
        return np.zeros(shape)
    if initializer == "ones":
        return np.ones(shape)
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    if initializer == "glorot_uniform":
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        values = generator.uniform(-limit, limit, shape)
    elif initializer == "he_uniform":
        limit = math.sqrt(6.0 / fan_in)
        values = generator.uniform(-limit, limit, shape)
    else:
        variance = {"he_normal": 2.0, "lecun_normal": 1.0}[initializer] / fan_in
        values = generator.normal(0.0, math.sqrt(variance), shape)
    return values.astype(np.float32).astype(np.float64)
