"""Each optimizer of the spec by TensorFlow's own fused update kernels (`tf.raw_ops.ResourceApply...`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from harness.spec import optimizers as spec
from harness.spec.codec import name_of
from harness.worker.protocol import Unsupported


@dataclass(frozen=True)
class Optimizer:
    """`step(gradients)` moves the parameters; `memory` is what it keeps, with its first value."""

    step: Callable[[Sequence[tf.Tensor]], None]
    memory: tuple[tuple[tf.Variable, float], ...] = ()

    def reset(self) -> None:
        """Forget every step."""
        for variable, first in self.memory:
            variable.assign(tf.fill(variable.shape, tf.constant(first, variable.dtype)))


@functools.singledispatch
def optimizer_of(optimizer: spec.Optimizer, parameters: Sequence[tf.Variable]) -> Optimizer:
    """The optimizer for these parameters."""
    raise Unsupported(f"the tensorflow backend has no lowering for the optimizer {name_of(optimizer)!r}")


@optimizer_of.register
def _(optimizer: spec.SGD, parameters: Sequence[tf.Variable]) -> Optimizer:
    if not optimizer.momentum:

        def descend(gradients: Sequence[tf.Tensor]) -> None:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=parameter.handle, alpha=_like(optimizer.learning_rate, parameter), delta=gradient
                )

        return Optimizer(descend)

    velocities = _slots(parameters)

    def step(gradients: Sequence[tf.Tensor]) -> None:
        for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=parameter.handle,
                accum=velocity.handle,
                lr=_like(optimizer.learning_rate, parameter),
                grad=gradient,
                momentum=_like(optimizer.momentum, parameter),
            )

    return Optimizer(step, tuple((velocity, 0.0) for velocity in velocities))


@optimizer_of.register
def _(optimizer: spec.Adam, parameters: Sequence[tf.Variable]) -> Optimizer:
    first, second = _slots(parameters), _slots(parameters)
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
        rate = tf.cast(optimizer.learning_rate * root / (1 - beta1_power), dtype)
        epsilon = tf.cast(optimizer.epsilon * root, dtype)
        for parameter, m, v, gradient in zip(parameters, first, second, gradients, strict=True):
            if optimizer.weight_decay:
                parameter.assign_sub(parameter * (optimizer.learning_rate * optimizer.weight_decay))
            tf.raw_ops.ResourceApplyAdam(
                var=parameter.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=_like(0.0, parameter),
                beta2_power=_like(0.0, parameter),
                lr=rate,
                beta1=_like(beta1, parameter),
                beta2=_like(beta2, parameter),
                epsilon=epsilon,
                grad=gradient,
            )

    return Optimizer(step, (*[(slot, 0.0) for slot in (*first, *second)], (power1, 1.0), (power2, 1.0)))


def _slots(parameters: Sequence[tf.Variable]) -> list[tf.Variable]:
    return [tf.Variable(tf.zeros_like(parameter), trainable=False) for parameter in parameters]


def _like(number: float, parameter: tf.Variable) -> tf.Tensor:
    return tf.constant(number, parameter.dtype)
