"""A net that shares out a portfolio."""

from __future__ import annotations

from harness.spec.layers import Dense, Dropout, Flatten, Layer, Shape, Softmax, Tanh
from harness.spec.model import Model, sequential


def policy(shape: Shape, classes: int, *, hidden: tuple[int, ...], dropout: float = 0.0) -> Model:
    """From past returns (steps, assets) by dense layers with tanh to holdings, one an asset, none negative,
    one in all.
    """
    layers: list[Layer] = [Flatten()]
    for units in hidden:
        layers += [Dense(units), Tanh()]
        if dropout:
            layers.append(Dropout(dropout))
    return sequential(shape, *layers, Dense(classes), Softmax())
