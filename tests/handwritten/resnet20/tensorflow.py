"""ResNet-20 on 8x8 digits as an expert writes it in TensorFlow's own ops, to hold the backend against.

    python tensorflow.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [function|xla|loop]

Prints one JSON line: the seconds of each block of STEPS steps, and the mean loss of the last block.
"""

import json
import math
import sys
from pathlib import Path
from time import perf_counter

# This file is named like the package that it imports.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

ROWS = 256


class ConvNorm:
    """A convolution without bias, and batch normalization, with the weights of one number."""

    def __init__(self, weights: dict, number: int, stride: int) -> None:
        self.stride = stride
        self.kernel = tf.Variable(weights[f"model/conv2d{number}/kernel"].astype(np.float32))
        filters = self.kernel.shape[-1]
        self.scale = tf.Variable(weights[f"model/batch_norm{number}/scale"].astype(np.float32))
        self.shift = tf.Variable(weights[f"model/batch_norm{number}/shift"].astype(np.float32))
        self.mean = tf.Variable(tf.zeros(filters))
        self.variance = tf.Variable(tf.ones(filters))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """In training: the running statistics move on the way."""
        x = tf.nn.conv2d(x, self.kernel, self.stride, "SAME")
        x, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, self.scale, self.shift, epsilon=1e-5)
        self.mean.assign_sub((self.mean - mean) * 0.1)
        self.variance.assign_sub((self.variance - variance) * 0.1)
        return x


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

    with np.load(weights_file) as archive:
        weights = dict(archive)
    layers = [ConvNorm(weights, 1, 1)]

    def add(stride: int) -> ConvNorm:
        layers.append(ConvNorm(weights, len(layers) + 1, stride))
        return layers[-1]

    strides = [1, 1, 1, 2, 1, 1, 2, 1, 1]
    residual = [(add(2) if stride == 2 else tf.identity, add(stride), add(1)) for stride in strides]
    kernel = tf.Variable(weights["model/dense1/kernel"].astype(np.float32))
    bias = tf.Variable(weights["model/dense1/bias"].astype(np.float32))
    kernels = [*(layer.kernel for layer in layers), kernel]
    variables = [*kernels, bias, *(v for layer in layers for v in (layer.scale, layer.shift))]
    velocities = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    done = tf.Variable(0.0)

    def logits_of(x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.relu(layers[0](x))
        for shortcut, first, second in residual:
            short = shortcut(x)
            x = tf.nn.relu(second(tf.nn.relu(first(x))) + short)
        return tf.nn.bias_add(tf.linalg.matmul(tf.reduce_mean(x, (1, 2)), kernel), bias)

    def rate() -> tf.Tensor:
        before = done.read_value()
        done.assign(before + 1)
        falling = 0.05 * 0.5 * (1 + tf.cos(math.pi * tf.minimum((before - 35) / 315, 1)))
        return tf.where(before < 35, 0.05 * (before + 1) / 35, falling)

    def step(indices: tf.Tensor) -> tf.Tensor:
        x, y = tf.gather(train_x, indices), tf.gather(train_y, indices)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits_of(x)))
        gradients = tape.gradient(loss, variables)
        for number, each in enumerate(kernels):
            gradients[number] += 1e-4 * each
        learning_rate = rate()
        for variable, velocity, gradient in zip(variables, velocities, gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle, accum=velocity.handle, lr=learning_rate, grad=gradient, momentum=0.9
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
