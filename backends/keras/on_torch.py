"""What the Keras backend asks of PyTorch itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from keras import ops
from keras.src.backend.torch.optimizers import torch_adam, torch_sgd

from harness.worker.protocol import Setting

from .adam import corrections
from .updates import Move, Updates

EXACT_ATTENTION = True
Embedding = keras.layers.Embedding
leaky_relu = keras.activations.leaky_relu
gelu = keras.activations.gelu

_device = contextlib.ExitStack()


def configure(setting: Setting) -> None:
    """Threads, full float32, and the one device that is used."""
    torch.set_num_threads(setting.threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    _device.close()
    _device.enter_context(keras.device(setting.device))


def settings() -> dict[str, Any]:
    """What is in force."""
    full = torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
    return {"threads": torch.get_num_threads(), "float32_matmul": "float32" if full else "tf32"}


def batches(data: tuple[Any, ...], batch_size: int) -> dict[str, Any]:
    """What `fit` and `predict` take, of x, y and sample weights or the first of them: tensors on the
    device.
    """
    arrays = dict(zip(("x", "y", "sample_weight"), data, strict=False))
    return {**keras.tree.map_structure(ops.convert_to_tensor, arrays), "batch_size": batch_size}


def gradients(model: keras.Model, x: Any, y: Any, weights: Any) -> tuple[float, list[np.ndarray]]:
    """The loss that `fit` uses, and its gradient for each trainable variable."""
    x, y = keras.tree.map_structure(ops.convert_to_tensor, (x, y))
    if weights is not None:
        weights = keras.tree.map_structure(ops.convert_to_tensor, weights)
    model.zero_grad()
    loss = model.compute_loss(x, y, model(x, training=True), weights, training=True)
    loss.backward()
    found = [variable.value.grad.cpu().numpy().copy() for variable in model.trainable_variables]
    return float(loss.detach()), found


def compiled(
    function: Callable[..., Any], variables: list[keras.Variable], donates: bool = False
) -> Callable[..., Any]:
    """A function that reads variables, as it stands, without gradients."""
    return torch.no_grad()(function)


def number(value: int) -> int:
    """An argument of such a function."""
    return value


def put(cache: torch.Tensor, rows: torch.Tensor, place: int) -> torch.Tensor:
    """`cache` (N, places, heads, size) with `rows` (N, 1, heads, size) at a place, in place."""
    cache[:, place] = rows[:, 0]
    return cache


def wait(tensors: list[torch.Tensor]) -> None:
    """The CPU works at once; a GPU is waited for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device_peak_bytes() -> int | None:
    """The caching allocator's high-water mark of tensors in use."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


class BatchNormalization(keras.layers.BatchNormalization):
    """The native layer takes the variance as E[x^2] - E[x]^2, which loses most digits in float32."""

    def _moments(self, inputs: torch.Tensor, mask: None) -> tuple[torch.Tensor, torch.Tensor]:
        variance, mean = torch.var_mean(inputs, dim=self._reduction_axes, correction=0)
        return mean, variance


class Adam(torch_adam.Adam):
    """What `keras.optimizers.Adam(...)` makes on torch, with another update of all variables at once."""

    def _parallel_update_step(self, grads: list[Any], variables: list[Any], learning_rate: Any) -> None:
        indices = [self._get_variable_index(variable) for variable in variables]
        m = [self._momentums[index].value for index in indices]
        v = [self._velocities[index].value for index in indices]
        first, root = corrections(self, variables[0].dtype)
        torch._foreach_mul_(m, self.beta_1)
        torch._foreach_add_(m, grads, alpha=1 - self.beta_1)
        torch._foreach_mul_(v, self.beta_2)
        torch._foreach_addcmul_(v, grads, grads, value=1 - self.beta_2)
        scale = torch._foreach_sqrt(v)
        torch._foreach_add_(scale, self.epsilon * root)
        rate = learning_rate.value if isinstance(learning_rate, keras.Variable) else learning_rate
        moves = torch._foreach_mul(m, rate * root / first)
        torch._foreach_div_(moves, scale)
        torch._foreach_sub_([variable.value for variable in variables], moves)


class Momentum(torch_sgd.SGD):
    """What `keras.optimizers.SGD(...)` makes on torch, with the learning rate outside of the velocity and the
    decay inside: see `.momentum`.
    """

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing before the step: decay is a part of the gradient."""

    def _parallel_update_step(self, grads: list[Any], variables: list[Any], learning_rate: Any) -> None:
        decayed = [index for index, each in enumerate(variables) if self._use_weight_decay(each)]
        if self.weight_decay and decayed:
            grads = list(grads)
            values = [variables[index].value for index in decayed]
            added = torch._foreach_add([grads[index] for index in decayed], values, alpha=self.weight_decay)
            for index, gradient in zip(decayed, added, strict=True):
                grads[index] = gradient
        velocities = [self.momentums[self._get_variable_index(variable)].value for variable in variables]
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, grads)
        moves = torch._foreach_mul(velocities, learning_rate)
        torch._foreach_sub_([variable.value for variable in variables], moves)


class Alternating(Updates):
    """Each update by the gradient for what it moves, and for nothing else."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """All updates in turn."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        losses = []
        for move, optimizer in zip(self.moves, self.optimizer.parts, strict=True):
            loss, found = self.loss_and_gradients(move, x)
            with torch.no_grad():
                optimizer.apply(found, move.moved)
            losses.append(loss)
        self.loss_tracker.update_state(sum(losses))
        return {"loss": self.loss_tracker.result()}

    def loss_and_gradients(self, move: Move, x: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Of one update."""
        loss = self.loss_of(move, x)
        found = torch.autograd.grad(loss, [variable.value for variable in move.moved])
        return loss.detach(), list(found)

    def gradients(self, move: Move, x: Any) -> tuple[float, list[np.ndarray]]:
        """The same in NumPy."""
        loss, found = self.loss_and_gradients(move, keras.tree.map_structure(ops.convert_to_tensor, x))
        return float(loss), [gradient.cpu().numpy() for gradient in found]
