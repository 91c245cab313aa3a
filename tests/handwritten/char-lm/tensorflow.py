"""An LSTM on characters as an expert writes it in TensorFlow's own ops, to hold the backend against.

    python tensorflow.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [function|xla|loop]

Prints one JSON line: the seconds of each block of STEPS steps, and the mean loss of the last block.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

# This file is named like the package that it imports.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

ROWS = 256
UNITS = 128

Scan = Callable[..., list[tf.Tensor]]


@tf.custom_gradient
def looked_up(table: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """The tokens' rows. Their gradient is dense, for the norm and for Adam."""

    def pull(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.math.unsorted_segment_sum(upstream, tokens, table.shape[0]), None

    return tf.gather(table, tokens), pull


def unrolled(body: Callable, given: list[tf.Tensor], widths: tuple[int, ...], way: int) -> list[tf.Tensor]:
    """`body(carry, *step)` for each step of sequences (time, batch, width), forwards (1) or backwards (-1),
    with ops of its own: what it finds, stacked.
    """
    carry = (tf.zeros((given[0].shape[1], UNITS)),) * 2
    found = []
    for step in list(zip(*(tf.unstack(each) for each in given), strict=True))[::way]:
        carry, fresh = body(carry, *step)
        found.append(fresh)
    return [tf.stack(each) for each in zip(*found[::way], strict=True)]


def rolled(body: Callable, given: list[tf.Tensor], widths: tuple[int, ...], way: int) -> list[tf.Tensor]:
    """As `unrolled` in one loop, which XLA compiles once."""
    time, batch, _ = given[0].shape
    arrays = tuple(tf.TensorArray(tf.float32, time, element_shape=(batch, width)) for width in widths)

    def once(number: tf.Tensor, carry: tuple, arrays: tuple) -> tuple:
        step = number if way == 1 else time - 1 - number
        carry, fresh = body(carry, *(each[step] for each in given))
        return number + 1, carry, tuple(array.write(step, x) for array, x in zip(arrays, fresh, strict=True))

    start = (0, (tf.zeros((batch, UNITS)),) * 2, arrays)
    *_, arrays = tf.while_loop(lambda number, *_: number < time, once, start, maximum_iterations=time)
    return [tf.ensure_shape(array.stack(), (time, batch, w)) for array, w in zip(arrays, widths, strict=True)]


def lstm(projected: tf.Tensor, recurrent: tf.Tensor, scan: Scan) -> tf.Tensor:
    """The hidden states (time, batch, units) from x W + b; gates i, f, g, o.

    The gradient is written out: all that the way back does not wait for is done over all steps at once.
    """

    def rows(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, (-1, x.shape[-1]))

    def before(x: tf.Tensor) -> tf.Tensor:
        return tf.concat((tf.zeros_like(x[:1]), x[:-1]), 0)

    @tf.custom_gradient
    def run(projected: tf.Tensor, recurrent: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def forward(carry: tuple, given: tf.Tensor) -> tuple:
            hidden, cell = carry
            i_f, g, o = tf.split(given + tf.linalg.matmul(hidden, recurrent), (2 * UNITS, UNITS, UNITS), 1)
            i, f = tf.split(tf.math.sigmoid(i_f), 2, 1)
            g, o = tf.math.tanh(g), tf.math.sigmoid(o)
            cell = f * cell + i * g
            bent = tf.math.tanh(cell)
            hidden = o * bent
            return (hidden, cell), (hidden, i, f, g, o, cell, bent)

        hidden, i, f, g, o, cell, bent = scan(forward, [projected], (UNITS,) * 7, 1)

        def pull(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            into_cell = tf.raw_ops.TanhGrad(y=bent, dy=o)
            into_gates = (
                tf.raw_ops.SigmoidGrad(y=i, dy=g),
                tf.raw_ops.SigmoidGrad(y=f, dy=before(cell)),
                tf.raw_ops.TanhGrad(y=g, dy=i),
                tf.raw_ops.SigmoidGrad(y=o, dy=bent),
            )

            def backward(
                carry: tuple, d: tf.Tensor, into: tf.Tensor, f: tf.Tensor, *gates: tf.Tensor
            ) -> tuple:
                d_hidden, d_cell = carry
                d_hidden += d
                d_cell += d_hidden * into
                d_gates = (d_cell, d_cell, d_cell, d_hidden)
                found = tf.concat([a * b for a, b in zip(d_gates, gates, strict=True)], 1)
                return (tf.linalg.matmul(found, recurrent, transpose_b=True), d_cell * f), (found,)

            (found,) = scan(backward, [upstream, into_cell, f, *into_gates], (4 * UNITS,), -1)
            return found, tf.linalg.matmul(rows(before(hidden)), rows(found), transpose_a=True)

        return hidden, pull

    return run(projected, recurrent)


def main() -> None:
    """Warm up with two blocks, time the others."""
    data, order, weights = (Path(path) for path in sys.argv[1:4])
    threads, steps, blocks = (int(number) for number in sys.argv[4:7])
    mode = sys.argv[7] if len(sys.argv) > 7 else "function"
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)

    train_x = tf.constant(np.load(data / "train_x.npy"))
    train_y = tf.constant(np.load(data / "train_y.npy"))
    batches = np.load(order)
    batches = batches.reshape(-1, batches.shape[-1])
    batches = batches[np.arange((blocks + 2) * steps) % len(batches)].reshape(blocks + 2, steps, -1)
    batch = batches.shape[-1]

    names = ["embedding1/table", "lstm1/kernel", "lstm1/recurrent_kernel", "lstm1/bias"]
    with np.load(weights) as archive:
        variables = [
            tf.Variable(archive[f"model/{name}"].astype(np.float32))
            for name in [*names, "dense1/kernel", "dense1/bias"]
        ]
    table, kernel, recurrent, bias, out_kernel, out_bias = variables
    first = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    second = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    power1, power2 = tf.Variable(1.0), tf.Variable(1.0)

    def logits_of(tokens: tf.Tensor) -> tf.Tensor:
        """Of each step of each example, time first: (time * batch, tokens)."""
        x = tf.reshape(looked_up(table, tf.transpose(tokens)), (-1, table.shape[1]))
        projected = tf.nn.bias_add(tf.linalg.matmul(x, kernel), bias)
        hidden = lstm(
            tf.reshape(projected, (-1, batch, 4 * UNITS)),
            recurrent,
            unrolled if mode == "function" else rolled,
        )
        return tf.nn.bias_add(tf.linalg.matmul(tf.reshape(hidden, (-1, UNITS)), out_kernel), out_bias)

    def step(indices: tf.Tensor) -> tf.Tensor:
        x, y = tf.gather(train_x, indices), tf.gather(train_y, indices)
        with tf.GradientTape() as tape:
            labels = tf.reshape(tf.transpose(y), [-1])
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits_of(x)))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 1.0)
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
                lr=4e-3,
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
