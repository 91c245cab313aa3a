"""Each loss and penalty of the spec in the operators of MXNet. `F` is `mx.nd` or `mx.sym`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported

Function = Callable[..., Any]


@functools.singledispatch
def loss_of(loss: spec.Loss) -> Function:
    """The function for a loss: `function(F, *inputs)`, shape (1,)."""
    raise Unsupported(f"the mxnet backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy) -> Function:
    def cross_entropy(F: Any, logits: Any, labels: Any) -> Any:
        # A temperature, even of one, keeps MXNet off oneDNN's kernel, whose logarithm is good to 1e-6 only.
        chosen = F.pick(F.log_softmax(logits, temperature=1.0), labels)
        return -(F.mean(chosen) if loss.reduction == "mean" else F.sum(chosen))

    return cross_entropy


@loss_of.register
def _(loss: spec.MeanSquaredError) -> Function:
    def squared_error(F: Any, prediction: Any, target: Any) -> Any:
        squares = F.square(prediction - target)
        # Examples are of one size, so the mean of their means is the mean of all.
        return F.mean(squares) if loss.reduction == "mean" else F.sum(F.mean(squares, axis=0, exclude=True))

    return squared_error


@functools.singledispatch
def penalty_of(penalty: Penalty) -> Function:
    """The function for a penalty: `function(F, kernel)`, shape (1,)."""
    raise Unsupported(f"the mxnet backend has no lowering for the penalty {name_of(penalty)!r}")


@penalty_of.register
def _(penalty: L1) -> Function:
    return lambda F, kernel: F.sum(F.abs(kernel)) * penalty.rate


@penalty_of.register
def _(penalty: L2) -> Function:
    return lambda F, kernel: F.sum(F.square(kernel)) * penalty.rate
