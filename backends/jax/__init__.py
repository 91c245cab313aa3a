"""JAX: Flax NNX modules and Optax in one jitted step, called for each batch or looped inside XLA."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from harness.spec.program import Program, Update, run_calls
from harness.spec.time_first import left_time_first
from harness.worker.protocol import Built, Decoder, Setting, Tensors

from .decoder import CachedDecoder
from .losses import loss_of, penalty_of
from .models import Models
from .optimizers import by_tensor, clipped, optimizer_of

Arrays = dict[str, Any]
"""Native arrays by name."""
Memory = list[Any]
"""Each update's optimizer state."""
Stepped = tuple[Arrays, Memory, Any]
"""The tensors and the memory after a step, and its loss."""

VARIABLES = ("JAX_", "NPROC")

CHUNK = 1024
"""Rows of indices that one call of the `scan` mode takes at most."""


def build(program: Program, setting: Setting) -> Built:
    """A program whose training step is called for each batch, or looped over many."""
    # JAX has no call for it: XLA sizes its pool of CPU threads by this variable, once, at the first use.
    os.environ["NPROC"] = str(setting.threads)
    platform, _, index = setting.device.partition(":")
    jax.config.update("jax_platforms", "cpu" if platform == "cpu" else f"{platform},cpu")
    jax.config.update("jax_default_device", jax.devices(platform)[int(index or 0)])
    jax.config.update("jax_enable_x64", setting.precision == "float64")
    # Every contender computes in full float32; TF32 would be a different computation.
    jax.config.update("jax_default_matmul_precision", "highest")
    return (ScanProgram if setting.mode == "scan" else JaxProgram)(program, setting)


def settings() -> dict[str, Any]:
    """What is in force."""
    full = jax.config.jax_default_matmul_precision == "highest"
    return {"threads": int(os.environ["NPROC"]), "float32_matmul": "float32" if full else "tf32"}


