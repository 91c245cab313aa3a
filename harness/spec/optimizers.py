"""Optimizers: how a gradient moves a parameter, with one meaning in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.spec.codec import SpecError, family, later, member
from harness.spec.layers.base import Parameter, check_positive, check_rate
from harness.spec.schedules import LearningRate, check_learning_rate, rate_at

Slots = dict[str, np.ndarray]


@family
@dataclass(frozen=True)
class Optimizer:
    """A rule of update. Plain gradient descent is SGD with a batch that is the whole training set."""

    def of(self, parameter: Parameter) -> Optimizer:
        """The rule as it is for one tensor."""
        return self

    def slots(self, parameter: np.ndarray) -> Slots:
        """The memory kept for one parameter before the first step."""
        return {}

    def step(
        self, parameter: np.ndarray, gradient: np.ndarray, slots: Mapping[str, np.ndarray], count: int
    ) -> tuple[np.ndarray, Slots]:
        """The parameter and its memory after step number `count` (the first is 1)."""
        raise NotImplementedError


Decays = Literal["all", "kernels"]
"""What a decay of weights is for: all parameters, or the tensors that penalties act on too: kernels and
tables, not biases, scales and shifts.
"""


@member("sgd")
@dataclass(frozen=True)
class SGD(Optimizer):
    """v = momentum * v + g;  p = p - learning_rate * v. The learning rate stands outside of the velocity.

    `weight_decay` times the parameter joins its gradient first (Krizhevsky et al. 2012, He et al. 2016), for
    the parameters that `decays` names: the gradient of an L2 penalty of half that rate, which no loss shows.
    """

    learning_rate: LearningRate
    momentum: float = 0.0
    weight_decay: float = later(0.0)
    decays: Decays = later("all")

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        check_rate(momentum=self.momentum)
        _check_decay(self.weight_decay)

    def of(self, parameter: Parameter) -> SGD:
        """Without decay where this tensor has none."""
        return self if _decayed(self.decays, parameter) else replace(self, weight_decay=0.0)

    def slots(self, parameter: np.ndarray) -> Slots:
        """`velocity`, where there is momentum."""
        return {"velocity": np.zeros_like(parameter)} if self.momentum else {}

    def step(
        self, parameter: np.ndarray, gradient: np.ndarray, slots: Mapping[str, np.ndarray], count: int
    ) -> tuple[np.ndarray, Slots]:
        """One step."""
        rate = float(rate_at(self.learning_rate, count - 1))
        gradient = gradient + self.weight_decay * parameter
        if not self.momentum:
            return parameter - rate * gradient, {}
        velocity = self.momentum * slots["velocity"] + gradient
        return parameter - rate * velocity, {"velocity": velocity}


@member("adam")
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1): epsilon is added after the bias correction.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
    p = p - learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).
    `weight_decay` is decoupled (Loshchilov and Hutter 2019): first p = p - learning_rate * weight_decay * p,
    for the parameters that `decays` names.
    """

    learning_rate: LearningRate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decays: Decays = later("all")

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        check_positive(epsilon=self.epsilon)
        check_rate(beta1=self.beta1, beta2=self.beta2)
        _check_decay(self.weight_decay)

    def of(self, parameter: Parameter) -> Adam:
        """Without decay where this tensor has none."""
        return self if _decayed(self.decays, parameter) else replace(self, weight_decay=0.0)

    def slots(self, parameter: np.ndarray) -> Slots:
        """`first` and `second` moment."""
        return {"first": np.zeros_like(parameter), "second": np.zeros_like(parameter)}

    def step(
        self, parameter: np.ndarray, gradient: np.ndarray, slots: Mapping[str, np.ndarray], count: int
    ) -> tuple[np.ndarray, Slots]:
        """One step."""
        first = self.beta1 * slots["first"] + (1 - self.beta1) * gradient
        second = self.beta2 * slots["second"] + (1 - self.beta2) * gradient * gradient
        corrected = first / (1 - self.beta1**count)
        scale = np.sqrt(second / (1 - self.beta2**count)) + self.epsilon
        rate = float(rate_at(self.learning_rate, count - 1))
        decayed = parameter - rate * self.weight_decay * parameter
        return decayed - rate * corrected / scale, {"first": first, "second": second}


@member("rmsprop")
@dataclass(frozen=True)
class RMSProp(Optimizer):
    """RMSProp (Tieleman and Hinton 2012).

    v = rho v + (1 - rho) g^2;  p = p - learning_rate * g / sqrt(v + epsilon). v begins at zero, and epsilon
    stands inside the root.
    """

    learning_rate: LearningRate = 1e-3
    rho: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        check_positive(epsilon=self.epsilon)
        check_rate(rho=self.rho)

    def slots(self, parameter: np.ndarray) -> Slots:
        """`second` moment."""
        return {"second": np.zeros_like(parameter)}

    def step(
        self, parameter: np.ndarray, gradient: np.ndarray, slots: Mapping[str, np.ndarray], count: int
    ) -> tuple[np.ndarray, Slots]:
        """One step."""
        second = self.rho * slots["second"] + (1 - self.rho) * gradient * gradient
        rate = float(rate_at(self.learning_rate, count - 1))
        return parameter - rate * gradient / np.sqrt(second + self.epsilon), {"second": second}


def _check_decay(weight_decay: float) -> None:
    if not weight_decay >= 0:
        raise SpecError(f"must not be negative, got {weight_decay}", ("weight_decay",))


def _decayed(decays: Decays, parameter: Parameter) -> bool:
    return decays == "all" or parameter.penalized
