"""How initial weights are drawn: once, with NumPy, and never by a framework."""

from __future__ import annotations

import math
import zlib
from typing import Literal

import numpy as np

Initializer = Literal[
    "zeros",
    "ones",
    "glorot_uniform",
    "he_uniform",
    "he_normal",
    "lecun_normal",
    "small_normal",
    "orthogonal",
    "forget_one",
]
"""Glorot and Bengio 2010 (glorot), He et al. 2015 (he), LeCun et al. 1998 (lecun). `small_normal`: standard
deviation 0.02 (Radford et al. 2018). `orthogonal`: of a matrix no taller than wide, orthonormal rows (Saxe et
al. 2014). `forget_one`: an LSTM's bias, 1 for the forget gate, which is the second of four (Jozefowicz et al.
2015).
"""


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
    if initializer == "forget_one":
        return np.repeat([0.0, 1.0, 0.0, 0.0], shape[0] // 4)
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    if initializer == "glorot_uniform":
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        values = generator.uniform(-limit, limit, shape)
    elif initializer == "he_uniform":
        limit = math.sqrt(6.0 / fan_in)
        values = generator.uniform(-limit, limit, shape)
    elif initializer == "small_normal":
        values = generator.normal(0.0, 0.02, shape)
    elif initializer == "orthogonal":
        columns, triangle = np.linalg.qr(generator.normal(size=shape[::-1]))
        values = (columns * np.sign(np.diag(triangle))).T
    else:
        variance = {"he_normal": 2.0, "lecun_normal": 1.0}[initializer] / fan_in
        values = generator.normal(0.0, math.sqrt(variance), shape)
    return values.astype(np.float32).astype(np.float64)
