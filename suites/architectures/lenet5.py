"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998) in today's form: ReLU and max pooling."""

from __future__ import annotations

from harness.spec.layers import (
    ACTIVATIONS,
    ActivationName,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    Shape,
)
from harness.spec.layers.spatial import Padding
from harness.spec.model import Model, sequential


def lenet5(shape: Shape, classes: int, *, activation: ActivationName = "relu", dropout: float = 0.0) -> Model:
    """6 and 16 filters of 5 x 5, each with 2 x 2 pooling; then 120, 84 and the classes. An activation behind
    each but the last, and behind the dense ones dropout if any.

    The paper pads its 28 x 28 digits to 32 x 32: the first convolution is `same`. The second is `valid` as in
    the paper, but for images under 20 pixels, where a 5 x 5 window would leave nothing to pool.
    """
    second: Padding = "valid" if min(shape[:2]) >= 20 else "same"
    layers: list[Layer] = []
    for filters, padding in ((6, "same"), (16, second)):
        convolution = Conv2D(filters, (5, 5), padding=padding, initializer="he_uniform")
        layers += [convolution, ACTIVATIONS[activation], MaxPool2D()]
    layers.append(Flatten())
    for units in (120, 84):
        layers += [Dense(units, initializer="he_uniform"), ACTIVATIONS[activation]]
        if dropout:
            layers.append(Dropout(dropout))
    return sequential(shape, *layers, Dense(classes))
