"""DCGAN (Radford, Metz and Chintala 2016)."""

from __future__ import annotations

from harness.spec.layers import (
    BatchNorm,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Flatten,
    Layer,
    LeakyReLU,
    ReLU,
    Reshape,
    Shape,
    Sigmoid,
)
from harness.spec.model import Model, sequential


def dcgan(shape: Shape, *, noise: int = 64, width: int = 32) -> dict[str, Model]:
    """A `generator` from (noise,) to an image in [0, 1] and a `discriminator` from an image to one logit.

    Two strided convolutions down and two transposed ones up: height and width must be multiples of 4. The
    paper's tanh is a sigmoid here, as images are in [0, 1].
    """
    rows, columns, channels = shape[0] // 4, shape[1] // 4, shape[2]
    generator: list[Layer] = [
        Dense(rows * columns * 2 * width, bias=False),
        Reshape((rows, columns, 2 * width)),
        BatchNorm(),
        ReLU(),
        Conv2DTranspose(width, (4, 4), (2, 2), "same", bias=False),
        BatchNorm(),
        ReLU(),
        Conv2DTranspose(channels, (4, 4), (2, 2), "same"),
        Sigmoid(),
    ]
    discriminator: list[Layer] = [
        Conv2D(width, (4, 4), (2, 2), "same"),
        LeakyReLU(0.2),
        Conv2D(2 * width, (4, 4), (2, 2), "same", bias=False),
        BatchNorm(),
        LeakyReLU(0.2),
        Flatten(),
        Dense(1),
    ]
    return {"generator": sequential((noise,), *generator), "discriminator": sequential(shape, *discriminator)}
