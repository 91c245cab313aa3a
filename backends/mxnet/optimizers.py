"""Each optimizer of the spec as an `mx.optimizer.Optimizer` over MXNet's own update operators."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.gluon import Trainer

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.spec.layers import Parameter
from harness.spec.program import Update
from harness.spec.schedules import Schedule, rate_at
from harness.worker.protocol import Unsupported


def trainer_of(update: Update, parameters: list[Any], declared: list[Parameter]) -> Any:
    """A trainer of these parameters, which the spec declares so, its optimizer's memory empty."""
    rules = [update.optimizer.of(parameter) for parameter in declared]
    optimizer = lower(update.optimizer, rules)
    if _schedule(update.optimizer) is not None or update.clip_norm is not None:
        return _Trainer(update, parameters, optimizer)
    return Trainer(parameters, optimizer, kvstore=None)


class _Trainer(Trainer):
    """A trainer that sets the scheduled rate before each step and clips the gradient."""

    def __init__(self, update: Update, parameters: list[Any], optimizer: Any) -> None:
        super().__init__(parameters, optimizer, kvstore=None)
        self.schedule = _schedule(update.optimizer)
        self.clip_norm = update.clip_norm
        self.done = 0

    def step(self, batch_size: int, ignore_stale_grad: bool = False) -> None:
        """One step."""
        if self.schedule is not None:
            self.set_learning_rate(float(self.schedule.rate(self.done)))
            self.done += 1
        if self.clip_norm is not None:
            clip([parameter.grad() for parameter in self._params], self.clip_norm)
        super().step(batch_size, ignore_stale_grad)


def _schedule(optimizer: spec.Optimizer) -> Schedule | None:
    rate = getattr(optimizer, "learning_rate", None)
    return rate if isinstance(rate, Schedule) else None


def clip(gradients: list[Any], norm: float) -> None:
    """Scale the gradients in place by min(1, norm / norm of all).

    As `gluon.utils.clip_global_norm`, which adds 1e-8 to their norm.
    """
    flat = [gradient.reshape(-1) for gradient in gradients]
    found = nd.sqrt(nd.add_n(*[nd.dot(each, each) for each in flat]))
    scale = norm / nd.maximum(found, norm)
    for gradient in gradients:
        nd.broadcast_mul(gradient, scale, out=gradient)


@functools.singledispatch
def lower(optimizer: spec.Optimizer, rules: Sequence[spec.Optimizer]) -> Any:
    """The MXNet optimizer; `rules` are what the optimizer is for each of its tensors."""
    raise Unsupported(f"the mxnet backend has no lowering for the optimizer {name_of(optimizer)!r}")


@lower.register
def _(optimizer: spec.SGD, rules: Sequence[spec.SGD]) -> Any:
    return _SGD(optimizer, [rule.weight_decay for rule in rules])


@lower.register
def _(optimizer: spec.Adam, rules: Sequence[spec.Adam]) -> Any:
    return _Adam(optimizer, [rule.weight_decay for rule in rules])


@lower.register
def _(optimizer: spec.RMSProp, rules: Sequence[spec.Optimizer]) -> Any:
    return _RMSProp(learning_rate=_first_rate(optimizer), gamma1=optimizer.rho, epsilon=optimizer.epsilon)


def _first_rate(optimizer: spec.SGD | spec.Adam | spec.RMSProp) -> float:
    return float(rate_at(optimizer.learning_rate, 0))


class _SGD(mx.optimizer.SGD):
    """SGD one tensor at a time: MXNet's own class has even one alone in the slower multi-tensor kernel. The
    kernels add the decay to the gradient, one of `decays` for each tensor.

    MXNet's momentum has the learning rate inside. Where that changes, what is carried over changes with it:
    the velocity times the old rate becomes the velocity times the new one.
    """

    def __init__(self, optimizer: spec.SGD, decays: Sequence[float]) -> None:
        super().__init__(learning_rate=_first_rate(optimizer), momentum=optimizer.momentum)
        self.aggregate_num = 0
        self.constant_momentum = optimizer.momentum
        self.lr: float = _first_rate(optimizer)
        self.decays = decays

    def set_learning_rate(self, lr: float) -> None:
        """The rate of the next step. From a rate of zero, where schedules end, none rises again."""
        self.momentum = self.constant_momentum * lr / self.lr if self.lr else 0.0
        self.lr = lr

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        numbers = {"lr": self.lr, "wd": self.decays[index]}
        if state is None:
            nd.sgd_update(weight, grad, out=weight, **numbers)
        else:
            nd.sgd_mom_update(weight, grad, state, out=weight, momentum=self.momentum, **numbers)

    def update_multi_precision(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        self.update(index, weight, grad, state)


class _Adam(mx.optimizer.Adam):
    """Adam with epsilon after the bias correction, and decoupled decay, one of `decays` for each tensor.

    The kernel's step is rate * m / (sqrt(v) + epsilon); the spec's is that with rate and epsilon times
    sqrt(1 - beta2^t), and the rate over 1 - beta1^t. The betas are rounded as the kernel will take them, so
    that the correction undoes just what the kernel does.
    """

    def __init__(self, optimizer: spec.Adam, decays: Sequence[float]) -> None:
        super().__init__(
            learning_rate=_first_rate(optimizer),
            beta1=float(np.float32(optimizer.beta1)),
            beta2=float(np.float32(optimizer.beta2)),
            epsilon=optimizer.epsilon,
        )
        self.decays = decays

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        self._update_count(index)
        count = self._index_update_count[index]
        root = math.sqrt(1 - self.beta2**count)
        if self.decays[index]:
            weight *= 1 - self.lr * self.decays[index]
        mean, variance = state
        nd.adam_update(
            weight,
            grad,
            mean,
            variance,
            out=weight,
            lr=self.lr * root / (1 - self.beta1**count),
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon * root,
        )


class _RMSProp(mx.optimizer.RMSProp):
    """RMSProp whose memory has the weight's precision: MXNet's own class has float32 for all."""

    def create_state(self, index: int, weight: Any) -> Any:
        return nd.zeros_like(weight)

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        nd.rmsprop_update(
            weight, grad, state, out=weight, lr=self.lr, gamma1=self.gamma1, epsilon=self.epsilon
        )
