"""A GPT of two layers as an expert writes it in TensorFlow's own ops, to hold the backend against.

    python tensorflow.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [function|xla|loop]

Prints one JSON line: the seconds of each block of STEPS steps, and the mean loss of the last block.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

# This file is named like the package that it imports.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

ROWS = 256
WIDTH, HEADS = 64, 4


@tf.custom_gradient
def looked_up(table: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """The tokens' rows. Their gradient is dense, for the norm and for Adam."""

    def pull(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.math.unsorted_segment_sum(upstream, tokens, table.shape[0]), None

    return tf.gather(table, tokens), pull


def main() -> None:
    """Warm up with two blocks, time the others."""
    data, order, weights_file = (Path(path) for path in sys.argv[1:4])
    threads, steps, blocks = (int(number) for number in sys.argv[4:7])
    mode = sys.argv[7] if len(sys.argv) > 7 else "function"
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)

    train_x = tf.constant(np.load(data / "train_x.npy"))
    train_y = tf.constant(np.load(data / "train_y.npy"))
    batches = np.load(order)
    batches = batches.reshape(-1, batches.shape[-1])
    batches = batches[np.arange((blocks + 2) * steps) % len(batches)].reshape(blocks + 2, steps, -1)
    batch, time = batches.shape[-1], train_x.shape[1]

    with np.load(weights_file) as archive:
        arrays = {name.removeprefix("model/"): array.astype(np.float32) for name, array in archive.items()}
    # Queries, keys and values of a layer are one product.
    for name in ("multi_head_attention1", "multi_head_attention2"):
        for kind in ("kernel", "bias"):
            parts = [arrays.pop(f"{name}/{part}_{kind}") for part in ("query", "key", "value")]
            arrays[f"{name}/joined_{kind}"] = np.concatenate(parts, -1)
    named = {name: tf.Variable(array) for name, array in arrays.items()}
    variables = list(named.values())
    decays = [name.endswith(("kernel", "table")) for name in named]
    first = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    second = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    done = tf.Variable(0.0)
    mask = tf.constant(np.where(np.tri(time, dtype=bool), 0, -np.inf), tf.float32)
    scales = tf.constant(np.repeat([math.sqrt(HEADS / WIDTH), 1, 1], WIDTH), tf.float32)

    def dense(x: tf.Tensor, name: str, scale: tf.Tensor | float = 1.0) -> tf.Tensor:
        return tf.nn.bias_add(
            tf.linalg.matmul(x, named[f"{name}kernel"] * scale), named[f"{name}bias"] * scale
        )

    def norm(x: tf.Tensor, number: int) -> tf.Tensor:
        deviation = x - tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(tf.square(deviation), -1, keepdims=True)
        normal = deviation * tf.math.rsqrt(variance + 1e-5)
        return normal * named[f"layer_norm{number}/scale"] + named[f"layer_norm{number}/shift"]

    def attention(x: tf.Tensor, number: int) -> tf.Tensor:
        joined = tf.reshape(
            dense(x, f"multi_head_attention{number}/joined_", scales), (batch, time, 3, HEADS, -1)
        )
        queries, keys, values = tf.unstack(tf.transpose(joined, (2, 0, 3, 1, 4)))
        shares = tf.nn.softmax(tf.linalg.matmul(queries, keys, transpose_b=True) + mask)
        found = tf.transpose(tf.linalg.matmul(shares, values), (0, 2, 1, 3))
        return dense(tf.reshape(found, (-1, WIDTH)), f"multi_head_attention{number}/output_")

    def logits_of(tokens: tf.Tensor) -> tf.Tensor:
        table = tf.convert_to_tensor(named["embedding1/table"])
        x = tf.reshape(looked_up(table, tokens) + named["positions1/table"], (-1, WIDTH))
        for number in (1, 2):
            x += attention(norm(x, 2 * number - 1), number)
            inner = tf.nn.gelu(dense(norm(x, 2 * number), f"dense{2 * number - 1}/"), approximate=True)
            x += dense(inner, f"dense{2 * number}/")
        return tf.linalg.matmul(norm(x, 5), table, transpose_b=True)

    def rate(before: tf.Tensor) -> tf.Tensor:
        falling = 3e-4 + 2.7e-3 * 0.5 * (1 + tf.cos(math.pi * tf.minimum((before - 60) / 572, 1)))
        return tf.where(before < 60, 3e-3 * (before + 1) / 60, falling)

    def move(gradients: list[tf.Tensor]) -> None:
        before = done.read_value()
        done.assign(before + 1)
        learning_rate = rate(before)
        beta1_power, beta2_power = tf.pow(0.9, before + 1), tf.pow(0.95, before + 1)
        # The kernel adds epsilon before the bias correction.
        epsilon = 1e-8 * tf.sqrt(1 - beta2_power)
        for variable, decayed, m, v, gradient in zip(
            variables, decays, first, second, gradients, strict=True
        ):
            if decayed:
                variable.assign_sub(variable * (0.1 * learning_rate))
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=beta1_power,
                beta2_power=beta2_power,
                lr=learning_rate,
                beta1=0.9,
                beta2=0.95,
                epsilon=epsilon,
                grad=gradient,
            )

    def step(indices: tf.Tensor) -> tf.Tensor:
        x, y = tf.gather(train_x, indices), tf.gather(train_y, indices)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(y, [-1]), logits_of(x))
            loss = tf.reduce_mean(entropies)
        move(tf.clip_by_global_norm(tape.gradient(loss, variables), 1.0)[0])
        return loss

    def loop(rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        def body(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return number + 1, total + step(rows[number])

        return tf.while_loop(lambda number, _: number < count, body, (tf.constant(0), tf.constant(0.0)))[1]

    if mode == "loop":
        signature = [tf.TensorSpec((ROWS, batch), tf.int32), tf.TensorSpec((), tf.int32)]
    else:
        signature = [tf.TensorSpec((batch,), tf.int32)]
    run = tf.function(
        loop if mode == "loop" else step,
        input_signature=signature,
        autograph=False,
        jit_compile=mode != "function",
    ).get_concrete_function()

    def staged(rows: np.ndarray) -> list[tuple[tf.Tensor, ...]]:
        if mode != "loop":
            return [(indices,) for indices in tf.unstack(tf.constant(rows))]
        parts = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
        return [
            (tf.constant(np.pad(part, ((0, ROWS - len(part)), (0, 0)))), tf.constant(len(part)))
            for part in parts
        ]

    seconds = []
    for rows in batches:
        calls = staged(rows)
        start = perf_counter()
        losses = [run(*arguments) for arguments in calls]
        tf.test.experimental.sync_devices()
        seconds.append(perf_counter() - start)
    print(json.dumps({"seconds": seconds[2:], "loss": float(tf.add_n(losses)) / steps}))


if __name__ == "__main__":
    main()
