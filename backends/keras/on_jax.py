"""What the Keras backend asks of JAX itself."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import keras
import numpy as np

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

# `jax.nn.dot_product_attention` takes the softmax in float32 whatever it is given.
EXACT_ATTENTION = False
BatchNormalization = keras.layers.BatchNormalization
Embedding = keras.layers.Embedding
leaky_relu = keras.activations.leaky_relu
gelu = keras.activations.gelu


def configure(setting: Setting) -> None:
    """Threads, precision, full float32, and the one device that is used."""
    # JAX has no call for it: XLA sizes its pool of CPU threads by this variable, once, at the first use.
    os.environ["NPROC"] = str(setting.threads)
    jax.config.update("jax_enable_x64", setting.precision == "float64")
    jax.config.update("jax_default_matmul_precision", "highest")
    kind, _, index = setting.device.partition(":")
    jax.config.update("jax_platforms", "cpu" if kind == "cpu" else f"{kind},cpu")
    jax.config.update("jax_default_device", jax.devices(kind)[int(index or 0)])


def settings() -> dict[str, Any]:
    """What is in force."""
    full = jax.config.jax_default_matmul_precision == "highest"
    return {"threads": int(os.environ["NPROC"]), "float32_matmul": "float32" if full else "tf32"}


def batches(data: tuple[Any, ...], batch_size: int) -> dict[str, Any]:
    """What `fit` and `predict` take, of x, y and sample weights or the first of them: arrays in NumPy, to
    which Keras on JAX turns all arrays.
    """
    return {**dict(zip(("x", "y", "sample_weight"), data, strict=False)), "batch_size": batch_size}


def gradients(model: keras.Model, x: Any, y: Any, weights: Any) -> tuple[float, list[np.ndarray]]:
    """The loss that `fit` uses, and its gradient for each trainable variable."""
    others = [variable.value for variable in model.non_trainable_variables]
    metrics = [variable.value for variable in model.metrics_variables]
    optimizer = [variable.value for variable in model.optimizer.variables]

    def loss_of(trainable: list[jax.Array]) -> Any:
        return model.compute_loss_and_updates(
            trainable, others, metrics, x, y, weights, training=True, optimizer_variables=optimizer
        )

    parameters = [variable.value for variable in model.trainable_variables]
    (loss, _), found = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(parameters)
    return float(loss), [np.array(gradient) for gradient in found]


def compiled(
    function: Callable[..., Any], variables: list[keras.Variable], donates: bool = False
) -> Callable[..., Any]:
    """A function that reads variables, jitted. With `donates` its first argument's memory is used anew."""

    @functools.partial(jax.jit, donate_argnums=(1,) if donates else ())
    def stateless(values: list[jax.Array], *arguments: Any) -> Any:
        with keras.StatelessScope(state_mapping=[*zip(variables, values, strict=True)]):
            return function(*arguments)

    return lambda *arguments: stateless([variable.value for variable in variables], *arguments)


def number(value: int) -> int:
    """An argument of a compiled function, which is not compiled anew for another value."""
    return value


def put(cache: jax.Array, rows: jax.Array, place: jax.Array) -> jax.Array:
    """`cache` (N, places, heads, size) with `rows` (N, 1, heads, size) at a place."""
    return keras.ops.slice_update(cache, (0, place, 0, 0), rows)


def wait(tensors: list[jax.Array]) -> None:
    """Return once the tensors are there."""
    jax.block_until_ready(tensors)


def device_peak_bytes() -> int | None:
    """The allocator's high-water mark on the GPU in use."""
    statistics = jax.config.jax_default_device.memory_stats()
    return int(statistics["peak_bytes_in_use"]) if statistics else None


class Alternating(Updates):
    """Each update as a function of what it moves, without side effects."""

    def train_step(self, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        """All updates in turn."""
        trainable, others, optimizers, metrics = state
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        places = {id(variable): place for place, variable in enumerate(self.trainable_variables)}
        trainable, total = list(trainable), 0.0
        after: list[jax.Array] = []
        for move, optimizer in zip(self.moves, self.optimizer.parts, strict=True):
            moved = [places[id(variable)] for variable in move.moved]
            before = [trainable[place] for place in moved]
            loss_of = functools.partial(self.stateless_loss, move)
            (loss, others), found = jax.value_and_grad(loss_of, has_aux=True)(before, trainable, others, x)
            own = optimizers[len(after) : len(after) + len(optimizer.variables)]
            values, own = optimizer.stateless_apply(own, found, before)
            for place, value in zip(moved, values, strict=True):
                trainable[place] = value
            after += own
            total += loss
        metrics = self.loss_tracker.stateless_update_state(metrics, total)
        return {"loss": self.loss_tracker.stateless_result(metrics)}, (trainable, others, after, metrics)

    def stateless_loss(
        self, move: Move, moved: list[jax.Array], trainable: Any, others: Any, x: Mapping[str, Any]
    ) -> tuple[jax.Array, list[jax.Array]]:
        """The loss of an update for the variables that it moves, and the state that its calls leave."""
        mapping = [
            *zip(self.trainable_variables, trainable, strict=True),
            *zip(self.non_trainable_variables, others, strict=True),
            *zip(move.moved, moved, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss = self.loss_of(move, x)
        return loss, [scope.get_current_value(variable) for variable in self.non_trainable_variables]

    def gradients(self, move: Move, x: Mapping[str, Any]) -> tuple[float, list[np.ndarray]]:
        """The loss of an update and its gradient for each variable that it moves."""
        trainable, others, moved = (
            [variable.value for variable in variables]
            for variables in (self.trainable_variables, self.non_trainable_variables, move.moved)
        )
        loss_of = functools.partial(self.stateless_loss, move)
        (loss, _), found = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(moved, trainable, others, x)
        return float(loss), [np.array(gradient) for gradient in found]
