"""Faults inside the torch backend."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from harness.spec.layers import Upsample2D


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


def epsilon_outside(module: ModuleType) -> Callable[[], None]:
    """torch's own RMSprop, as it comes."""
    right = module.optimizer_of

    def wrong(spec: Any, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
        native = torch.optim.RMSprop(parameters, alpha=spec.rho, eps=spec.epsilon)
        return module.optimizers._scheduled(native, spec.learning_rate)

    module.optimizer_of = wrong  # type: ignore[attr-defined]
    return lambda: setattr(module, "optimizer_of", right)


class RateInside(torch.optim.Optimizer):
    """Momentum as Keras and MXNet write it: the velocity holds the learning rates of its past steps."""

    def __init__(self, spec: Any, parameters: list[torch.Tensor]) -> None:
        super().__init__(parameters, {})
        self.spec = spec
        self.count = itertools.count()

    @torch.no_grad()
    def step(self) -> None:
        rate = float(self.spec.learning_rate.rate(next(self.count)))
        for tensor in self.param_groups[0]["params"]:
            slots = self.state[tensor]
            velocity = slots.setdefault("velocity", torch.zeros_like(tensor))
            velocity.mul_(self.spec.momentum).add_(tensor.grad, alpha=rate)
            tensor.sub_(velocity)


def rate_inside(module: ModuleType) -> Callable[[], None]:
    right = module.optimizer_of
    module.optimizer_of = RateInside  # type: ignore[attr-defined]
    return lambda: setattr(module, "optimizer_of", right)


def clipped_by_tensor(module: ModuleType) -> Callable[[], None]:
    right = module.clip

    def wrong(optimizer: torch.optim.Optimizer, limit: float) -> None:
        def hook(*_: Any) -> None:
            for tensor in optimizer.param_groups[0]["params"]:
                torch.nn.utils.clip_grad_norm_(tensor, limit)

        optimizer.register_step_pre_hook(hook)

    module.clip = wrong  # type: ignore[attr-defined]
    return lambda: setattr(module, "clip", right)


def bilinear(module: ModuleType) -> Callable[[], None]:
    layers = module.layers
    right = layers.lower.dispatch(Upsample2D)

    def wrong(layer: Upsample2D, place: Any) -> Any:
        return layers.Lowered(torch.nn.Upsample(scale_factor=layer.size, mode="bilinear"))

    layers.lower.register(Upsample2D, wrong)
    return lambda: layers.lower.register(Upsample2D, right)
