"""ResNet-20 on 8x8 digits as an expert writes it in JAX, Flax NNX and Optax, to hold the backend against.

    python jax.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [jit|scan]

Prints one JSON line: the seconds of each block of STEPS steps, and the mean loss of the last block.
"""

import json
import os
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

# This file is named like the package that it imports.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
os.environ["NPROC"] = sys.argv[4]

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from flax import nnx  # noqa: E402


class ConvNorm(nnx.Module):  # type: ignore[misc]
    """A convolution without bias, and batch normalization."""

    def __init__(self, channels: int, filters: int, size: int, stride: int, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(channels, filters, (size, size), stride, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(filters, momentum=0.9, epsilon=1e-5, use_fast_variance=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


class Block(nnx.Module):  # type: ignore[misc]
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, filters: int, stride: int, rngs: nnx.Rngs) -> None:
        self.shortcut = ConvNorm(channels, filters, 1, stride, rngs) if stride > 1 else None
        self.first = ConvNorm(channels, filters, 3, stride, rngs)
        self.second = ConvNorm(filters, filters, 3, 1, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        short = x if self.shortcut is None else self.shortcut(x)
        return nnx.relu(self.second(nnx.relu(self.first(x))) + short)


class ResNet20(nnx.Module):  # type: ignore[misc]
    """Three stages of three blocks."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        widths = [16] * 4 + [32] * 3 + [64] * 3
        self.stem = ConvNorm(1, 16, 3, 1, rngs)
        self.blocks = nnx.List([Block(a, b, 1 if a == b else 2, rngs) for a, b in pairwise(widths)])
        self.dense = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.dense(x.mean((1, 2)))

    def layers(self) -> list[ConvNorm]:
        """In the order of the weights."""
        inside = [layer for block in self.blocks for layer in (block.shortcut, block.first, block.second)]
        return [self.stem, *(layer for layer in inside if layer is not None)]


def rate(done: jax.Array) -> jax.Array:
    """The learning rate: warm-up, then half a cosine."""
    falling = 0.05 * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum((done - 35) / 315, 1)))
    return jnp.where(done < 35, 0.05 * (done + 1) / 35, falling)


def main() -> None:
    """Warm up with two blocks, time the others."""
    data, order, weights = (Path(path) for path in sys.argv[1:4])
    steps, blocks = (int(number) for number in sys.argv[5:7])
    mode = sys.argv[7] if len(sys.argv) > 7 else "jit"

    train_x = jnp.array(np.load(data / "train_x.npy"))
    train_y = jnp.array(np.load(data / "train_y.npy"))
    batches = np.load(order)
    batches = batches.reshape(-1, batches.shape[-1])
    batches = batches[np.arange((blocks + 2) * steps) % len(batches)].reshape(blocks + 2, steps, -1)

    model = ResNet20(nnx.Rngs(0))
    with np.load(weights) as given:
        for number, layer in enumerate(model.layers(), 1):
            layer.conv.kernel = nnx.Param(jnp.array(given[f"model/conv2d{number}/kernel"], jnp.float32))
            layer.norm.scale = nnx.Param(jnp.array(given[f"model/batch_norm{number}/scale"], jnp.float32))
            layer.norm.bias = nnx.Param(jnp.array(given[f"model/batch_norm{number}/shift"], jnp.float32))
        model.dense.kernel = nnx.Param(jnp.array(given["model/dense1/kernel"], jnp.float32))
        model.dense.bias = nnx.Param(jnp.array(given["model/dense1/bias"], jnp.float32))
    graphdef, params, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)
    params, statistics = nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)
    decayed = jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
    optimizer = optax.chain(optax.add_decayed_weights(1e-4, decayed), optax.sgd(rate, 0.9))
    memory = optimizer.init(params)

    def loss_function(params: Any, statistics: Any, x: jax.Array, y: jax.Array) -> Any:
        model = nnx.merge(graphdef, nnx.State(params), nnx.State(statistics))
        logits = model(x)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    def step(state: Any, x: jax.Array, y: jax.Array, indices: jax.Array) -> Any:
        params, statistics, memory = state
        differentiated = jax.value_and_grad(loss_function, has_aux=True)
        (loss, statistics), gradient = differentiated(params, statistics, x[indices], y[indices])
        updates, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), statistics, memory), loss

    @partial(jax.jit, donate_argnums=0)
    def scan(state: Any, x: jax.Array, y: jax.Array, rows: jax.Array) -> Any:
        return jax.lax.scan(lambda state, indices: step(state, x, y, indices), state, rows)

    one = jax.jit(step, donate_argnums=0)
    state = (params, statistics, memory)
    seconds = []
    for rows in batches:
        staged = jax.block_until_ready(
            jnp.array(rows) if mode == "scan" else [jnp.array(row) for row in rows]
        )
        start = perf_counter()
        if mode == "scan":
            state, losses = scan(state, train_x, train_y, staged)
        else:
            losses = []
            for indices in staged:
                state, loss = one(state, train_x, train_y, indices)
                losses.append(loss)
        jax.block_until_ready((state, losses))
        seconds.append(perf_counter() - start)
    print(json.dumps({"seconds": seconds[2:], "loss": float(np.mean(jax.device_get(losses)))}))


if __name__ == "__main__":
    main()
