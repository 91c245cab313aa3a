"""The LSTM language model as an expert writes it in Keras 3, for comparison with the keras backend.

KERAS_BACKEND=... python keras.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [MODE]

A MODE that ends in `steps` has steps_per_execution. Keras's backend is the one in KERAS_BACKEND.
"""

import json
import math
import os
import sys
from pathlib import Path
from time import perf_counter

# This script has the name of the framework, so its folder must not be looked into.
sys.path.pop(0)
# XLA sizes its pool of threads by this variable.
os.environ["NPROC"] = sys.argv[4]

import keras
import numpy as np
from keras import layers, ops

STEPS_PER_EXECUTION = 50
backend = keras.backend.backend()


def corrections(adam):
    step = ops.cast(adam.iterations + 1, "float32")
    first = -ops.expm1(step * math.log(adam.beta_1))
    second = -ops.expm1(step * math.log(adam.beta_2))
    return first, ops.sqrt(second)


if backend == "torch":
    import torch
    from keras.src.backend.torch.optimizers import torch_adam

    class Adam(torch_adam.Adam):
        """Epsilon after the bias correction."""

        def _parallel_update_step(self, grads, variables, learning_rate):
            m = [self._momentums[self._get_variable_index(v)].value for v in variables]
            s = [self._velocities[self._get_variable_index(v)].value for v in variables]
            first, root = corrections(self)
            torch._foreach_mul_(m, self.beta_1)
            torch._foreach_add_(m, grads, alpha=1 - self.beta_1)
            torch._foreach_mul_(s, self.beta_2)
            torch._foreach_addcmul_(s, grads, grads, value=1 - self.beta_2)
            scale = torch._foreach_sqrt(s)
            torch._foreach_add_(scale, self.epsilon * root)
            moves = torch._foreach_mul(m, learning_rate.value * root / first)
            torch._foreach_div_(moves, scale)
            torch._foreach_sub_([v.value for v in variables], moves)

else:
    if backend == "tensorflow":
        import tensorflow as tf

    class Adam(keras.optimizers.Adam):
        """Epsilon after the bias correction."""

        def apply(self, grads, trainable_variables=None):
            # TensorFlow's gradient of a table has a slice for each token, whose norm is not the sum's.
            if backend == "tensorflow":
                grads = [tf.convert_to_tensor(gradient) for gradient in grads]
            super().apply(grads, trainable_variables)

        def update_step(self, gradient, variable, learning_rate):
            index = self._get_variable_index(variable)
            m, s = self._momentums[index], self._velocities[index]
            first, root = corrections(self)
            self.assign_add(m, (gradient - m) * (1 - self.beta_1))
            self.assign_add(s, (ops.square(gradient) - s) * (1 - self.beta_2))
            alpha = ops.cast(learning_rate, "float32") * root / first
            self.assign_sub(variable, m * alpha / (ops.sqrt(s) + self.epsilon * root))


def wait(model):
    if backend == "jax":
        import jax

        jax.block_until_ready([v.value for v in model.variables])
    elif backend == "tensorflow":
        tf.test.experimental.sync_devices()


def batches(x, y, batch_size):
    if backend == "tensorflow":
        split = x.reshape(-1, batch_size, *x.shape[1:]), y.reshape(-1, batch_size, *y.shape[1:])
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        options.autotune.enabled = False
        return {"x": tf.data.Dataset.from_tensor_slices(split).with_options(options)}
    if backend == "torch":
        return {"x": torch.from_numpy(x), "y": torch.from_numpy(y), "batch_size": batch_size}
    return {"x": x, "y": y, "batch_size": batch_size}


def main():
    data, order, weights = (Path(argument) for argument in sys.argv[1:4])
    threads, steps, blocks = (int(argument) for argument in sys.argv[4:7])
    mode = sys.argv[7] if len(sys.argv) > 7 else "fit"
    if backend == "tensorflow":
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    elif backend == "torch":
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
    x, y = np.load(data / "train_x.npy"), np.load(data / "train_y.npy")
    rows = np.load(order)
    rows = rows.reshape(-1, rows.shape[-1])

    model = keras.Sequential(
        [
            keras.Input((64,), dtype="int32"),
            layers.Embedding(33, 32),
            layers.LSTM(128, return_sequences=True),
            layers.Dense(33),
        ]
    )
    model.compile(
        Adam(4e-3, epsilon=1e-8, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=STEPS_PER_EXECUTION if mode.endswith("steps") else 1,
    )
    names = ["embedding1/table", "lstm1/kernel", "lstm1/recurrent_kernel", "lstm1/bias"]
    names += ["dense1/kernel", "dense1/bias"]
    with np.load(weights) as given:
        model.set_weights([given[f"model/{name}"] for name in names])

    seconds, loss = [], math.nan
    for block in range(2 + blocks):
        chosen = rows[np.arange(block * steps, (block + 1) * steps) % len(rows)]
        staged = batches(x[chosen.ravel()], y[chosen.ravel()], rows.shape[1])
        start = perf_counter()
        history = model.fit(**staged, epochs=1, shuffle=False, verbose=0)
        wait(model)
        seconds.append(perf_counter() - start)
        loss = history.history["loss"][0]
    print(json.dumps({"seconds": seconds[2:], "loss": loss}))


main()
