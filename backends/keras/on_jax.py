"""What the Keras backend asks of JAX itself."""

from __future__ import annotations

import os
from typing import Any

import jax
import keras
import numpy as np

from harness.worker.protocol import Setting

from .adam import Adam

__all__ = ["Adam", "BatchNormalization", "batches", "configure", "device_peak_bytes", "gradients", "wait"]

BatchNormalization = keras.layers.BatchNormalization


def configure(setting: Setting) -> None:
    """Threads, precision, full float32, and the one device that is used."""
    # JAX has no call for it: XLA sizes its pool of CPU threads by this variable, once, at the first use.
    os.environ["NPROC"] = str(setting.threads)
    jax.config.update("jax_enable_x64", setting.precision == "float64")
    jax.config.update("jax_default_matmul_precision", "highest")
    kind, _, index = setting.device.partition(":")
    jax.config.update("jax_platforms", "cpu" if kind == "cpu" else f"{kind},cpu")
    jax.config.update("jax_default_device", jax.devices(kind)[int(index or 0)])


def batches(x: Any, y: Any, batch_size: int) -> dict[str, Any]:
    """What `fit` and `predict` take: arrays in NumPy, to which Keras on JAX turns all arrays."""
    return {"x": x, "y": y, "batch_size": batch_size}


def gradients(model: keras.Model, x: Any, y: Any) -> tuple[float, list[np.ndarray]]:
    """The loss that `fit` uses, and its gradient for each trainable variable."""
    others = [variable.value for variable in model.non_trainable_variables]
    metrics = [variable.value for variable in model.metrics_variables]
    optimizer = [variable.value for variable in model.optimizer.variables]

    def loss_of(trainable: list[jax.Array]) -> Any:
        return model.compute_loss_and_updates(
            trainable, others, metrics, x, y, None, training=True, optimizer_variables=optimizer
        )

    parameters = [variable.value for variable in model.trainable_variables]
    (loss, _), found = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(parameters)
    return float(loss), [np.array(gradient) for gradient in found]


def wait(model: keras.Model) -> None:
    """Return once the variables have their values."""
    jax.block_until_ready([variable.value for variable in [*model.variables, *model.optimizer.variables]])


def device_peak_bytes() -> int | None:
    """The allocator's high-water mark on the GPU in use."""
    statistics = jax.config.jax_default_device.memory_stats()
    return int(statistics["peak_bytes_in_use"]) if statistics else None
