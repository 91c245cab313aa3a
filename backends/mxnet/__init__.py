"""MXNet: Gluon blocks, autograd and `gluon.Trainer`, hybridized or imperative."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, nd

from harness.spec.program import Program
from harness.worker.protocol import Built, Decoder, Setting, Tensors

from .blocks import Evaluation, TrainingLoss, Unmoved, unmoved
from .decoder import CachedDecoder
from .graph import Graph
from .lowering import pixels_first, pixels_last
from .optimizers import trainer_of

VARIABLES = ("MXNET_",)


def build(program: Program, setting: Setting) -> Built:
    """A program in either mode. Threads are as OMP_NUM_THREADS says: MXNet's Python has no call for them."""
    return MXNetProgram(program, setting)


def settings() -> dict[str, Any]:
    """What is in force: MXNet reads the threads from the environment, and on a CPU there is no TF32."""
    return {"threads": int(os.environ["OMP_NUM_THREADS"]), "float32_matmul": "float32"}


class MXNetProgram(Built):
    """Blocks on one device: a graph for each model, a loss and a trainer for each update."""

    coarse_numbers = True

    def __init__(self, program: Program, setting: Setting) -> None:
        self.program = program
        self.mode, self.dtype = setting.mode, setting.precision
        kind, _, number = setting.device.partition(":")
        self.context = mx.gpu(int(number or 0)) if kind == "cuda" else mx.cpu()
        self.graphs = {name: Graph(model, setting.batch_size) for name, model in program.models.items()}
        self.slots = {
            f"{name}/{tensor}": slot
            for name, graph in self.graphs.items()
            for tensor, slot in graph.slots().items()
        }
        kernels = {name: parameter for name, (parameter, _) in self.slots.items()}
        calls = [unmoved(program, update) for update in program.updates]
        self.unmoved = [Unmoved(program, those, self.graphs) if those else None for those in calls]
        self.losses = [
            TrainingLoss(program, update, made, self.graphs, kernels)
            for update, made in zip(program.updates, self.unmoved, strict=True)
        ]
        self.predict = Evaluation(program, self.graphs)
        for graph in self.graphs.values():
            graph.cast(self.dtype)
            graph.initialize(ctx=self.context)
        if setting.mode != "imperative":
            blocks: list[Any] = [*self.losses, *self.unmoved, self.predict]
            for block in filter(None, blocks):
                block.hybridize(static_alloc=True, static_shape=True)
        self.trainers = self._trainers()

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Copy the tensors in place."""
        for name, (parameter, layout) in self.slots.items():
            parameter.set_data(self._array(layout.to_native(tensors[name])))
        self.trainers = self._trainers()

    def tensors(self) -> Tensors:
        """Every parameter and state in the spec's layout."""
        return {
            name: layout.to_canonical(parameter.data().asnumpy())
            for name, (parameter, layout) in self.slots.items()
        }

    def place(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Whole arrays on the device, images channels first; labels as floats, which MXNet's losses take."""
        return {
            name: self._array(array.transpose(pixels_last(array.ndim - 1))) for name, array in arrays.items()
        }

    def stage(self, placed: dict[str, Any], order: np.ndarray) -> Any:
        """The indices of each batch on the device."""
        return placed, list(nd.array(order, ctx=self.context, dtype="int32"))

    def train(self, staged: Any) -> list[Any]:
        """The loop that the documentation teaches: record, backward, step."""
        arrays, order = staged
        losses = []
        updates = list(zip(self._passes(arrays), self.trainers, strict=True))
        for indices in order:
            for backward, trainer in updates:
                losses.append(backward(indices))
                # The loss is the batch's own mean or sum already: nothing is left to divide by.
                trainer.step(1)
        return losses

    def mean_loss(self, handle: list[Any]) -> float:
        """Mean over steps of the sum over updates."""
        return float(np.mean(nd.concat(*handle, dim=0).asnumpy())) * len(self.losses)

    def evaluate(self, staged: Any) -> Tensors:
        """Batch by batch outside of `record`, which is prediction mode."""
        arrays, order = staged
        given = [arrays[name] for name in self.predict.names]
        with self._spec_variances():
            batches = [self.predict(indices, *given) for indices in order]
            outputs = [nd.concat(*parts, dim=0).asnumpy() for parts in zip(*batches, strict=True)]
        return {
            name: output.transpose(pixels_first(output.ndim - 1))
            for name, output in zip(self.program.outputs, outputs, strict=True)
        }

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        """By the same (hybridized) loss block as `train`."""
        arrays, (indices,) = staged
        loss = self._passes(arrays)[update](indices)
        found = {}
        for name in self.program.moved(self.program.updates[update]):
            parameter, layout = self.slots[name]
            found[name] = layout.to_canonical(parameter.grad().asnumpy())
        return float(loss.asscalar()), found

    def decoder(self, batch_size: int) -> Decoder:
        """Over the blocks and parameters of the model itself."""
        graph = self.graphs[self.program.generating()[0].model]
        hybridize = self.mode != "imperative"
        return CachedDecoder(self.program, graph, batch_size, self._array, hybridize, self._spec_variances)

    def wait(self) -> None:
        """Return once the engine's queue is empty."""
        nd.waitall()

    def _passes(self, arrays: Mapping[str, Any]) -> list[Callable[[Any], Any]]:
        """For each update, what makes of a batch's indices the loss, differentiated."""
        return [
            functools.partial(
                _forward_and_backward,
                made,
                [arrays[name] for name in made.names] if made else [],
                loss,
                [arrays[name] for name in loss.names],
            )
            for made, loss in zip(self.unmoved, self.losses, strict=True)
        ]

    def _array(self, values: np.ndarray) -> Any:
        return nd.array(np.ascontiguousarray(values), ctx=self.context, dtype=self.dtype)

    def _trainers(self) -> list[Any]:
        declared = self.program.parameters()
        moved = [self.program.moved(update) for update in self.program.updates]
        return [
            trainer_of(update, [self.slots[name][0] for name in names], [declared[name] for name in names])
            for update, names in zip(self.program.updates, moved, strict=True)
        ]

    @contextmanager
    def _spec_variances(self) -> Iterator[None]:
        """Evaluation with every running variance as the spec has it, where training keeps it by a factor."""
        kept = []
        for parameter, layout in self.slots.values():
            if layout.factor != 1.0:
                kept.append((parameter, parameter.data().copy()))
                parameter.set_data(parameter.data() / layout.factor)
        yield
        for parameter, values in kept:
            parameter.set_data(values)


def _forward_and_backward(
    unmoved: Any, its_arrays: list[Any], loss_block: Any, arrays: list[Any], indices: Any
) -> Any:
    """The loss of a batch; gradients are left with the parameters, and states are moved."""
    made, states = [], []
    if unmoved is not None:
        with autograd.train_mode():
            found = unmoved(indices, *its_arrays)
        made, states = found[: len(unmoved.outputs)], found[len(unmoved.outputs) :]
    with autograd.record():
        loss = loss_block(indices, *arrays, *made)
    if loss_block.states:
        loss, *others = loss
        states = [*states, *others]
    loss.backward()
    if states:
        moved = [*(unmoved.states if unmoved is not None else ()), *loss_block.states]
        for parameter, state in zip(moved, states, strict=True):
            state.copyto(parameter.data())
    return loss
