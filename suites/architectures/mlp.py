"""The multilayer perceptron."""

from __future__ import annotations

from harness.spec.layers import ACTIVATIONS, ActivationName, Dense, Dropout, Flatten, Layer, Shape
from harness.spec.model import Model, sequential


def mlp(
    shape: Shape,
    classes: int,
    *,
    hidden: tuple[int, ...],
    dropout: float = 0.0,
    activation: ActivationName = "relu",
) -> Model:
    """Dense layers of the `hidden` widths with an activation, each with dropout behind it if any; then a
    logit for each class, or the one value of a regression.
    """
    layers: list[Layer] = [Flatten()]
    for units in hidden:
        layers += [Dense(units, initializer="he_uniform"), ACTIVATIONS[activation]]
        if dropout:
            layers.append(Dropout(dropout))
    return sequential(shape, *layers, Dense(classes))