class JaxProgram(Built):
    """The step is a pure function of a flat dictionary of tensors, whose buffers it takes over.

    That dictionary holds the parameters and running statistics, by their names in the spec, and the counters
    of the modules' random streams.
    """

    def __init__(self, program: Program, setting: Setting) -> None:
        self.program = program
        self.device = jax.config.jax_default_device
        self.dtype = np.dtype(setting.precision)
        self.models = Models(program.models, setting.batch_size)
        self.moved = [program.moved(update) for update in program.updates]
        self.losses = [self._loss_function(update) for update in program.updates]
        self.optimizers = [self._optimizer(update) for update in program.updates]
        self.step = jax.jit(self._step, donate_argnums=(0, 1))
        self.predict = jax.jit(self._predict)
        self.state: Arrays = {}
        self.memory: Memory = []

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """New arrays: the old ones are the step's to overwrite."""
        layouts = self.models.layouts
        given = {name: self._array(layout.to_native(tensors[name])) for name, layout in layouts.items()}
        self.state = {**given, **self.models.fresh_counts()}
        self.memory = [
            optimizer.init({name: self.state[name] for name in moved})
            for optimizer, moved in zip(self.optimizers, self.moved, strict=True)
        ]

    def tensors(self) -> Tensors:
        """Every parameter and running statistic in the spec's layout."""
        layouts = self.models.layouts
        return {name: layout.to_canonical(np.array(self.state[name])) for name, layout in layouts.items()}

    def place(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Whole arrays on the device."""
        placed = {name: self._array(array) for name, array in arrays.items()}
        jax.block_until_ready(placed)
        return placed

    def stage(self, placed: Arrays, order: np.ndarray) -> Any:
        """The indices of each batch on the device."""
        # A copy, as in `_array`; one call for all: an array at a time takes as long as a small step.
        return placed, jax.block_until_ready(jax.device_put([*np.array(order, np.int32)]))

    def train(self, staged: Any) -> Any:
        """One call of the jitted step for each batch."""
        arrays, order = staged
        losses = []
        for indices in order:
            self.state, self.memory, loss = self.step(self.state, self.memory, arrays, indices)
            losses.append(loss)
        return losses

    def mean_loss(self, handle: Any) -> float:
        """Mean over steps; the step has summed over updates."""
        return float(np.mean(jax.device_get(handle), dtype=np.float64))

    def evaluate(self, staged: Any) -> Tensors:
        """Batch by batch."""
        arrays, order, *_ = staged
        batches = jax.device_get([self.predict(self.state, arrays, indices) for indices in order])
        outputs = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        return dict(zip(self.program.outputs, outputs, strict=True))

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        """By the same loss function as `train`."""
        arrays, order, *_ = staged
        gradient = jax.jit(jax.value_and_grad(self.losses[update], has_aux=True))
        moved = {name: self.state[name] for name in self.moved[update]}
        (loss, _), found = gradient(moved, self.state, _batch(arrays, order[0]))
        return float(loss), {
            name: self.models.layouts[name].to_canonical(np.array(value)) for name, value in found.items()
        }

    def decoder(self, batch_size: int) -> Decoder:
        """A decoder of its own copy of the tensors: the step overwrites these."""
        return CachedDecoder(self.program, self.models, {name: jnp.copy(a) for name, a in self.state.items()})

    def wait(self) -> None:
        """Calls are asynchronous on every device; the newest tensors depend on all of them."""
        jax.block_until_ready((self.state, self.memory))

    def device_peak_bytes(self) -> int | None:
        """The allocator's high-water mark of memory in use."""
        return None if self.device.platform == "cpu" else int(self.device.memory_stats()["peak_bytes_in_use"])

    def _array(self, array: np.ndarray) -> Any:
        # A copy: JAX may share a NumPy array's memory, which here can be a mapped file.
        return jnp.array(array, dtype=self.dtype if array.dtype.kind == "f" else np.int32)

    def _loss_function(self, update: Update) -> Callable[..., Any]:
        terms = [(loss_of(term.loss), term.inputs, term.weight) for term in update.terms]
        penalties = [penalty_of(penalty) for penalty in update.penalties]
        penalized = self.program.penalized(update)
        turned = left_time_first(self.program, update)
        as_they_are = {call.model for call in update.calls if call.name in turned}

        def compared(values: Arrays, inputs: tuple[str, ...]) -> list[Any]:
            first, *others = [values[name] for name in inputs]
            return [first, *[value.swapaxes(0, 1) if inputs[0] in turned else value for value in others]]

        def loss(moved: Arrays, state: Arrays, batch: Arrays) -> tuple[Any, Arrays]:
            """The loss, and the tensors that the layers themselves have changed."""
            call_model, changed = self.models.training({**state, **moved}, as_they_are)
            values = run_calls(update.calls, batch, call_model)
            parts = [function(*compared(values, inputs)) * weight for function, inputs, weight in terms]
            parts.extend(penalty(moved[name]) for penalty in penalties for name in penalized)
            return sum(parts[1:], parts[0]), changed()

        return loss

    def _optimizer(self, update: Update) -> optax.GradientTransformation:
        parameters = self.program.parameters()
        rules = {name: update.optimizer.of(parameters[name]) for name in self.program.moved(update)}
        return clipped(by_tensor(rules, optimizer_of), update.clip_norm)

    def _step(self, state: Arrays, memory: Memory, arrays: Arrays, indices: Any) -> Stepped:
        batch = _batch(arrays, indices)
        memory = list(memory)
        losses = []
        for number, optimizer in enumerate(self.optimizers):
            moved = {name: state[name] for name in self.moved[number]}
            differentiated = jax.value_and_grad(self.losses[number], has_aux=True)
            (loss, changed), gradient = differentiated(moved, state, batch)
            changes, memory[number] = optimizer.update(gradient, memory[number], moved)
            state = {**state, **changed, **optax.apply_updates(moved, changes)}
            losses.append(loss)
        return state, memory, sum(losses[1:], losses[0])

    def _predict(self, state: Arrays, arrays: Arrays, indices: Any) -> tuple[Any, ...]:
        call_model = self.models.evaluation(state)
        values = run_calls(self.program.predict, _batch(arrays, indices), call_model)
        return tuple(values[name] for name in self.program.outputs)


class ScanProgram(JaxProgram):
    """Up to CHUNK steps in one call: a loop inside XLA whose number of turns is an argument, so that any
    number of steps is the same compiled program.
    """

    def __init__(self, program: Program, setting: Setting) -> None:
        super().__init__(program, setting)
        self.steps = jax.jit(self._steps, donate_argnums=(0, 1))

    def stage(self, placed: Arrays, order: np.ndarray) -> Any:
        """The indices of each batch, for `evaluate`, and for `train` all of them in chunks of CHUNK, the last
        one filled up, with the number of steps in each.
        """
        chunks = []
        for start in range(0, len(order), CHUNK):
            rows = np.zeros((CHUNK, order.shape[1]), np.int32)
            part = order[start : start + CHUNK]
            rows[: len(part)] = part
            chunks.append((self._array(rows), self._array(np.asarray(len(part)))))
        return *super().stage(placed, order), jax.block_until_ready(chunks)

    def train(self, staged: Any) -> Any:
        """One call for each chunk."""
        arrays, _, chunks = staged
        losses = []
        for rows, count in chunks:
            self.state, self.memory, found = self.steps(self.state, self.memory, arrays, rows, count)
            losses.append((found, count))
        return losses

    def mean_loss(self, handle: Any) -> float:
        """Mean over the steps that were taken."""
        return super().mean_loss(np.concatenate([losses[:count] for losses, count in jax.device_get(handle)]))

    def _steps(self, state: Arrays, memory: Memory, arrays: Arrays, rows: Any, count: Any) -> Stepped:
        def body(index: Any, carry: Stepped) -> Stepped:
            state, memory, losses = carry
            state, memory, loss = self._step(state, memory, arrays, rows[index])
            return state, memory, losses.at[index].set(loss)

        start = state, memory, jnp.zeros(len(rows), self.dtype)
        stepped: Stepped = jax.lax.fori_loop(0, count, body, start)
        return stepped


def _batch(arrays: Arrays, indices: Any) -> Arrays:
    return {name: array[indices] for name, array in arrays.items()}
