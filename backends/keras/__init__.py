"""Keras 3: `keras.layers`, `compile` and `fit`, on TensorFlow, JAX or PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import dtypes

from harness.spec.model import Input
from harness.spec.program import Program, run_calls
from harness.worker.protocol import Built, Setting, Tensors, Unsupported

from .decoder import KerasDecoder
from .expressible import compiles, read, used, weighted
from .framework import framework
from .graph import Graph
from .losses import joined, loss_of, parted, regularizer_of
from .lowering import Slot
from .optimizers import decays, optimizer_of
from .updates import Optimizers, plain

VARIABLES = (
    "KERAS_",
    "TF_ENABLE_",
    "TF_NUM_",
    "JAX_",
    "NPROC",
    "TORCH",
    "PYTORCH_",
    "ATEN_",
)

STEPS_PER_EXECUTION = {"tensorflow-steps": 50, "jax-steps": 50}


def build(program: Program, setting: Setting) -> Built:
    """A compiled Keras model."""
    wanted = setting.mode.partition("-")[0]
    found = keras.backend.backend()
    if wanted != found:
        raise Unsupported(f"Keras runs on {found}, mode {setting.mode!r} needs KERAS_BACKEND={wanted}")
    framework.configure(setting)
    keras.config.set_floatx(setting.precision)
    keras.config.set_dtype_policy(setting.precision)
    if setting.precision == "float64":
        # On JAX and PyTorch, Keras's own promotion makes float32 of float64, in tanh and batch normalization.
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    return KerasProgram(program, setting)


def settings() -> dict[str, Any]:
    """What is in force in the framework below."""
    found: dict[str, Any] = framework.settings()
    return found


@dataclass(frozen=True)
class Staged:
    """Batches to come: what `fit` and `predict` are given, and where it came from."""

    arrays: Mapping[str, np.ndarray]
    order: np.ndarray
    batches: dict[str, Any]
    inputs: dict[str, Any]


class KerasProgram(Built):
    """A model that `fit` trains, and one over the same layers for `predict`.

    The first is a functional model with a compiled loss where `compile` has words for the program, and one
    with a training step of its own where it has not.
    """

    def __init__(self, program: Program, setting: Setting) -> None:
        self.program = program
        self.dtype = np.dtype(setting.precision)
        self.compiled = compiles(program)
        # A training step of our own adds the penalties itself.
        regularizer = regularizer_of(program.updates[0].penalties) if self.compiled else None
        self.graphs = {
            name: Graph(model, setting.batch_size, regularizer) for name, model in program.models.items()
        }
        self.optimizers = [optimizer_of(update.optimizer, update.clip_norm) for update in program.updates]
        inputs = _inputs(read(program, *program.predict))
        outputs = run_calls(program.predict, inputs, self._call)
        self.predictor = keras.Model(
            plain([*inputs.values()]), plain([outputs[name] for name in program.outputs])
        )
        self.predicted = list(inputs)
        self.model: Any = (self._functional if self.compiled else self._alternating)(
            steps_per_execution=STEPS_PER_EXECUTION.get(setting.mode, 1)
        )

    def _functional(self, **options: Any) -> keras.Model:
        (update,) = self.program.updates
        inputs = _inputs(read(self.program, *update.calls))
        tensors = run_calls(update.calls, inputs, self._call)
        outputs = [tensors[term.inputs[0]] for term in update.terms]
        losses = [
            loss_of(term.loss, output.shape[1:], weighted(term))
            for term, output in zip(update.terms, outputs, strict=True)
        ]
        weights = [term.weight * weight for term, (_, weight) in zip(update.terms, losses, strict=True)]
        self.trained = list(inputs)
        self.slots = self._slots()
        model = keras.Model(plain([*inputs.values()]), plain(outputs))
        (optimizer,) = self.optimizers
        self._spare_undecayed()
        model.compile(
            optimizer,
            plain([loss for loss, _ in losses]),
            loss_weights=None if set(weights) == {1.0} else plain(weights),
            **options,
        )
        optimizer.build(model.trainable_variables)
        return model

    def _alternating(self, **options: Any) -> keras.Model:
        models = {}
        for name, model in self.program.models.items():
            given = [*_inputs(model.inputs).values()]
            models[name] = keras.Model(plain(given), plain([*self.graphs[name](*given)]))
        self.slots = self._slots()
        variables = {name: variable for name, (variable, _) in self.slots.items()}
        alternating = framework.Alternating(self.program, models, variables)
        self._spare_undecayed()
        alternating.compile(Optimizers(self.optimizers), **options)
        for move, optimizer in zip(alternating.moves, self.optimizers, strict=True):
            optimizer.build(move.moved)
        return alternating

    def _spare_undecayed(self) -> None:
        """Tell the optimizers which variables no decay of weights is for."""
        parameters = self.program.parameters()
        for update, optimizer in zip(self.program.updates, self.optimizers, strict=True):
            moved = self.program.moved(update)
            spared = [self.slots[name][0] for name in moved if not decays(update.optimizer, parameters[name])]
            if spared:
                optimizer.exclude_from_weight_decay(spared)

    def _call(self, name: str, *values: Any) -> tuple[Any, ...]:
        return self.graphs[name](*values)

    def _slots(self) -> dict[str, Slot]:
        return {
            f"{name}/{tensor}": slot
            for name, graph in self.graphs.items()
            for tensor, slot in graph.slots().items()
        }

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Assign in place: the compiled train function stays."""
        for name, (variable, layout) in self.slots.items():
            variable.assign(layout.to_native(tensors[name]).astype(self.dtype))
        for optimizer in self.optimizers:
            rate = optimizer.learning_rate
            for variable in optimizer.variables:
                if variable is not rate:
                    variable.assign(np.zeros(variable.shape, variable.dtype))

    def tensors(self) -> Tensors:
        """Every parameter and state in the spec's layout."""
        return {
            name: layout.to_canonical(np.array(keras.ops.convert_to_numpy(variable)))
            for name, (variable, layout) in self.slots.items()
        }

    def place(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Whole arrays in NumPy, as `fit` takes them."""
        return {
            name: np.asarray(array, dtype=self.dtype if array.dtype.kind == "f" else np.int32)
            for name, array in arrays.items()
        }

    def stage(self, placed: dict[str, np.ndarray], order: np.ndarray) -> Staged:
        """The examples in their order, in the form that `fit` reads fastest."""
        batches = framework.batches(self._gathered(placed, order), order.shape[1])
        if self.compiled and self.predicted == self.trained:
            inputs = {key: v for key, v in batches.items() if key not in ("y", "sample_weight")}
            return Staged(placed, order, batches, inputs)
        x = plain([placed[name][order.reshape(-1)] for name in self.predicted])
        return Staged(placed, order, batches, framework.batches((x,), order.shape[1]))

    def train(self, staged: Staged) -> float:
        """One epoch of `fit` over the staged batches."""
        history = self.model.fit(**staged.batches, epochs=1, shuffle=False, verbose=0)
        return float(history.history["loss"][0])

    def mean_loss(self, handle: float) -> float:
        """What `fit` reports: the mean over batches of the loss with its regularizers."""
        return handle

    def evaluate(self, staged: Staged) -> Tensors:
        """By `predict`."""
        outputs = self.predictor.predict(**staged.inputs, verbose=0)
        return dict(zip(self.program.outputs, keras.tree.flatten(outputs), strict=True))

    def gradients(self, staged: Staged, update: int) -> tuple[float, Tensors]:
        """By the framework's own autodiff of the loss that `fit` uses. Running statistics are put back."""
        data = self._gathered(staged.arrays, staged.order)
        before = [np.array(keras.ops.convert_to_numpy(v)) for v in self.model.non_trainable_variables]
        if self.compiled:
            variables = self.model.trainable_variables
            loss, found = framework.gradients(self.model, *keras.utils.unpack_x_y_sample_weight(data))
        else:
            variables = self.model.moves[update].moved
            loss, found = self.model.gradients(self.model.moves[update], data[0])
        for variable, value in zip(self.model.non_trainable_variables, before, strict=True):
            variable.assign(value)
        by_variable = dict(zip(map(id, variables), found, strict=True))
        return loss, {
            name: layout.to_canonical(by_variable[id(variable)])
            for name, (variable, layout) in self.slots.items()
            if id(variable) in by_variable
        }

    def decoder(self, batch_size: int) -> KerasDecoder:
        """With the variables as they are at each `start`."""
        call, _ = self.program.generating()
        return KerasDecoder(self.program, self.graphs[call.model], self.predictor.variables)

    def wait(self) -> None:
        """As the framework waits."""
        variables = [*self.model.variables, *self.model.optimizer.variables]
        framework.wait([variable.value for variable in variables])

    def device_peak_bytes(self) -> int | None:
        """As the framework counts."""
        found: int | None = framework.device_peak_bytes()
        return found

    def _gathered(self, arrays: Mapping[str, np.ndarray], order: np.ndarray) -> tuple[Any, ...]:
        """The examples in their order as `fit` takes them: x, y and perhaps sample weights, or x alone, by
        name, for a step of our own.
        """
        examples = order.reshape(-1)
        if not self.compiled:
            return ({name: arrays[name][examples] for name in used(self.program)},)
        x = plain([arrays[name][examples] for name in self.trained])
        (update,) = self.program.updates
        given = [
            parted(term.loss, [arrays[name][examples] for name in term.inputs[1:]]) for term in update.terms
        ]
        y = plain([joined(targets) for targets, _ in given])
        weights = [weight for _, weight in given if weight is not None]
        return (x, y, plain(weights)) if weights else (x, y)


def _inputs(given: Mapping[str, Input]) -> dict[str, keras.KerasTensor]:
    return {
        name: keras.Input(each.shape, dtype="int32" if each.dtype == "int" else None)
        for name, each in given.items()
    }
