"""Each optimizer of the spec as one of `torch.optim`, in its fused form where there is one.

A schedule and clipping are step pre-hooks: an optimizer without them runs no other code than torch's own.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import torch

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.spec.layers.base import Parameter
from harness.spec.schedules import LearningRate, Schedule, rate_at
from harness.worker.protocol import Unsupported

Parameters = list[torch.Tensor] | list[dict[str, Any]]
"""Tensors, or groups of them with settings of their own: what `torch.optim` takes."""

NUMBERS = SimpleNamespace(
    cos=math.cos, minimum=min, floor=math.floor, where=lambda condition, yes, no: yes if condition else no
)
"""What a schedule computes with. The rate is a Python number: a tensor would be read back in each step."""


def grouped(optimizer: spec.Optimizer, moved: Iterable[tuple[torch.Tensor, Parameter]]) -> Parameters:
    """The native tensors, each once, in a group for each rule that the optimizer has for some of them."""
    rules: dict[spec.Optimizer, dict[int, torch.Tensor]] = {}
    for tensor, parameter in moved:
        rules.setdefault(optimizer.of(parameter), {})[id(tensor)] = tensor
    if list(rules) == [optimizer]:
        return list(rules[optimizer].values())
    return [{"params": list(tensors.values()), **_settings(rule)} for rule, tensors in rules.items()]


def _settings(rule: spec.Optimizer) -> dict[str, Any]:
    if not isinstance(rule, spec.SGD | spec.Adam):
        raise Unsupported(f"the torch backend has one rule for all tensors in {name_of(rule)!r}")
    return {"weight_decay": rule.weight_decay}


@functools.singledispatch
def optimizer_of(optimizer: spec.Optimizer, parameters: Parameters) -> torch.optim.Optimizer:
    """The optimizer for these parameters."""
    raise Unsupported(f"the torch backend has no lowering for the optimizer {name_of(optimizer)!r}")


@optimizer_of.register
def _(optimizer: spec.SGD, parameters: Parameters) -> torch.optim.Optimizer:
    rate = _first(optimizer.learning_rate)
    native = torch.optim.SGD(
        parameters, lr=rate, momentum=optimizer.momentum, weight_decay=optimizer.weight_decay, fused=True
    )
    return _scheduled(native, optimizer.learning_rate)


@optimizer_of.register
def _(optimizer: spec.Adam, parameters: Parameters) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if optimizer.weight_decay else torch.optim.Adam
    native = kind(
        parameters,
        lr=_first(optimizer.learning_rate),
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        fused=True,
    )
    return _scheduled(native, optimizer.learning_rate)


@optimizer_of.register
def _(optimizer: spec.RMSProp, parameters: Parameters) -> torch.optim.Optimizer:
    return _scheduled(RMSProp(parameters, optimizer), optimizer.learning_rate)


class RMSProp(torch.optim.Optimizer):
    """`torch.optim.RMSprop` in its foreach form, but for epsilon, which is inside the root here."""

    def __init__(self, parameters: Parameters, optimizer: spec.RMSProp) -> None:
        super().__init__(parameters, {"lr": _first(optimizer.learning_rate)})
        self.rho = optimizer.rho
        self.epsilon = optimizer.epsilon
        self.seconds = [torch.zeros_like(parameter) for parameter in self.param_groups[0]["params"]]

    @torch.no_grad()
    def step(self) -> None:
        """One step."""
        (group,) = self.param_groups
        gradients = [parameter.grad for parameter in group["params"]]
        torch._foreach_mul_(self.seconds, self.rho)
        torch._foreach_addcmul_(self.seconds, gradients, gradients, value=1 - self.rho)
        roots = torch._foreach_add(self.seconds, self.epsilon)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(group["params"], gradients, roots, value=-group["lr"])


def clip(optimizer: torch.optim.Optimizer, limit: float) -> None:
    """From now on, scale the gradients before each step so that their norm is at most `limit`.

    `torch.nn.utils.clip_grad_norm_` adds 1e-6 to the norm; here it is exact.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def hook(*_: Any) -> None:
        gradients = [parameter.grad for parameter in parameters]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        # A scalar on the device, applied even where it is 1: to look at it would be to wait for it.
        torch._foreach_mul_(gradients, (limit / norm).clamp(max=1.0))

    optimizer.register_step_pre_hook(hook)


def _scheduled(native: torch.optim.Optimizer, learning_rate: LearningRate) -> torch.optim.Optimizer:
    if isinstance(learning_rate, Schedule):
        done = itertools.count()

        def hook(*_: Any) -> None:
            rate = learning_rate.rate(next(done), NUMBERS)
            for group in native.param_groups:
                group["lr"] = rate

        native.register_step_pre_hook(hook)
    return native


def _first(learning_rate: LearningRate) -> float:
    return float(rate_at(learning_rate, 0, NUMBERS))
