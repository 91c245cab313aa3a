"""The multilayer perceptron."""

from __future__ import annotations

from harness.spec.layers import Dense, Dropout, Flatten, Layer, ReLU, Shape
from harness.spec.model import Model, sequential


def mlp(shape: Shape, classes: int, *, hidden: tuple[int, ...], dropout: float = 0.0) -> Model:
    """Dense layers of the `hidden` widths with ReLU, each with dropout behind it if any; then logits."""
    layers: list[Layer] = [Flatten()]
    for units in hidden:
        layers += [Dense(units, initializer="he_uniform"), ReLU()]
        if dropout:
            layers.append(Dropout(dropout))
    return sequential(shape, *layers, Dense(classes))
