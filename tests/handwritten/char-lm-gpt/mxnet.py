"""A GPT of characters as a Gluon user would write it by hand, timed: what the backend is held against.

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
from mxnet.gluon import nn  # noqa: E402

HEADS = 4


class Adam(mx.optimizer.Adam):
    """Adam with epsilon after the bias correction, and decoupled decay."""

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """One step of one parameter."""
        self._update_count(index)
        count = self._index_update_count[index]
        root = math.sqrt(1 - self.beta2**count)
        decay = self._get_wd(index)
        if decay:
            weight *= 1 - self.lr * decay
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


def dense(rows: int, columns: int) -> Any:
    """A layer for each step alone."""
    return nn.Dense(columns, flatten=False, in_units=rows)


def gelu(F: Any, x: Any) -> Any:
    """By tanh, of which 1 + tanh(u) is 2 sigmoid(2 u)."""
    root = math.sqrt(8 / math.pi)
    return x * F.sigmoid(x * (F.square(x) * (0.044715 * root) + root))


class Attention(gluon.HybridBlock):
    """Causal attention: query i sees the first i keys, which the softmax takes as lengths."""

    def __init__(self, width: int, time: int, batch: int) -> None:
        super().__init__()
        self.root = math.sqrt(width / HEADS)
        self.query, self.key, self.value, self.output = (dense(width, width) for _ in range(4))
        seen = np.tile(np.arange(1, time + 1), (batch * HEADS, 1))
        self.seen = self.params.get_constant("seen", nd.array(seen, dtype="int32"))

    def hybrid_forward(self, F: Any, x: Any, seen: Any) -> Any:
        """(batch, time, width) to the same."""
        query, key, value = (self.heads(F, part(x)) for part in (self.query, self.key, self.value))
        scores = F.batch_dot(query, key, transpose_b=True)
        shares = F.softmax(scores, seen, axis=2, temperature=self.root, use_length=True)
        found = F.reshape(F.batch_dot(shares, value), shape=(-4, -1, HEADS, 0, 0))
        return self.output(F.reshape(F.transpose(found, axes=(0, 2, 1, 3)), shape=(0, 0, -3)))

    def heads(self, F: Any, x: Any) -> Any:
        """(batch, time, width) to (batch * heads, time, width / heads)."""
        parted = F.transpose(F.reshape(x, shape=(0, 0, -4, HEADS, -1)), axes=(0, 2, 1, 3))
        return F.reshape(parted, shape=(-3, 0, 0))


class Layer(gluon.HybridBlock):
    """Attention and two dense layers, both behind a normalization and with a shortcut."""

    def __init__(self, width: int, time: int, batch: int) -> None:
        super().__init__()
        self.first, self.second = (nn.LayerNorm(epsilon=1e-5, in_channels=width) for _ in range(2))
        self.attention = Attention(width, time, batch)
        self.wide, self.narrow = dense(width, 4 * width), dense(4 * width, width)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """(batch, time, width) to the same."""
        x = x + self.attention(self.first(x))
        return x + self.narrow(gelu(F, self.wide(self.second(x))))


class Training(gluon.HybridBlock):
    """The mean loss of the batch at `index`."""

    def __init__(self, tokens: int, time: int, width: int, batch: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.positions = self.params.get("positions", shape=(1, time, width))
        layers = [Layer(width, time, batch) for _ in range(2)]
        self.stack = nn.HybridSequential()
        self.stack.add(*layers, nn.LayerNorm(epsilon=1e-5, in_channels=width))
        self.logits = nn.Dense(
            tokens, use_bias=False, flatten=False, in_units=width, params=self.embedding.params
        )
        self.loss = gluon.loss.SoftmaxCrossEntropyLoss()

    def hybrid_forward(self, F: Any, index: Any, x: Any, y: Any, positions: Any) -> Any:
        """Of whole arrays (examples, time)."""
        tokens, labels = F.take(x, index), F.take(y, index)
        inner = self.stack(F.broadcast_add(self.embedding(tokens), positions))
        return F.mean(self.loss(self.logits(inner), labels))

    def load(self, weights: Any) -> None:
        """Set the parameters; kernels and tables alone decay."""
        self.embedding.weight.set_data(nd.array(weights["model/embedding1/table"]))
        self.positions.set_data(nd.array(weights["model/positions1/table"][None]))
        *layers, last = self.stack
        norms = [norm for layer in layers for norm in (layer.first, layer.second)]
        for number, norm in enumerate([*norms, last], 1):
            norm.gamma.set_data(nd.array(weights[f"model/layer_norm{number}/scale"]))
            norm.beta.set_data(nd.array(weights[f"model/layer_norm{number}/shift"]))
            norm.gamma.wd_mult = norm.beta.wd_mult = 0.0
        linear = {}
        for number, layer in enumerate(layers, 1):
            for part in ("query", "key", "value", "output"):
                linear[f"multi_head_attention{number}/{part}_"] = getattr(layer.attention, part)
            linear[f"dense{2 * number - 1}/"], linear[f"dense{2 * number}/"] = layer.wide, layer.narrow
        for name, block in linear.items():
            block.weight.set_data(nd.array(weights[f"model/{name}kernel"].T))
            block.bias.set_data(nd.array(weights[f"model/{name}bias"]))
            block.bias.wd_mult = 0.0


def rate(done: int) -> float:
    """The learning rate: warm-up, then half a cosine."""
    if done < 60:
        return 3e-3 * (done + 1) / 60
    return 3e-4 + (3e-3 - 3e-4) * 0.5 * (1 + math.cos(math.pi * min((done - 60) / 572, 1)))


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

    x = nd.array(np.load(Path(data) / "train_x.npy"))
    y = nd.array(np.load(Path(data) / "train_y.npy"))
    order = np.load(order_file).reshape(-1, np.load(order_file).shape[-1])
    with np.load(weights_file) as weights:
        tokens, width = weights["model/embedding1/table"].shape
        training = Training(tokens, x.shape[1], width, order.shape[-1])
        training.initialize()
        training.load(weights)
    if mode != "imperative":
        training.hybridize(static_alloc=True, static_shape=True)
    parameters = [each for each in training.collect_params().values() if each.grad_req != "null"]
    gradients = [parameter.grad() for parameter in parameters]
    optimizer = Adam(learning_rate=rate(0), beta2=0.95, epsilon=1e-8, wd=0.1)
    trainer = gluon.Trainer(parameters, optimizer, kvstore=None)

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
            with autograd.record():
                loss = training(index, x, y)
            loss.backward()
            clip(gradients, 1.0)
            trainer.set_learning_rate(rate(done))
            trainer.step(1)
            losses.append(loss)
            done += 1
        nd.waitall()
        seconds.append(perf_counter() - start)
    mean = float(nd.concat(*losses, dim=0).mean().asscalar())
    print(json.dumps({"seconds": seconds[2:], "loss": mean}))


if __name__ == "__main__":
    main()
