"""Keras 3: `keras.layers`, `compile` and `fit`, on TensorFlow, JAX or PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import dtypes

from harness.spec.program import Program, run_calls
from harness.worker.protocol import Built, Setting, Tensors, Unsupported

from .expressible import inputs_of, only_update
from .framework import framework
from .layers import Graph
from .losses import loss_of, regularizer_of
from .optimizers import optimizer_of

VARIABLES = (
    "KERAS_",
    "TF_ENABLE_",
    "TF_XLA",
    "TF_NUM_",
    "JAX_",
    "XLA_",
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


@dataclass(frozen=True)
class Staged:
    """Batches to come: what `fit` is given, and where it came from."""

    arrays: Mapping[str, np.ndarray]
    order: np.ndarray
    batches: dict[str, Any]


class KerasProgram(Built):
    """One functional model that `fit` trains, and one over the same layers for `predict`."""

    def __init__(self, program: Program, setting: Setting) -> None:
        self.program = program
        self.dtype = np.dtype(setting.precision)
        update = only_update(program)
        graphs = {
            name: Graph(model, setting.batch_size, regularizer_of(update.penalties))
            for name, model in program.models.items()
        }
        inputs = {
            name: keras.Input(given.shape, dtype="int32" if given.dtype == "int" else None)
            for name, given in inputs_of(program).items()
        }
        self.names = list(inputs)
        self.targets = [term.inputs[1] for term in update.terms]
        trained, predicted = (
            run_calls(calls, inputs, lambda name, *values: graphs[name](*values))
            for calls in (update.calls, program.predict)
        )
        outputs = [trained[term.inputs[0]] for term in update.terms]
        self.model = keras.Model(_plain([*inputs.values()]), _plain(outputs))
        self.predictor = keras.Model(
            _plain([*inputs.values()]), _plain([predicted[name] for name in program.outputs])
        )
        self.slots = {
            f"{name}/{tensor}": slot
            for name, graph in graphs.items()
            for tensor, slot in graph.slots().items()
        }
        losses = [
            loss_of(term.loss, output.shape[1:]) for term, output in zip(update.terms, outputs, strict=True)
        ]
        weights = [term.weight * weight for term, (_, weight) in zip(update.terms, losses, strict=True)]
        self.model.compile(
            optimizer_of(update.optimizer),
            _plain([loss for loss, _ in losses]),
            loss_weights=None if set(weights) == {1.0} else _plain(weights),
            steps_per_execution=STEPS_PER_EXECUTION.get(setting.mode, 1),
        )
        self.model.optimizer.build(self.model.trainable_variables)

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Assign in place: the compiled train function stays."""
        for name, (variable, layout) in self.slots.items():
            variable.assign(layout.to_native(tensors[name]).astype(self.dtype))
        optimizer = self.model.optimizer
        for variable in optimizer.variables:
            if variable is not optimizer.learning_rate:
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
        return Staged(placed, order, framework.batches(*self._gathered(placed, order), order.shape[1]))

    def train(self, staged: Staged) -> float:
        """One epoch of `fit` over the staged batches."""
        history = self.model.fit(**staged.batches, epochs=1, shuffle=False, verbose=0)
        return float(history.history["loss"][0])

    def mean_loss(self, handle: float) -> float:
        """What `fit` reports: the mean over batches of the loss with its regularizers."""
        return handle

    def evaluate(self, staged: Staged) -> Tensors:
        """By `predict`."""
        given = {name: value for name, value in staged.batches.items() if name != "y"}
        outputs = self.predictor.predict(**given, verbose=0)
        return dict(zip(self.program.outputs, keras.tree.flatten(outputs), strict=True))

    def gradients(self, staged: Staged, update: int) -> tuple[float, Tensors]:
        """By the framework's own autodiff of `model.compute_loss`. Running statistics are put back."""
        before = [np.array(keras.ops.convert_to_numpy(v)) for v in self.model.non_trainable_variables]
        loss, found = framework.gradients(self.model, *self._gathered(staged.arrays, staged.order))
        for variable, value in zip(self.model.non_trainable_variables, before, strict=True):
            variable.assign(value)
        by_variable = dict(zip(map(id, self.model.trainable_variables), found, strict=True))
        return loss, {
            name: layout.to_canonical(by_variable[id(variable)])
            for name, (variable, layout) in self.slots.items()
            if id(variable) in by_variable
        }

    def wait(self) -> None:
        """As the framework waits."""
        framework.wait(self.model)

    def device_peak_bytes(self) -> int | None:
        """As the framework counts."""
        found: int | None = framework.device_peak_bytes()
        return found

    def _gathered(self, arrays: Mapping[str, np.ndarray], order: np.ndarray) -> tuple[Any, Any]:
        examples = order.reshape(-1)
        x, y = (_plain([arrays[name][examples] for name in names]) for names in (self.names, self.targets))
        return x, y


def _plain(items: list[Any]) -> Any:
    """A list of one as its only item, which is how Keras's users write it."""
    return items[0] if len(items) == 1 else items
