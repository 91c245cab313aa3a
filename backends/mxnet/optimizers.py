"""Each optimizer of the spec as an `mx.optimizer.Optimizer` over MXNet's own update operators."""

from __future__ import annotations

import functools
import math
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.gluon import Trainer

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.worker.protocol import Unsupported


def trainer_of(optimizer: spec.Optimizer, parameters: list[Any]) -> Any:
    """A trainer of these parameters, its optimizer's memory empty."""
    return Trainer(parameters, lower(optimizer), kvstore=None)


@functools.singledispatch
def lower(optimizer: spec.Optimizer) -> Any:
    """The MXNet optimizer."""
    raise Unsupported(f"the mxnet backend has no lowering for the optimizer {name_of(optimizer)!r}")


@lower.register
def _(optimizer: spec.SGD) -> Any:
    return _SGD(learning_rate=optimizer.learning_rate, momentum=optimizer.momentum)


@lower.register
def _(optimizer: spec.Adam) -> Any:
    return _Adam(optimizer)


class _SGD(mx.optimizer.SGD):
    """SGD one tensor at a time: MXNet's own class has even one alone in the slower multi-tensor kernel.

    MXNet's momentum has the learning rate inside, which is the spec's while that is constant.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.aggregate_num = 0

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        if state is None:
            nd.sgd_update(weight, grad, out=weight, lr=self.lr)
        else:
            nd.sgd_mom_update(weight, grad, state, out=weight, lr=self.lr, momentum=self.momentum)

    def update_multi_precision(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        self.update(index, weight, grad, state)


class _Adam(mx.optimizer.Adam):
    """Adam with epsilon after the bias correction, and decoupled decay.

    The kernel's step is rate * m / (sqrt(v) + epsilon); the spec's is that with rate and epsilon times
    sqrt(1 - beta2^t), and the rate over 1 - beta1^t. The betas are rounded as the kernel will take them, so
    that the correction undoes just what the kernel does.
    """

    def __init__(self, optimizer: spec.Adam) -> None:
        super().__init__(
            learning_rate=optimizer.learning_rate,
            beta1=float(np.float32(optimizer.beta1)),
            beta2=float(np.float32(optimizer.beta2)),
            epsilon=optimizer.epsilon,
        )
        self.kept = 1 - optimizer.learning_rate * optimizer.weight_decay

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        self._update_count(index)
        count = self._index_update_count[index]
        root = math.sqrt(1 - self.beta2**count)
        if self.kept != 1:
            weight *= self.kept
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
