"""A GPT of two layers as an expert writes it in JAX, Flax NNX and Optax, to hold the backend against.

    python jax.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [jit|scan]

Prints one JSON line: the seconds of each block of STEPS steps, and the mean loss of the last block.
"""

import json
import os
import sys
from functools import partial
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

TOKENS, TIME, WIDTH, LAYERS, HEADS = 33, 64, 64, 2, 4
DEPTH = WIDTH // HEADS


class LayerNorm(nnx.LayerNorm):  # type: ignore[misc]
    """As accurate as with `use_fast_variance=False`, and as fast as without."""

    def __call__(self, x: jax.Array) -> jax.Array:
        deviation = x - x.mean(-1, keepdims=True)
        variance = jnp.square(deviation).mean(-1, keepdims=True)
        return deviation * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...] + self.bias[...]


def attend(query: jax.Array, key: jax.Array, value: jax.Array, **_: Any) -> jax.Array:
    """Causal attention: on the CPU faster than `jax.nn.dot_product_attention`."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * DEPTH**-0.5
    seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return jnp.einsum("bhqk,bkhd->bqhd", nnx.softmax(jnp.where(seen, scores, -jnp.inf)), value)


class Block(nnx.Module):  # type: ignore[misc]
    """Attention and two dense layers, each behind a normalization and beside a shortcut."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm1 = LayerNorm(WIDTH, epsilon=1e-5, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, attention_fn=attend, decode=False, rngs=rngs)
        self.norm2 = LayerNorm(WIDTH, epsilon=1e-5, rngs=rngs)
        self.dense1 = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.dense2 = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.norm1(x))
        return x + self.dense2(nnx.gelu(self.dense1(self.norm2(x)), approximate=True))


class GPT(nnx.Module):  # type: ignore[misc]
    """The embedding's table gives the logits, too."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(TOKENS, WIDTH, rngs=rngs)
        self.positions = nnx.Param(jnp.zeros((TIME, WIDTH)))
        self.blocks = nnx.List([Block(rngs) for _ in range(LAYERS)])
        self.norm = LayerNorm(WIDTH, epsilon=1e-5, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed(tokens) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.embed.attend(self.norm(x))


def params_from(given: dict[str, jax.Array]) -> dict[str, Any]:
    """The weights by their names in the modules."""

    def dense(number: int) -> dict[str, jax.Array]:
        return {name: given[f"model/dense{number}/{name}"] for name in ("kernel", "bias")}

    def norm(number: int) -> dict[str, jax.Array]:
        name = f"model/layer_norm{number}"
        return {"scale": given[f"{name}/scale"], "bias": given[f"{name}/shift"]}

    def attention(number: int) -> dict[str, dict[str, jax.Array]]:
        name = f"model/multi_head_attention{number}"
        heads = {
            part: {
                "kernel": given[f"{name}/{part}_kernel"].reshape(WIDTH, HEADS, DEPTH),
                "bias": given[f"{name}/{part}_bias"].reshape(HEADS, DEPTH),
            }
            for part in ("query", "key", "value")
        }
        kernel = given[f"{name}/output_kernel"].reshape(HEADS, DEPTH, WIDTH)
        return {**heads, "out": {"kernel": kernel, "bias": given[f"{name}/output_bias"]}}

    blocks = {
        block: {
            "norm1": norm(2 * block + 1),
            "attention": attention(block + 1),
            "norm2": norm(2 * block + 2),
            "dense1": dense(2 * block + 1),
            "dense2": dense(2 * block + 2),
        }
        for block in range(LAYERS)
    }
    return {
        "embed": {"embedding": given["model/embedding1/table"]},
        "positions": given["model/positions1/table"],
        "blocks": blocks,
        "norm": norm(2 * LAYERS + 1),
    }


def rate(done: jax.Array) -> jax.Array:
    """The learning rate: warm-up, then half a cosine."""
    falling = 3e-4 + 2.7e-3 * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum((done - 60) / 572, 1)))
    return jnp.where(done < 60, 3e-3 * (done + 1) / 60, falling)


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

    with np.load(weights) as archive:
        given = {name: jnp.array(archive[name], jnp.float32) for name in archive}
    params = params_from(given)
    graphdef = nnx.graphdef(GPT(nnx.Rngs(0)))
    decayed = jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in ("bias", "scale"), params)
    adam = optax.adamw(rate, b2=0.95, eps=1e-8, weight_decay=0.1, mask=decayed)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), adam)
    memory = optimizer.init(params)

    def loss_function(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = nnx.merge(graphdef, nnx.State(params))(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(params: Any, memory: Any, x: jax.Array, y: jax.Array, indices: jax.Array) -> Any:
        loss, gradient = jax.value_and_grad(loss_function)(params, x[indices], y[indices])
        updates, memory = optimizer.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory, loss

    @partial(jax.jit, donate_argnums=(0, 1))
    def scan(params: Any, memory: Any, x: jax.Array, y: jax.Array, rows: jax.Array) -> Any:
        def body(carry: Any, indices: jax.Array) -> Any:
            params, memory = carry
            params, memory, loss = step(params, memory, x, y, indices)
            return (params, memory), loss

        (params, memory), losses = jax.lax.scan(body, (params, memory), rows)
        return params, memory, losses

    one = jax.jit(step, donate_argnums=(0, 1))
    seconds = []
    for rows in batches:
        staged = jax.block_until_ready(
            jnp.array(rows) if mode == "scan" else [jnp.array(row) for row in rows]
        )
        start = perf_counter()
        if mode == "scan":
            params, memory, losses = scan(params, memory, train_x, train_y, staged)
        else:
            losses = []
            for indices in staged:
                params, memory, loss = one(params, memory, train_x, train_y, indices)
                losses.append(loss)
        jax.block_until_ready((params, memory, losses))
        seconds.append(perf_counter() - start)
    print(json.dumps({"seconds": seconds[2:], "loss": float(np.mean(jax.device_get(losses)))}))


if __name__ == "__main__":
    main()
