"""U-Net (Ronneberger, Fischer and Brox 2015)."""

from __future__ import annotations

from harness.spec.layers import BatchNorm, Concatenate, Conv2D, Conv2DTranspose, MaxPool2D, ReLU, Shape
from harness.spec.model import Model, Network


def unet(shape: Shape, *, depth: int = 4, width: int = 64, outputs: int = 1) -> Model:
    """`depth` halvings and as many doublings, joined by skip connections; logits, `outputs` a pixel.

    As the paper but for `same` padding, so that the mask has the image's size, and batch normalization, whose
    scale and shift stand in place of each 3 x 3 convolution's bias. At the paper's depth and width that makes
    31,037,633 parameters for colour images and one output, 5,888 more than with biases.
    Height and width must be multiples of 2 to the `depth`.
    """
    net = Network(shape)
    skips = []
    last = "x"
    for level in range(depth):
        skips.append(_twice(net, last, width * 2**level))
        last = net.add(MaxPool2D(), skips[-1])
    last = _twice(net, last, width * 2**depth)
    for level in reversed(range(depth)):
        up = net.add(Conv2DTranspose(width * 2**level, (2, 2), (2, 2), "same", initializer="he_normal"), last)
        last = _twice(net, net.add(Concatenate(), skips[level], up), width * 2**level)
    return net.model(net.add(Conv2D(outputs, (1, 1)), last))


def _twice(net: Network, last: str, filters: int) -> str:
    for _ in range(2):
        convolution = Conv2D(filters, (3, 3), padding="same", bias=False, initializer="he_normal")
        last = net.chain(last, convolution, BatchNorm(), ReLU())
    return last
