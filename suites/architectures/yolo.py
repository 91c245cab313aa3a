"""A single-stage detector on a grid, after YOLOv2 (Redmon and Farhadi 2017)."""

from __future__ import annotations

from harness.spec.layers import BatchNorm, Conv2D, LeakyReLU, MaxPool2D, Shape
from harness.spec.model import Model, Network


def yolo(
    shape: Shape, classes: int, *, anchors: int, widths: tuple[int, ...] = (16, 32, 64, 128, 256)
) -> Model:
    """A 3 x 3 convolution and a halving for each of `widths`, two more convolutions of the last width, and
    5 + classes numbers an anchor for each place of the grid that is left. At 416 pixels with the widths (32,
    64, 128, 256, 512) the grid is YOLOv2's, 13 x 13. The backbone is not: that is Darknet-19, with eighteen
    convolutions of up to 1,024 filters, and a passthrough from a grid twice as fine.
    """
    net = Network(shape)
    last = "x"
    for width in widths:
        last = net.add(MaxPool2D(), _normed(net, last, width))
    for _ in range(2):
        last = _normed(net, last, widths[-1])
    return net.model(net.add(Conv2D(anchors * (5 + classes), (1, 1)), last))


def _normed(net: Network, last: str, filters: int) -> str:
    convolution = Conv2D(filters, (3, 3), padding="same", bias=False, initializer="he_normal")
    return net.chain(last, convolution, BatchNorm(), LeakyReLU(0.1))
