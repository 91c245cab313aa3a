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


def dcgan(shape: Shape, *, noise: int = 64, width: int = 32, depth: int = 2) -> dict[str, Model]:
    """A `generator` from (noise,) to an image in [0, 1] and a `discriminator` from an image to one logit.

    `depth` strided convolutions down and as many transposed ones up, of `width` filters next to the image and
    twice as many with each step away from it: height and width must be multiples of 2 to the `depth`. With
    noise 100, width 128 and depth 4 at 64 x 64 the generator is the paper's, but for its tanh, which is a
    sigmoid here, as images are in [0, 1].
    """
    rows, columns, channels = shape[0] // 2**depth, shape[1] // 2**depth, shape[2]
    widths = [width * 2**step for step in range(depth)]
    generator: list[Layer] = [
        Dense(rows * columns * widths[-1], bias=False),
        Reshape((rows, columns, widths[-1])),
        BatchNorm(),
        ReLU(),
    ]
    for filters in reversed(widths[:-1]):
        generator += [Conv2DTranspose(filters, (4, 4), (2, 2), "same", bias=False), BatchNorm(), ReLU()]
    generator += [Conv2DTranspose(channels, (4, 4), (2, 2), "same"), Sigmoid()]
    discriminator: list[Layer] = [Conv2D(width, (4, 4), (2, 2), "same"), LeakyReLU(0.2)]
    for filters in widths[1:]:
        convolution = Conv2D(filters, (4, 4), (2, 2), "same", bias=False)
        discriminator += [convolution, BatchNorm(), LeakyReLU(0.2)]
    discriminator += [Flatten(), Dense(1)]
    return {"generator": sequential((noise,), *generator), "discriminator": sequential(shape, *discriminator)}
