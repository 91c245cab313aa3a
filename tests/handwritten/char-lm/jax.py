"""An LSTM language model as an expert writes it in JAX, Flax NNX and Optax, to hold the backend against.

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

TOKENS, EMBEDDING, UNITS = 33, 32, 128


class LanguageModel(nnx.Module):  # type: ignore[misc]
    """Embedding, LSTM, and logits at each step."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(TOKENS, EMBEDDING, rngs=rngs)
        self.cell = nnx.OptimizedLSTMCell(EMBEDDING, UNITS, rngs=rngs)
        self.dense = nnx.Linear(UNITS, TOKENS, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """(batch, time) to (time, batch, tokens)."""
        zeros = jnp.zeros((len(tokens), UNITS))
        _, hidden = jax.lax.scan(lambda *given: self.cell(*given), (zeros, zeros), self.embed(tokens.T))
        return self.dense(hidden)


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
    params = {
        "embed": {"embedding": given["model/embedding1/table"]},
        "cell": {
            "dense_i": {"kernel": given["model/lstm1/kernel"]},
            "dense_h": {"kernel": given["model/lstm1/recurrent_kernel"], "bias": given["model/lstm1/bias"]},
        },
        "dense": {"kernel": given["model/dense1/kernel"], "bias": given["model/dense1/bias"]},
    }
    graphdef = nnx.graphdef(LanguageModel(nnx.Rngs(0)))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(4e-3, eps=1e-8))
    memory = optimizer.init(params)

    def loss_function(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = nnx.merge(graphdef, nnx.State(params))(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y.T).mean()

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
