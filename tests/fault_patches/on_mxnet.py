"""Faults inside the MXNet backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import mxnet as mx

from harness.spec.layers import Upsample2D
from tests.proving_ground import EPSILON


def epsilon_first(module: ModuleType) -> Callable[[], None]:
    right = mx.nd.adam_update

    def wrong(*tensors: Any, **words: Any) -> Any:
        return right(*tensors, **{**words, "epsilon": EPSILON})

    mx.nd.adam_update = wrong
    return lambda: setattr(mx.nd, "adam_update", right)


def dropout_left_on(module: ModuleType) -> Callable[[], None]:
    kind = mx.gluon.nn.Dropout
    right = kind.hybrid_forward
    kind.hybrid_forward = lambda self, F, x: F.Dropout(x, p=self._rate, mode="always")
    return lambda: setattr(kind, "hybrid_forward", right)


def epsilon_outside(module: ModuleType) -> Callable[[], None]:
    right = mx.nd.rmsprop_update

    def wrong(
        weight: Any, gradient: Any, second: Any, *, out: Any, lr: float, gamma1: float, epsilon: float
    ) -> None:
        second[:] = gamma1 * second + (1 - gamma1) * gradient * gradient
        out[:] = weight - lr * gradient / (mx.nd.sqrt(second) + epsilon)

    mx.nd.rmsprop_update = wrong
    return lambda: setattr(mx.nd, "rmsprop_update", right)


def rate_inside(module: ModuleType) -> Callable[[], None]:
    """MXNet's own momentum, as it comes: the velocity holds the learning rates of its past steps."""
    kind = module.optimizers._SGD
    right = kind.set_learning_rate
    kind.set_learning_rate = mx.optimizer.Optimizer.set_learning_rate
    return lambda: setattr(kind, "set_learning_rate", right)


def clipped_by_tensor(module: ModuleType) -> Callable[[], None]:
    right = module.optimizers.clip

    def wrong(gradients: list[Any], norm: float) -> None:
        for gradient in gradients:
            right([gradient], norm)

    module.optimizers.clip = wrong
    return lambda: setattr(module.optimizers, "clip", right)


def bilinear(module: ModuleType) -> Callable[[], None]:
    layers = module.layers
    right = layers.lower.dispatch(Upsample2D)

    def wrong(layer: Upsample2D, place: Any) -> Any:
        (rows, columns), (height, width, _) = layer.size, place.shape
        words = {"height": height * rows, "width": width * columns, "align_corners": False}
        return layers.Lowered(mx.gluon.nn.HybridLambda(lambda F, x: F.contrib.BilinearResize2D(x, **words)))

    layers.lower.register(Upsample2D, wrong)
    return lambda: layers.lower.register(Upsample2D, right)
