"""Residual networks (He, Zhang, Ren and Sun 2016)."""

from __future__ import annotations

from typing import Literal

from harness.spec.initializers import Initializer
from harness.spec.layers import Add, BatchNorm, Conv2D, Dense, GlobalAvgPool2D, MaxPool2D, ReLU, Shape
from harness.spec.model import Model, Network

EXPANSION = 4
"""Filters at the end of a bottleneck over those inside."""


def resnet(
    shape: Shape,
    classes: int,
    *,
    blocks: tuple[int, ...] = (3, 3, 3),
    width: int = 16,
    block: Literal["basic", "bottleneck"] = "basic",
    stem: Literal["cifar", "imagenet"] = "cifar",
    zero_residual: bool = False,
) -> Model:
    """Stages of residual blocks, each but the first at half the resolution and twice the width.

    The defaults are ResNet-20 of the paper's section 4.2; `blocks` (3, 4, 6, 3), `width` 64, `bottleneck` and
    the `imagenet` stem are ResNet-50 of table 1, strided in its 3 x 3 convolutions as everyone has it today,
    25,557,032 parameters for 1,000 classes. Where the shape changes the shortcut is a 1 x 1 convolution
    (option B), also in ResNet-20, where the paper pads with zeros (option A): of CIFAR-10's it has 272,474
    parameters in place of 269,722, the paper's 0.27 million. With `zero_residual` the last
    scale of each block begins at zero, so that a block begins as its shortcut (Goyal et al. 2017): without it
    the gradient of a net as deep as ResNet-50 explodes towards the stem, and its first steps are chaotic.
    """
    net = Network(shape)
    if stem == "cifar":
        last = _normed(net, "x", width, 3, 1)
    else:
        last = net.add(MaxPool2D((3, 3), (2, 2), "same"), _normed(net, "x", width, 7, 2))
    channels = width
    for stage, count in enumerate(blocks):
        inside = width * 2**stage
        outside = inside if block == "basic" else inside * EXPANSION
        for index in range(count):
            stride = 2 if stage and not index else 1
            short = last
            if stride != 1 or channels != outside:
                short = _normed(net, last, outside, 1, stride, activation=False)
            if block == "basic":
                inner = _normed(net, last, inside, 3, stride)
            else:
                inner = _normed(net, _normed(net, last, inside, 1, 1), inside, 3, stride)
            size = 3 if block == "basic" else 1
            scale: Initializer = "zeros" if zero_residual else "ones"
            deep = _normed(net, inner, outside, size, 1, activation=False, scale=scale)
            last = net.chain(net.add(Add(), deep, short), ReLU())
            channels = outside
    return net.model(net.chain(last, GlobalAvgPool2D(), Dense(classes)))


def _normed(
    net: Network,
    last: str,
    filters: int,
    size: int,
    stride: int,
    activation: bool = True,
    scale: Initializer = "ones",
) -> str:
    convolution = Conv2D(filters, (size, size), (stride, stride), "same", bias=False, initializer="he_normal")
    return net.chain(last, convolution, BatchNorm(initializer=scale), *([ReLU()] if activation else []))
