"""Each optimizer of the spec as one of `torch.optim`, in its fused form."""

from __future__ import annotations

import functools

import torch

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.worker.protocol import Unsupported


@functools.singledispatch
def optimizer_of(optimizer: spec.Optimizer, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """The optimizer for these parameters."""
    raise Unsupported(f"the torch backend has no lowering for the optimizer {name_of(optimizer)!r}")


@optimizer_of.register
def _(optimizer: spec.SGD, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=optimizer.learning_rate, momentum=optimizer.momentum, fused=True)


@optimizer_of.register
def _(optimizer: spec.Adam, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if optimizer.weight_decay else torch.optim.Adam
    return kind(
        parameters,
        lr=optimizer.learning_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        fused=True,
    )
