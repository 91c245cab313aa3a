"""TensorFlow: its own ops in one `tf.function` a step, through XLA, or many steps in one call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from harness.spec.program import Call, Program, Update, run_calls
from harness.spec.time_first import left_time_first
from harness.worker.protocol import Built, Setting, Tensors

from . import attention as attention
from . import recurrent as recurrent
from . import sequence as sequence
from .decoder import CachedDecoder
from .layers import Graph, Pass, swapped
from .losses import loss_of, penalty_of
from .optimizers import optimizer_of
from .variables import Held

Batch = dict[str, tf.Tensor]

CHUNK = 256
"""Rows of indices that a call in mode `loop` is given; of these it takes as many as it is told."""


VARIABLES = (
    "TF_CPP_",
    "TF_CUDNN_",
    "TF_DETERMINISTIC",
    "TF_ENABLE_",
    "TF_FORCE_",
    "TF_GPU_",
    "TF_NUM_",
    "KERAS_",
)


def build(program: Program, setting: Setting) -> Built:
    """A program with its step as one graph, compiled by XLA or not."""
    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setting.threads)
    # Every contender computes in full float32; TF32 would be a different computation.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if setting.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    for gpu in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return TensorFlowProgram(program, setting)


def settings() -> dict[str, Any]:
    """What is in force."""
    short = tf.config.experimental.tensor_float_32_execution_enabled()
    return {
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "float32_matmul": "tf32" if short else "float32",
    }


@dataclass
class Placed:
    """The arrays of a split on the device, and the graphs that read them."""

    arrays: Batch
    graphs: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def batch(self, indices: tf.Tensor) -> Batch:
        """The examples of these indices."""
        return {name: tf.gather(array, indices) for name, array in self.arrays.items()}


@dataclass(frozen=True)
class Staged:
    """Batches of a split: the indices of each, and the arguments of each call of the training graph."""

    placed: Placed
    batches: list[tf.Tensor]
    calls: list[tuple[tf.Tensor, ...]]


@dataclass(frozen=True)
class Losses:
    """The sum of the losses over the steps of each call."""

    sums: list[tf.Tensor]
    steps: int


class TensorFlowProgram(Built):
    """Variables on one device, and graphs over them for training and evaluation."""

    def __init__(self, program: Program, setting: Setting) -> None:
        self.program = program
        self.looped = setting.mode == "loop"
        self.compiled = setting.mode != "function"
        self.device = setting.device.upper().replace("CUDA", "GPU")
        self.dtype = tf.as_dtype(setting.precision)
        with tf.device(self.device):
            self.models = {name: Graph(model, self.dtype) for name, model in program.models.items()}
            self.held = [
                Held(held.variable, tuple(f"{name}/{tensor}" for tensor in held.names))
                for name, model in self.models.items()
                for held in model.held
            ]
            self.moved = [self._holding(program.moved(update)) for update in program.updates]
            declared = program.parameters()
            self.optimizers = [
                optimizer_of(
                    update.optimizer,
                    [held.variable for held in moved],
                    [declared[held.names[0]] for held in moved],
                )
                for update, moved in zip(program.updates, self.moved, strict=True)
            ]

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Assign in place: the graphs keep their variables."""
        for held in self.held:
            held.assign(tensors)
        for optimizer in self.optimizers:
            optimizer.reset()

    def tensors(self) -> Tensors:
        """Out of every variable; the layouts are the spec's."""
        return {name: tensor for held in self.held for name, tensor in held.apart(held.variable).items()}

    def place(self, arrays: Mapping[str, np.ndarray]) -> Placed:
        """Whole arrays on the device; integers as int64, as a graph takes int32 arguments in host memory."""
        with tf.device(self.device):
            return Placed(
                {
                    name: tf.constant(np.asarray(array), self.dtype if array.dtype.kind == "f" else tf.int64)
                    for name, array in arrays.items()
                }
            )

    def stage(self, placed: Placed, order: np.ndarray) -> Staged:
        """The indices on the device: row by row; in mode `loop`, CHUNK rows and how many of them to take."""
        with tf.device(self.device):
            batches = tf.unstack(tf.constant(order, tf.int64))
            if not self.looped:
                return Staged(placed, batches, [(indices,) for indices in batches])
            calls = []
            for start in range(0, len(order), CHUNK):
                rows = order[start : start + CHUNK]
                chunk = np.pad(rows, ((0, CHUNK - len(rows)), (0, 0)))
                calls.append((tf.constant(chunk, tf.int64), tf.constant(len(rows), tf.int64)))
            return Staged(placed, batches, calls)

    def train(self, staged: Staged) -> Losses:
        """One call a step, or one for many."""
        run = self._graph(staged.placed, "train", staged.calls[0], self._many if self.looped else self._step)
        return Losses([run(*arguments) for arguments in staged.calls], len(staged.batches))

    def mean_loss(self, handle: Losses) -> float:
        """Mean over steps."""
        return float(tf.add_n(handle.sums)) / handle.steps

    def evaluate(self, staged: Staged) -> Tensors:
        """Batch by batch."""
        predict = self._graph(staged.placed, "evaluate", staged.batches[:1], self._predict)
        batches = [predict(indices) for indices in staged.batches]
        outputs = [tf.concat(parts, 0).numpy() for parts in zip(*batches, strict=True)]
        return dict(zip(self.program.outputs, outputs, strict=True))

    def gradients(self, staged: Staged, update: int) -> tuple[float, Tensors]:
        """By the same loss function as `train`, compiled alike."""

        def gradients(placed: Placed, indices: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
            return self._gradients(update, placed.batch(indices))

        graph = self._graph(staged.placed, f"gradients {update}", staged.batches, gradients)
        loss, found = graph(*staged.batches)
        apart: Tensors = {}
        for held, gradient in zip(self.moved[update], found, strict=True):
            apart |= held.apart(gradient)
        return float(loss), apart

    def decoder(self, batch_size: int) -> CachedDecoder:
        """Graphs of its own, compiled as those of training are."""
        name = self.program.generating()[1].model
        return CachedDecoder(
            self.program, self.models[name].owners, batch_size, self.compiled, self.device, self.dtype
        )

    def wait(self) -> None:
        """The CPU works at once; a GPU is waited for."""
        tf.test.experimental.sync_devices()

    def device_peak_bytes(self) -> int | None:
        """The allocator's high-water mark of memory in use."""
        if self.device == "CPU":
            return None
        return int(tf.config.experimental.get_memory_info(self.device)["peak"])

    def _graph(
        self, placed: Placed, name: str, arguments: Sequence[tf.Tensor], function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """The graph of `function(placed, *arguments)`, traced once for a split.

        A concrete function that is called with nothing but indices has the least to do a call.
        """
        if name not in placed.graphs:
            traced = tf.function(
                functools.partial(function, placed),
                input_signature=[tf.TensorSpec(argument.shape, argument.dtype) for argument in arguments],
                autograph=False,
                jit_compile=self.compiled,
            )
            with tf.device(self.device):
                placed.graphs[name] = traced.get_concrete_function()
        return placed.graphs[name]

    def _holding(self, names: Collection[str]) -> list[Held]:
        """The variables of these tensors: those that lie in one are moved and penalized alike."""
        return [held for held in self.held if held.names[0] in names]

    def _run(
        self, calls: tuple[Call, ...], batch: Batch, left: Collection[str] = (), *, training: bool
    ) -> Batch:
        """Every tensor of the calls by name; the first outputs of calls that are `left` so are time first."""
        this = Pass(training, self.compiled)
        models = {call.model for call in calls if call.name in left}

        def call_model(name: str, *inputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return self.models[name](this, *inputs, first_as_it_is=name in models)

        return run_calls(calls, batch, call_model)

    def _loss(self, update: Update, batch: Batch) -> tf.Tensor:
        left = left_time_first(self.program, update)
        values = self._run(update.calls, batch, left, training=True)
        parts = []
        for term in update.terms:
            compared = [values[name] for name in term.inputs]
            if term.inputs[0] in left:
                compared[1:] = map(swapped, compared[1:])
            parts.append(loss_of(term.loss, *compared) * term.weight)
        penalized = self._holding(self.program.penalized(update))
        parts.extend(penalty_of(penalty, held.variable) for penalty in update.penalties for held in penalized)
        return tf.add_n(parts)

    def _gradients(self, update: int, batch: Batch) -> tuple[tf.Tensor, list[tf.Tensor]]:
        moved = [held.variable for held in self.moved[update]]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(moved)
            loss = self._loss(self.program.updates[update], batch)
        return loss, tape.gradient(loss, moved, unconnected_gradients="zero")

    def _step(self, placed: Placed, indices: tf.Tensor) -> tf.Tensor:
        batch = placed.batch(indices)
        losses = []
        for number, optimizer in enumerate(self.optimizers):
            loss, found = self._gradients(number, batch)
            clip_norm = self.program.updates[number].clip_norm
            if clip_norm is not None:
                found, _ = tf.clip_by_global_norm(found, clip_norm)
            optimizer.step(found)
            losses.append(loss)
        return tf.add_n(losses)

    def _many(self, placed: Placed, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        def body(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return number + 1, total + self._step(placed, rows[number])

        start = (tf.constant(0, tf.int64), tf.zeros((), self.dtype))
        return tf.while_loop(lambda number, _: number < count, body, start)[1]

    def _predict(self, placed: Placed, indices: tf.Tensor) -> list[tf.Tensor]:
        values = self._run(self.program.predict, placed.batch(indices), training=False)
        return [values[name] for name in self.program.outputs]
