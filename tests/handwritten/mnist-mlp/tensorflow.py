"""The MNIST MLP as an expert writes it in TensorFlow's own ops, to hold the backend against.

    python tensorflow.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [function|xla|loop]

Prints one JSON line: the seconds of each block of STEPS steps, and the mean loss of the last block.
"""

import json
import sys
from pathlib import Path
from time import perf_counter

# This file is named like the package that it imports.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

ROWS = 256


def main() -> None:
    """Warm up with two blocks, time the others."""
    data, order, weights = (Path(path) for path in sys.argv[1:4])
    threads, steps, blocks = (int(number) for number in sys.argv[4:7])
    mode = sys.argv[7] if len(sys.argv) > 7 else "function"
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)

    train_x = tf.constant(np.load(data / "train_x.npy").reshape(-1, 784))
    train_y = tf.constant(np.load(data / "train_y.npy"))
    batches = np.load(order)
    batches = batches.reshape(-1, batches.shape[-1])
    batches = batches[np.arange((blocks + 2) * steps) % len(batches)].reshape(blocks + 2, steps, -1)

    with np.load(weights) as archive:
        variables = [
            tf.Variable(archive[f"model/dense{layer}/{name}"].astype(np.float32))
            for layer in (1, 2, 3)
            for name in ("kernel", "bias")
        ]
    w1, b1, w2, b2, w3, b3 = variables
    first = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    second = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    power1, power2 = tf.Variable(1.0), tf.Variable(1.0)

    def step(indices: tf.Tensor) -> tf.Tensor:
        x, y = tf.gather(train_x, indices), tf.gather(train_y, indices)
        with tf.GradientTape() as tape:
            h = tf.nn.relu(tf.nn.bias_add(tf.linalg.matmul(x, w1), b1))
            h = tf.nn.relu(tf.nn.bias_add(tf.linalg.matmul(h, w2), b2))
            logits = tf.nn.bias_add(tf.linalg.matmul(h, w3), b3)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        gradients = tape.gradient(loss, variables)
        beta1_power, beta2_power = power1 * 0.9, power2 * 0.999
        power1.assign(beta1_power)
        power2.assign(beta2_power)
        # The kernel adds epsilon before the bias correction.
        epsilon = 1e-8 * tf.sqrt(1 - beta2_power)
        for variable, m, v, gradient in zip(variables, first, second, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=beta1_power,
                beta2_power=beta2_power,
                lr=1e-3,
                beta1=0.9,
                beta2=0.999,
                epsilon=epsilon,
                grad=gradient,
            )
        return loss

    def loop(rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        def body(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return number + 1, total + step(rows[number])

        return tf.while_loop(lambda number, _: number < count, body, (tf.constant(0), tf.constant(0.0)))[1]

    batch = batches.shape[-1]
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
