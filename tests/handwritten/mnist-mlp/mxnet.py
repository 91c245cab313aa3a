"""The MNIST perceptron as a Gluon user would write it by hand, timed: what the backend is held against.

    python mxnet.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [hybrid | naive | imperative]

DATA: a folder with train_x.npy (n, 28, 28, 1) and train_y.npy; ORDER: int32 (epochs, steps, batch); WEIGHTS:
an .npz by canonical names. Prints {"seconds": [each block's], "loss": the last block's mean}.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
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


class Adam(mx.optimizer.Adam):
    """Adam with epsilon after the bias correction."""

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """One step of one parameter."""
        self._update_count(index)
        count = self._index_update_count[index]
        root = math.sqrt(1 - self.beta2**count)
        mean, variance = state
        nd.adam_update(
            weight,
            grad,
            mean,
            variance,
            out=weight,
            lr=self.lr * root / (1 - self.beta1**count),
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon * root,
        )


def main() -> None:
    """Train and print."""
    data, order_file, weights_file, steps, blocks = (sys.argv[index] for index in (1, 2, 3, 5, 6))
    mode = sys.argv[7] if len(sys.argv) > 7 else "hybrid"

    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Flatten(),
        gluon.nn.Dense(128, activation="relu", in_units=784),
        gluon.nn.Dense(64, activation="relu", in_units=128),
        gluon.nn.Dense(10, in_units=64),
    )
    net.initialize()
    with np.load(weights_file) as weights:
        for number, layer in enumerate(list(net)[1:], 1):
            layer.weight.set_data(nd.array(weights[f"model/dense{number}/kernel"].T))
            layer.bias.set_data(nd.array(weights[f"model/dense{number}/bias"]))
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
    if mode != "imperative":
        net.hybridize(static_alloc=True, static_shape=True)
        loss_function.hybridize(static_alloc=True, static_shape=True)
    trainer = gluon.Trainer(net.collect_params(), Adam(learning_rate=1e-3, epsilon=1e-8), kvstore=None)

    x = nd.array(np.load(Path(data) / "train_x.npy"))
    y = nd.array(np.load(Path(data) / "train_y.npy"))
    order = np.load(order_file).reshape(-1, np.load(order_file).shape[-1])
    batch = order.shape[-1]
    per_block = int(steps)
    seconds = []
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
            trainer.step(batch)
            losses.append(loss)
        nd.waitall()
        seconds.append(perf_counter() - start)
    mean = float(nd.concat(*losses, dim=0).mean().asscalar())
    print(json.dumps({"seconds": seconds[2:], "loss": mean}))


if __name__ == "__main__":
    main()
