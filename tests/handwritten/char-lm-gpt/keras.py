"""The GPT of two layers as an expert writes it in Keras 3, for comparison with the keras backend.

KERAS_BACKEND=... python keras.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [MODE]

A MODE that ends in `steps` has steps_per_execution. Keras's backend is the one in KERAS_BACKEND.
"""

import json
import math
import os
import sys
from functools import partial
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
            moves = torch._foreach_mul(m, learning_rate * root / first)
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


class WarmCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A line up, then half a cosine down to a tenth."""

    def __call__(self, step):
        done = ops.cast(step, "float32")
        falling = 3e-4 + 2.7e-3 * 0.5 * (1 + ops.cos(math.pi * ops.minimum((done - 60) / 572, 1.0)))
        return ops.where(done < 60, 3e-3 * (done + 1) / 60, falling)


class Positions(layers.Layer):
    """A learnt row added at each place."""

    def build(self, input_shape):
        self.table = self.add_weight(shape=input_shape[1:], name="table")

    def call(self, x):
        return x + self.table


def gpt():
    gelu = partial(keras.activations.gelu, approximate=True)
    embedding = layers.ReversibleEmbedding(33, 64, name="embedding1")
    tokens = keras.Input((64,), dtype="int32")
    x = Positions(name="positions1")(embedding(tokens))
    for block in (1, 2):
        y = layers.LayerNormalization(epsilon=1e-5, name=f"layer_norm{2 * block - 1}")(x)
        attention = layers.MultiHeadAttention(4, 16, name=f"multi_head_attention{block}")
        x = layers.add([x, attention(y, y, use_causal_mask=True)])
        y = layers.LayerNormalization(epsilon=1e-5, name=f"layer_norm{2 * block}")(x)
        y = layers.Dense(256, activation=gelu, name=f"dense{2 * block - 1}")(y)
        x = layers.add([x, layers.Dense(64, name=f"dense{2 * block}")(y)])
    x = layers.LayerNormalization(epsilon=1e-5, name="layer_norm5")(x)
    return keras.Model(tokens, embedding(x, reverse=True))


HEADS = [f"{part}_{kind}" for part in ("query", "key", "value", "output") for kind in ("kernel", "bias")]
TENSORS = {
    layers.ReversibleEmbedding: ["table"],
    Positions: ["table"],
    layers.LayerNormalization: ["scale", "shift"],
    layers.MultiHeadAttention: HEADS,
    layers.Dense: ["kernel", "bias"],
}


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

    model = gpt()
    optimizer = Adam(WarmCosine(), beta_2=0.95, epsilon=1e-8, weight_decay=0.1, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=STEPS_PER_EXECUTION if mode.endswith("steps") else 1,
    )
    with np.load(weights) as given:
        for layer in model.layers:
            tensors = [given[f"model/{layer.name}/{name}"] for name in TENSORS.get(type(layer), [])]
            # Keras has an axis for the heads.
            shaped = zip(tensors, layer.weights, strict=True)
            layer.set_weights([tensor.reshape(variable.shape) for tensor, variable in shaped])

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
