"""Faults inside the MXNet backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import mxnet as mx

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
