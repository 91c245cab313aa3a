"""An LSTM of characters as a Gluon user would write it by hand, timed: what the backend is held against.

    python mxnet.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [hybrid | naive | imperative]

DATA: a folder with train_x.npy (n, 64) and train_y.npy (n, 64); ORDER: int32 (epochs, steps, batch); WEIGHTS:
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
from mxnet.gluon import nn, rnn  # noqa: E402


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


class Training(gluon.HybridBlock):
    """The mean loss of the batch at `index`: time first, as the fused LSTM reads its steps."""

    def __init__(self, tokens: int, width: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.lstm = rnn.LSTM(units, input_size=width)
        self.lstm.l0_h2h_bias.grad_req = "null"
        self.dense = nn.Dense(tokens, flatten=False, in_units=units)
        self.loss = gluon.loss.SoftmaxCrossEntropyLoss()

    def hybrid_forward(self, F: Any, index: Any, x: Any, y: Any) -> Any:
        """Of whole arrays (examples, time)."""
        tokens, labels = F.transpose(F.take(x, index)), F.transpose(F.take(y, index))
        logits = self.dense(self.lstm(self.embedding(tokens)))
        return F.mean(self.loss(logits, labels))

    def load(self, weights: Any) -> None:
        """Set the parameters. The second bias stays at zero."""
        tensors = {
            self.embedding.weight: weights["model/embedding1/table"],
            self.lstm.l0_i2h_weight: weights["model/lstm1/kernel"].T,
            self.lstm.l0_h2h_weight: weights["model/lstm1/recurrent_kernel"].T,
            self.lstm.l0_i2h_bias: weights["model/lstm1/bias"],
            self.dense.weight: weights["model/dense1/kernel"].T,
            self.dense.bias: weights["model/dense1/bias"],
        }
        for parameter, tensor in tensors.items():
            parameter.set_data(nd.array(tensor))


def clip(gradients: list[Any], most: float) -> None:
    """By their global norm, without a wait."""
    norm = nd.sqrt(nd.sum(nd.multi_sum_sq(*gradients, num_arrays=len(gradients))))
    scale = most / nd.maximum(norm, most)
    for gradient in gradients:
        nd.broadcast_mul(gradient, scale, out=gradient)


def main() -> None:
    """Train and print."""
    data, order_file, weights_file, steps, blocks = (sys.argv[index] for index in (1, 2, 3, 5, 6))
    mode = sys.argv[7] if len(sys.argv) > 7 else "hybrid"

    with np.load(weights_file) as weights:
        tokens, width = weights["model/embedding1/table"].shape
        training = Training(tokens, width, 128)
        training.initialize()
        training.load(weights)
    if mode != "imperative":
        training.hybridize(static_alloc=True, static_shape=True)
    parameters = [each for each in training.collect_params().values() if each.grad_req != "null"]
    gradients = [parameter.grad() for parameter in parameters]
    trainer = gluon.Trainer(parameters, Adam(learning_rate=4e-3, epsilon=1e-8), kvstore=None)

    x = nd.array(np.load(Path(data) / "train_x.npy"))
    y = nd.array(np.load(Path(data) / "train_y.npy"))
    order = np.load(order_file).reshape(-1, np.load(order_file).shape[-1])
    per_block = int(steps)
    seconds = []
    for block in range(int(blocks) + 2):
        chosen = order[(np.arange(per_block) + block * per_block) % len(order)]
        indices = list(nd.array(chosen, dtype="int32"))
        losses = []
        nd.waitall()
        start = perf_counter()
        for index in indices:
            with autograd.record():
                loss = training(index, x, y)
            loss.backward()
            clip(gradients, 1.0)
            trainer.step(1)
            losses.append(loss)
        nd.waitall()
        seconds.append(perf_counter() - start)
    mean = float(nd.concat(*losses, dim=0).mean().asscalar())
    print(json.dumps({"seconds": seconds[2:], "loss": mean}))


if __name__ == "__main__":
    main()
