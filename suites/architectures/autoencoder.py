"""The dense autoencoder (Hinton and Salakhutdinov 2006), trained whole."""

from __future__ import annotations

import math

from harness.spec.layers import Dense, Flatten, Layer, ReLU, Reshape, Shape, Sigmoid
from harness.spec.model import Model, Network


def autoencoder(shape: Shape, *, hidden: tuple[int, ...], code: int) -> Model:
    """Dense layers of the `hidden` widths down to a linear code and, mirrored, up again; pixels in [0, 1].

    Two outputs: the reconstruction, in the shape of the input, and the code.
    """
    net = Network(shape)
    middle = net.chain("x", Flatten(), *_widths(hidden), Dense(code))
    grown = net.chain(middle, *_widths(tuple(reversed(hidden))))
    return net.model(net.chain(grown, Dense(math.prod(shape)), Sigmoid(), Reshape(tuple(shape))), middle)


def _widths(widths: tuple[int, ...]) -> list[Layer]:
    return [layer for width in widths for layer in (Dense(width, initializer="he_uniform"), ReLU())]
