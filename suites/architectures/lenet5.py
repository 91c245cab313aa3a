"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998) in today's form: ReLU and max pooling."""

from __future__ import annotations

from harness.spec.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Shape
from harness.spec.layers.spatial import Padding
from harness.spec.model import Model, sequential


def lenet5(shape: Shape, classes: int) -> Model:
    """6 and 16 filters of 5 x 5, each with 2 x 2 pooling; then 120, 84 and the classes.

    The paper pads its 28 x 28 digits to 32 x 32: the first convolution is `same`. The second is `valid` as in
    the paper, but for images under 20 pixels, where a 5 x 5 window would leave nothing to pool.
    """
    second: Padding = "valid" if min(shape[:2]) >= 20 else "same"
    return sequential(
        shape,
        Conv2D(6, (5, 5), padding="same", initializer="he_uniform"),
        ReLU(),
        MaxPool2D(),
        Conv2D(16, (5, 5), padding=second, initializer="he_uniform"),
        ReLU(),
        MaxPool2D(),
        Flatten(),
        Dense(120, initializer="he_uniform"),
        ReLU(),
        Dense(84, initializer="he_uniform"),
        ReLU(),
        Dense(classes),
    )
