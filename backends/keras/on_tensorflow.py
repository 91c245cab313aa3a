"""What the Keras backend asks of TensorFlow itself."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.worker.protocol import Setting

from .adam import Adam

__all__ = ["Adam", "BatchNormalization", "batches", "configure", "device_peak_bytes", "gradients", "wait"]

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


def batches(x: Any, y: Any, batch_size: int) -> dict[str, Any]:
    """What `fit` and `predict` take: a `tf.data.Dataset` of batches."""
    split = keras.tree.map_structure(lambda array: array.reshape(-1, batch_size, *array.shape[1:]), (x, y))
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return {"x": tf.data.Dataset.from_tensor_slices(split).with_options(options)}


def gradients(model: keras.Model, x: Any, y: Any) -> tuple[float, list[np.ndarray]]:
    """The loss that `fit` uses, and its gradient for each trainable variable."""
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), training=True)
    found = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return float(loss), [gradient.numpy() for gradient in found]


def wait(model: keras.Model) -> None:
    """Return once the devices are idle."""
    tf.test.experimental.sync_devices()


def device_peak_bytes() -> int | None:
    """The allocator's high-water mark on the GPU in use."""
    if not tf.config.get_visible_devices("GPU"):
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
