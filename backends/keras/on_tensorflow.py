"""What the Keras backend asks of TensorFlow itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.worker.protocol import Setting

from .adam import Adam
from .momentum import Momentum
from .updates import Move, Updates

__all__ = [
    "EXACT_ATTENTION",
    "Adam",
    "Alternating",
    "BatchNormalization",
    "Embedding",
    "Momentum",
    "batches",
    "compiled",
    "configure",
    "device_peak_bytes",
    "gelu",
    "gradients",
    "leaky_relu",
    "number",
    "put",
    "settings",
    "wait",
]

EXACT_ATTENTION = True
BatchNormalization = keras.layers.BatchNormalization


def configure(setting: Setting) -> None:
    """Threads, full float32, and the one device that is used."""
    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setting.threads)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    gpus = tf.config.list_physical_devices("GPU")
    used = [gpus[int(setting.device.partition(":")[2])]] if setting.device != "cpu" else []
    if gpus:
        tf.config.set_visible_devices(used, "GPU")
    for gpu in used:
        tf.config.experimental.set_memory_growth(gpu, True)


def settings() -> dict[str, Any]:
    """What is in force."""
    short = tf.config.experimental.tensor_float_32_execution_enabled()
    return {
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "float32_matmul": "tf32" if short else "float32",
    }


def batches(data: tuple[Any, ...], batch_size: int) -> dict[str, Any]:
    """What `fit` and `predict` take, of x, y and sample weights or the first of them: a `tf.data.Dataset` of
    batches.
    """
    split = keras.tree.map_structure(lambda array: array.reshape(-1, batch_size, *array.shape[1:]), data)
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return {"x": tf.data.Dataset.from_tensor_slices(split).with_options(options)}


def gradients(model: keras.Model, x: Any, y: Any, weights: Any) -> tuple[float, list[np.ndarray]]:
    """The loss that `fit` uses, and its gradient for each trainable variable."""
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), weights, training=True)
    found = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return float(loss), [gradient.numpy() for gradient in found]


def compiled(
    function: Callable[..., Any], variables: list[keras.Variable], donates: bool = False
) -> Callable[..., Any]:
    """A function that reads variables, as a graph."""
    return tf.function(function)


def number(value: int) -> tf.Tensor:
    """An argument of a compiled function, which is not compiled anew for another value."""
    return tf.constant(value)


def put(cache: tf.Tensor, rows: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """`cache` (N, places, heads, size) with `rows` (N, 1, heads, size) at a place."""
    return keras.ops.slice_update(cache, (0, place, 0, 0), rows)


def wait(tensors: list[tf.Tensor]) -> None:
    """Return once the devices are idle."""
    tf.test.experimental.sync_devices()


def device_peak_bytes() -> int | None:
    """The allocator's high-water mark on the GPU in use."""
    if not tf.config.get_visible_devices("GPU"):
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def leaky_relu(x: tf.Tensor, negative_slope: float) -> tf.Tensor:
    """Keras's own; in float64 (the proof's alone) without its slope, which is a float32 attribute."""
    if x.dtype == tf.float32:
        return keras.activations.leaky_relu(x, negative_slope)
    return tf.maximum(x * negative_slope, x)


def gelu(x: tf.Tensor, approximate: bool) -> tf.Tensor:
    """Keras's own; in float64 (the proof's alone) without its constants, which come from float32."""
    if x.dtype == tf.float32:
        return keras.activations.gelu(x, approximate)
    if approximate:
        return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


@tf.custom_gradient
def rows_of(table: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    """The tokens' rows. TensorFlow's own gradient of that is `IndexedSlices`, which an optimizer takes for
    something else: moments of rows without a token do not decay, and the norm counts a row once a token.
    """

    def gradient(moved: tf.Tensor) -> tuple[tf.Tensor, None]:
        rows = tf.reshape(moved, (-1, table.shape[1]))
        return tf.math.unsorted_segment_sum(rows, tf.reshape(tokens, (-1,)), table.shape[0]), None

    return tf.gather(table, tokens), gradient


class Embedding(keras.layers.Embedding):
    """The native layer with a dense gradient."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The tokens' rows."""
        return rows_of(tf.convert_to_tensor(self._embeddings.value), inputs)


class Alternating(Updates):
    """Each update by a tape that watches what it moves."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """All updates in turn."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        losses = []
        for move, optimizer in zip(self.moves, self.optimizer.parts, strict=True):
            loss, found = self.loss_and_gradients(move, x)
            optimizer.apply(found, move.moved)
            losses.append(loss)
        self.loss_tracker.update_state(sum(losses))
        return {"loss": self.loss_tracker.result()}

    def loss_and_gradients(self, move: Move, x: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Of one update."""
        watched = [variable.value for variable in move.moved]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            loss = self.loss_of(move, x)
        return loss, tape.gradient(loss, watched)

    def gradients(self, move: Move, x: Any) -> tuple[float, list[np.ndarray]]:
        """The same in NumPy."""
        loss, found = self.loss_and_gradients(move, keras.tree.map_structure(tf.convert_to_tensor, x))
        return float(loss), [gradient.numpy() for gradient in found]
