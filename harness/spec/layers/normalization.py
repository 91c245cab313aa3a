"""Normalization layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.spec.codec import later, member
from harness.spec.initializers import Initializer
from harness.spec.layers.base import Layer, Parameter, Pass, Shape, check_axes, check_positive, check_rate
from harness.spec.tape import Array, mean, sqrt


@member("batch_norm")
@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalization over the last axis (Ioffe and Szegedy 2015).

    Training: (x - mean) / sqrt(var + epsilon) * scale + shift with the batch's mean and biased variance over
    every axis but the last. The running statistics become momentum * old + (1 - momentum) * batch, where the
    batch's variance enters as `running_variance` says: `biased` (divided by n) or `unbiased` (by n - 1).
    Evaluation: the running statistics in place of the batch's.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    running_variance: Literal["biased", "unbiased"] = "biased"
    initializer: Initializer = later("ones")
    """Of the scale."""

    def __post_init__(self) -> None:
        check_positive(epsilon=self.epsilon)
        check_rate(momentum=self.momentum)

    def output_shape(self, *inputs: Shape) -> Shape:
        """As the input."""
        check_axes(inputs[0])
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`scale`, `shift` and the state `running_mean`, `running_variance`, each (channels,)."""
        shape = (inputs[0][-1],)
        return {
            "scale": Parameter(shape, self.initializer),
            "shift": Parameter(shape, "zeros"),
            "running_mean": Parameter(shape, "zeros", trainable=False),
            "running_variance": Parameter(shape, "ones", trainable=False),
        }

    def flops(self, *inputs: Shape) -> int:
        """Two for each element: evaluation folds into one multiply and one add."""
        return 2 * int(np.prod(inputs[0]))

    def variance_factor(self, count: int) -> float:
        """What the batch's biased variance over `count` elements is multiplied by as it enters the state."""
        return count / (count - 1) if self.running_variance == "unbiased" else 1.0

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Normalize, scale and shift; in training, leave the new running statistics in `this.state`."""
        (x,) = inputs
        if this.training:
            axes = tuple(range(len(x.shape) - 1))
            centre = mean(x, axes)
            deviation = x - centre
            variance = mean(deviation * deviation, axes)
            count = x.value.size // x.shape[-1]
            fresh = {"running_mean": centre, "running_variance": variance * self.variance_factor(count)}
            for name, statistic in fresh.items():
                old = parameters[name].value
                this.state[name] = self.momentum * old + (1 - self.momentum) * statistic.value
        else:
            deviation = x - parameters["running_mean"]
            variance = parameters["running_variance"]
        return deviation / sqrt(variance + self.epsilon) * parameters["scale"] + parameters["shift"]


@member("layer_norm")
@dataclass(frozen=True)
class LayerNorm(Layer):
    """Layer normalization over the last axis (Ba, Kiros and Hinton 2016):
    (x - mean) / sqrt(var + epsilon) * scale + shift with the biased variance; the same in evaluation.
    """

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_positive(epsilon=self.epsilon)

    def output_shape(self, *inputs: Shape) -> Shape:
        """As the input."""
        check_axes(inputs[0])
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """`scale` and `shift`, each (channels,)."""
        shape = (inputs[0][-1],)
        return {"scale": Parameter(shape, "ones"), "shift": Parameter(shape, "zeros")}

    def flops(self, *inputs: Shape) -> int:
        """Eight for each element: mean, deviation, square, variance, division, scale and shift."""
        return 8 * int(np.prod(inputs[0]))

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        """Normalize each position over its channels, scale and shift."""
        (x,) = inputs
        deviation = x - mean(x, -1, keepdims=True)
        variance = mean(deviation * deviation, -1, keepdims=True)
        return deviation / sqrt(variance + self.epsilon) * parameters["scale"] + parameters["shift"]
