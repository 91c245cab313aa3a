"""Each optimizer of the spec by TensorFlow's own fused update kernels (`tf.raw_ops.ResourceApply...`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.spec.layers import Parameter
from harness.spec.schedules import LearningRate, Schedule
from harness.worker.protocol import Unsupported

Memory = tuple[tuple[tf.Variable, float], ...]


@dataclass(frozen=True)
class Optimizer:
    """`step(gradients)` moves the parameters; `memory` is what it keeps, with its first value."""

    step: Callable[[Sequence[tf.Tensor]], None]
    memory: Memory = ()

    def reset(self) -> None:
        """Forget every step."""
        for variable, first in self.memory:
            variable.assign(tf.fill(variable.shape, tf.constant(first, variable.dtype)))


@functools.singledispatch
def optimizer_of(
    optimizer: spec.Optimizer, parameters: Sequence[tf.Variable], declared: Sequence[Parameter]
) -> Optimizer:
    """The optimizer for these parameters; `declared` says of each what the spec says of it."""
    raise Unsupported(f"the tensorflow backend has no lowering for the optimizer {name_of(optimizer)!r}")


@optimizer_of.register
def _(optimizer: spec.SGD, parameters: Sequence[tf.Variable], declared: Sequence[Parameter]) -> Optimizer:
    next_rate, done = _rate(optimizer.learning_rate)
    decays = [optimizer.of(parameter).weight_decay for parameter in declared]

    def with_decay(gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [
            gradient + parameter * _scalar(decay, parameter) if decay else gradient
            for parameter, decay, gradient in zip(parameters, decays, gradients, strict=True)
        ]

    if not optimizer.momentum:

        def descend(gradients: Sequence[tf.Tensor]) -> None:
            rate = _scalar(next_rate(), parameters[0])
            for parameter, gradient in zip(parameters, with_decay(gradients), strict=True):
                tf.raw_ops.ResourceApplyGradientDescent(var=parameter.handle, alpha=rate, delta=gradient)

        return Optimizer(descend, done)

    velocities = _slots(parameters)

    def step(gradients: Sequence[tf.Tensor]) -> None:
        rate = _scalar(next_rate(), parameters[0])
        for parameter, velocity, gradient in zip(parameters, velocities, with_decay(gradients), strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=parameter.handle,
                accum=velocity.handle,
                lr=rate,
                grad=gradient,
                momentum=_scalar(optimizer.momentum, parameter),
            )

    return Optimizer(step, (*_from(0.0, velocities), *done))


@optimizer_of.register
def _(optimizer: spec.Adam, parameters: Sequence[tf.Variable], declared: Sequence[Parameter]) -> Optimizer:
    decays = [optimizer.of(parameter).weight_decay > 0 for parameter in declared]
    first, second = _slots(parameters), _slots(parameters)
    next_rate, done = _rate(optimizer.learning_rate)
    dtype = parameters[0].dtype
    # The betas as the kernel has them, so that the bias correction is the one of its own averages.
    beta1, beta2 = (float(dtype.as_numpy_dtype(beta)) for beta in (optimizer.beta1, optimizer.beta2))
    power1, power2 = (tf.Variable(1.0, trainable=False, dtype=tf.float64) for _ in range(2))

    def step(gradients: Sequence[tf.Tensor]) -> None:
        # The kernel corrects the bias by powers in its tensors' precision, where 1 - beta2^t keeps but four
        # digits, and adds epsilon before that. Both are done here, in float64; its own powers are zero.
        beta1_power, beta2_power = power1 * beta1, power2 * beta2
        power1.assign(beta1_power)
        power2.assign(beta2_power)
        root = tf.sqrt(1 - beta2_power)
        rate = next_rate()
        corrected = tf.cast(rate * root / (1 - beta1_power), dtype)
        epsilon = tf.cast(optimizer.epsilon * root, dtype)
        decay = _scalar(rate * optimizer.weight_decay, parameters[0])
        for parameter, decayed, m, v, gradient in zip(
            parameters, decays, first, second, gradients, strict=True
        ):
            if decayed:
                parameter.assign_sub(parameter * decay)
            tf.raw_ops.ResourceApplyAdam(
                var=parameter.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=_scalar(0.0, parameter),
                beta2_power=_scalar(0.0, parameter),
                lr=corrected,
                beta1=_scalar(beta1, parameter),
                beta2=_scalar(beta2, parameter),
                epsilon=epsilon,
                grad=gradient,
            )

    return Optimizer(step, (*_from(0.0, [*first, *second]), *_from(1.0, [power1, power2]), *done))


@optimizer_of.register
def _(optimizer: spec.RMSProp, parameters: Sequence[tf.Variable], declared: Sequence[Parameter]) -> Optimizer:
    second, moved = _slots(parameters), _slots(parameters)
    next_rate, done = _rate(optimizer.learning_rate)

    def step(gradients: Sequence[tf.Tensor]) -> None:
        rate = _scalar(next_rate(), parameters[0])
        for parameter, ms, mom, gradient in zip(parameters, second, moved, gradients, strict=True):
            tf.raw_ops.ResourceApplyRMSProp(
                var=parameter.handle,
                ms=ms.handle,
                mom=mom.handle,
                lr=rate,
                rho=_scalar(optimizer.rho, parameter),
                momentum=_scalar(0.0, parameter),
                epsilon=_scalar(optimizer.epsilon, parameter),
                grad=gradient,
            )

    return Optimizer(step, (*_from(0.0, [*second, *moved]), *done))


def _rate(learning_rate: LearningRate) -> tuple[Callable[[], Any], Memory]:
    """A function that gives each next step its rate, and the memory that it has.

    A schedule's rate is a float64 tensor, from a count of the steps done; a constant rate has no memory.
    """
    if not isinstance(learning_rate, Schedule):
        return lambda: learning_rate, ()
    schedule, done = learning_rate, tf.Variable(0.0, trainable=False, dtype=tf.float64)

    def next_rate() -> tf.Tensor:
        before = done.read_value()
        done.assign(before + 1)
        return schedule.rate(before, tf)

    return next_rate, _from(0.0, [done])


def _from(first: float, variables: Sequence[tf.Variable]) -> Memory:
    return tuple((variable, first) for variable in variables)


def _slots(parameters: Sequence[tf.Variable]) -> list[tf.Variable]:
    return [tf.Variable(tf.zeros_like(parameter), trainable=False) for parameter in parameters]


def _scalar(number: float | tf.Tensor, parameter: tf.Variable) -> tf.Tensor:
    """A number for the kernel of `parameter`. (`tf.cast` would take a Python float through float32.)"""
    if isinstance(number, float):
        return tf.constant(number, parameter.dtype)
    return tf.cast(number, parameter.dtype)
