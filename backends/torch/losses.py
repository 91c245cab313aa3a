"""Each loss and penalty of the spec as a `torch.nn.functional` call."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch.nn import functional

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported

Function = Callable[..., torch.Tensor]


@functools.singledispatch
def loss_of(loss: spec.Loss) -> Function:
    """The function for a loss."""
    raise Unsupported(f"the torch backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy) -> Function:
    return functools.partial(functional.cross_entropy, reduction=loss.reduction)


@loss_of.register
def _(loss: spec.MeanSquaredError) -> Function:
    if loss.reduction == "mean":
        return functional.mse_loss
    return lambda prediction, target: functional.mse_loss(prediction, target) * len(target)


@functools.singledispatch
def penalty_of(penalty: Penalty) -> Function:
    """The function for a penalty."""
    raise Unsupported(f"the torch backend has no lowering for the penalty {name_of(penalty)!r}")


@penalty_of.register
def _(penalty: L1) -> Function:
    return lambda kernel: kernel.abs().sum() * penalty.rate


@penalty_of.register
def _(penalty: L2) -> Function:
    return lambda kernel: kernel.square().sum() * penalty.rate
