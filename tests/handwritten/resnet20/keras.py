"""ResNet-20 on 8x8 digits as an expert writes it in Keras 3, for comparison with the keras backend.

KERAS_BACKEND=... python keras.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [MODE]

A MODE that ends in `steps` has steps_per_execution. Keras's backend is the one in KERAS_BACKEND. The
loss that is printed has the penalties in it, as `fit` reports it.
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

if backend == "torch":
    import torch
    from keras.src.backend.torch.optimizers import torch_sgd

    class Momentum(torch_sgd.SGD):
        """The learning rate outside of the velocity."""

        def _parallel_update_step(self, grads, variables, learning_rate):
            velocities = [self.momentums[self._get_variable_index(v)].value for v in variables]
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, grads)
            moves = torch._foreach_mul(velocities, learning_rate)
            torch._foreach_sub_([v.value for v in variables], moves)

else:

    class Momentum(keras.optimizers.SGD):
        """The learning rate outside of the velocity."""

        def update_step(self, gradient, variable, learning_rate):
            velocity = self.momentums[self._get_variable_index(variable)]
            self.assign(velocity, velocity * self.momentum + gradient)
            self.assign_sub(variable, velocity * ops.cast(learning_rate, variable.dtype))


class WarmCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A line up, then half a cosine down."""

    def __call__(self, step):
        done = ops.cast(step, "float32")
        falling = 0.05 * 0.5 * (1 + ops.cos(math.pi * ops.minimum((done - 35) / 315, 1.0)))
        return ops.where(done < 35, 0.05 * (done + 1) / 35, falling)


numbers = iter(range(1, 22))


def conv(x, filters, size, stride):
    number = next(numbers)
    decay = keras.regularizers.L2(5e-5)
    x = layers.Conv2D(
        filters,
        size,
        stride,
        padding="same",
        use_bias=False,
        kernel_regularizer=decay,
        name=f"conv2d{number}",
    )(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"batch_norm{number}")(x)


def resnet20():
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU()(conv(inputs, 16, 3, 1))
    for filters in (16, 32, 64):
        for block in range(3):
            stride = 2 if filters > 16 and block == 0 else 1
            short = conv(x, filters, 1, 2) if stride == 2 else x
            inner = layers.ReLU()(conv(x, filters, 3, stride))
            x = layers.ReLU()(layers.add([conv(inner, filters, 3, 1), short]))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(10, kernel_regularizer=keras.regularizers.L2(5e-5), name="dense1")(x)
    return keras.Model(inputs, outputs)


def wait(model):
    if backend == "jax":
        import jax

        jax.block_until_ready([v.value for v in model.variables])
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.test.experimental.sync_devices()


def batches(x, y, batch_size):
    if backend == "tensorflow":
        import tensorflow as tf

        split = x.reshape(-1, batch_size, *x.shape[1:]), y.reshape(-1, batch_size)
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
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    elif backend == "torch":
        torch.set_num_threads(threads)
    x, y = np.load(data / "train_x.npy"), np.load(data / "train_y.npy")
    rows = np.load(order)
    rows = rows.reshape(-1, rows.shape[-1])

    model = resnet20()
    model.compile(
        Momentum(WarmCosine(), momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=STEPS_PER_EXECUTION if mode.endswith("steps") else 1,
    )
    with np.load(weights) as given:
        for number in range(1, 22):
            model.get_layer(f"conv2d{number}").set_weights([given[f"model/conv2d{number}/kernel"]])
            parts = ("scale", "shift", "running_mean", "running_variance")
            norm = [given[f"model/batch_norm{number}/{part}"] for part in parts]
            model.get_layer(f"batch_norm{number}").set_weights(norm)
        model.get_layer("dense1").set_weights([given["model/dense1/kernel"], given["model/dense1/bias"]])

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
