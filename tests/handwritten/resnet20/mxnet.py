"""ResNet-20 on 8x8 digits as a Gluon user would write it by hand, timed: what the backend is held against.

    python mxnet.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [hybrid | naive | imperative]

DATA: a folder with train_x.npy (n, 8, 8, 1) and train_y.npy; ORDER: int32 (epochs, steps, batch); WEIGHTS:
an .npz by canonical names. Prints {"seconds": [each block's], "loss": the last block's mean}.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

# This file has the framework's name; its folder must not come first.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
os.environ["OMP_NUM_THREADS"] = sys.argv[4]

# MXNet has no call to flush subnormal numbers to zero; threads take the mode of the one that starts them.
floating_point = (ctypes.c_uint32 * 8)()
ctypes.CDLL("libm.so.6").fegetenv(floating_point)
floating_point[7] |= 0x8040
ctypes.CDLL("libm.so.6").fesetenv(floating_point)

import mxnet as mx  # noqa: E402
import numpy as np  # noqa: E402
from mxnet import autograd, gluon, nd  # noqa: E402
from mxnet.gluon import nn  # noqa: E402


class Momentum(mx.optimizer.SGD):
    """MXNet's velocity holds the learning rate; where that changes, the velocity follows."""

    def set_learning_rate(self, lr: float) -> None:
        """The rate of the next step."""
        self.momentum = 0.9 * lr / self.lr if self.lr else 0.0
        self.lr = lr


def pad(F: Any, x: Any) -> Any:
    """One pixel behind: an even image at stride 2 needs none before."""
    return F.pad(x, mode="constant", pad_width=(0, 0, 0, 0, 0, 1, 0, 1))


def conv(channels: int, filters: int, size: int, stride: int) -> Any:
    """A convolution without bias, and batch normalization."""
    uneven = size > 1 and stride > 1
    layer = nn.HybridSequential()
    if uneven:
        layer.add(nn.HybridLambda(pad))
    padding = 0 if uneven else size // 2
    layer.add(nn.Conv2D(filters, size, stride, padding, use_bias=False, in_channels=channels))
    layer.add(nn.BatchNorm(momentum=0.9, epsilon=1e-5, in_channels=filters))
    return layer


class Block(gluon.HybridBlock):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.shortcut = conv(channels, filters, 1, stride) if stride > 1 else None
        self.first = conv(channels, filters, 3, stride)
        self.second = conv(filters, filters, 3, 1)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """The block."""
        short = x if self.shortcut is None else self.shortcut(x)
        inner = F.Activation(self.first(x), act_type="relu")
        return F.Activation(self.second(inner) + short, act_type="relu")

    def layers(self) -> list[Any]:
        """In the order of the weights."""
        return [layer for layer in (self.shortcut, self.first, self.second) if layer is not None]


def rate(done: int) -> float:
    """The learning rate: warm-up, then half a cosine."""
    if done < 35:
        return 0.05 * (done + 1) / 35
    return 0.05 * 0.5 * (1 + math.cos(math.pi * min((done - 35) / 315, 1)))


def main() -> None:
    """Train and print."""
    data, order_file, weights_file, steps, blocks = (sys.argv[index] for index in (1, 2, 3, 5, 6))
    mode = sys.argv[7] if len(sys.argv) > 7 else "hybrid"

    widths = [16] * 4 + [32] * 3 + [64] * 3
    stem, dense = conv(1, 16, 3, 1), nn.Dense(10, in_units=64)
    residual = [Block(a, b, 1 if a == b else 2) for a, b in pairwise(widths)]
    net = nn.HybridSequential()
    net.add(stem, nn.Activation("relu"), *residual, nn.GlobalAvgPool2D(), nn.Flatten(), dense)
    net.initialize()
    with np.load(weights_file) as weights:
        layers = [stem, *(layer for block in residual for layer in block.layers())]
        for number, layer in enumerate(layers, 1):
            convolution, norm = list(layer)[-2:]
            kernel = weights[f"model/conv2d{number}/kernel"].transpose(3, 2, 0, 1)
            convolution.weight.set_data(nd.array(np.ascontiguousarray(kernel)))
            norm.gamma.set_data(nd.array(weights[f"model/batch_norm{number}/scale"]))
            norm.beta.set_data(nd.array(weights[f"model/batch_norm{number}/shift"]))
        dense.weight.set_data(nd.array(weights["model/dense1/kernel"].T))
        dense.bias.set_data(nd.array(weights["model/dense1/bias"]))
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
    if mode != "imperative":
        net.hybridize(static_alloc=True, static_shape=True)
        loss_function.hybridize(static_alloc=True, static_shape=True)
    parameters = net.collect_params()
    # Kernels alone decay.
    for name, parameter in parameters.items():
        if not name.endswith("weight"):
            parameter.wd_mult = 0.0
    optimizer = Momentum(learning_rate=rate(0), momentum=0.9, wd=1e-4)
    trainer = gluon.Trainer(parameters, optimizer, kvstore=None)

    images = np.load(Path(data) / "train_x.npy").transpose(0, 3, 1, 2)
    x = nd.array(np.ascontiguousarray(images))
    y = nd.array(np.load(Path(data) / "train_y.npy"))
    order = np.load(order_file).reshape(-1, np.load(order_file).shape[-1])
    batch = order.shape[-1]
    per_block = int(steps)
    seconds = []
    done = 0
    for block in range(int(blocks) + 2):
        chosen = order[(np.arange(per_block) + block * per_block) % len(order)]
        indices = list(nd.array(chosen, dtype="int32"))
        losses = []
        nd.waitall()
        start = perf_counter()
        for index in indices:
            images, labels = x.take(index), y.take(index)
            with autograd.record():
                loss = loss_function(net(images), labels)
            loss.backward()
            trainer.set_learning_rate(rate(done))
            trainer.step(batch)
            losses.append(loss)
            done += 1
        nd.waitall()
        seconds.append(perf_counter() - start)
    mean = float(nd.concat(*losses, dim=0).mean().asscalar())
    print(json.dumps({"seconds": seconds[2:], "loss": mean}))


if __name__ == "__main__":
    main()
