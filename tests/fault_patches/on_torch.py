"""Faults inside the torch backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch


class EpsilonFirst(torch.optim.Optimizer):
    """AdamW as TensorFlow and MXNet write it: epsilon is added before the bias correction."""

    def __init__(self, spec: Any, parameters: list[torch.Tensor]) -> None:
        super().__init__(parameters, {})
        self.spec = spec
        self.count = 0

    @torch.no_grad()
    def step(self) -> None:
        spec = self.spec
        self.count += 1
        rate = spec.learning_rate * (1 - spec.beta2**self.count) ** 0.5 / (1 - spec.beta1**self.count)
        for tensor in self.param_groups[0]["params"]:
            slots = self.state[tensor]
            if not slots:
                slots["first"], slots["second"] = torch.zeros_like(tensor), torch.zeros_like(tensor)
            slots["first"].lerp_(tensor.grad, 1 - spec.beta1)
            slots["second"].mul_(spec.beta2).addcmul_(tensor.grad, tensor.grad, value=1 - spec.beta2)
            tensor.mul_(1 - spec.learning_rate * spec.weight_decay)
            tensor.sub_(rate * slots["first"] / (slots["second"].sqrt() + spec.epsilon))


def epsilon_first(module: ModuleType) -> Callable[[], None]:
    right = module.optimizer_of
    module.optimizer_of = EpsilonFirst  # type: ignore[attr-defined]
    return lambda: setattr(module, "optimizer_of", right)


def dropout_left_on(module: ModuleType) -> Callable[[], None]:
    right = torch.nn.Dropout.forward
    torch.nn.Dropout.forward = lambda self, x: torch.nn.functional.dropout(x, self.p, True)
    return lambda: setattr(torch.nn.Dropout, "forward", right)
