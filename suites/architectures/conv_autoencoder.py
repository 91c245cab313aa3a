"""A convolutional autoencoder (Masci et al. 2011)."""

from __future__ import annotations

from harness.spec.layers import Conv2D, Conv2DTranspose, ReLU, Shape, Sigmoid
from harness.spec.model import Model, Network


def conv_autoencoder(shape: Shape, *, widths: tuple[int, ...] = (16, 32)) -> Model:
    """A strided convolution for each of `widths`, then transposed ones back up; pixels in [0, 1].

    Height and width must be multiples of 2 to the number of widths.
    """
    net = Network(shape)
    last = "x"
    for width in widths:
        down = Conv2D(width, (3, 3), (2, 2), "same", initializer="he_uniform")
        last = net.chain(last, down, ReLU())
    for width in (*reversed(widths[:-1]), widths[0]):
        up = Conv2DTranspose(width, (3, 3), (2, 2), "same", initializer="he_uniform")
        last = net.chain(last, up, ReLU())
    return net.model(net.chain(last, Conv2D(shape[2], (3, 3), padding="same"), Sigmoid()))
