"""Each loss and penalty of the spec in Optax and `jax.numpy`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from harness.spec import losses as spec
from harness.spec.codec import name_of
from harness.spec.penalties import L1, L2, Penalty
from harness.worker.protocol import Unsupported

Function = Callable[..., Any]

_REDUCE: dict[spec.Reduction, Function] = {"mean": jnp.mean, "sum": jnp.sum}


@functools.singledispatch
def loss_of(loss: spec.Loss) -> Function:
    """The function for a loss."""
    raise Unsupported(f"the jax backend has no lowering for the loss {name_of(loss)!r}")


@loss_of.register
def _(loss: spec.CrossEntropy) -> Function:
    reduce = _REDUCE[loss.reduction]
    return lambda logits, labels: reduce(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


@loss_of.register
def _(loss: spec.MeanSquaredError) -> Function:
    if loss.reduction == "mean":
        return lambda prediction, target: optax.squared_error(prediction, target).mean()
    return lambda prediction, target: optax.squared_error(prediction, target).mean() * len(target)


@functools.singledispatch
def penalty_of(penalty: Penalty) -> Function:
    """The function for a penalty."""
    raise Unsupported(f"the jax backend has no lowering for the penalty {name_of(penalty)!r}")


@penalty_of.register
def _(penalty: L1) -> Function:
    return lambda kernel: jnp.abs(kernel).sum() * penalty.rate


@penalty_of.register
def _(penalty: L2) -> Function:
    return lambda kernel: jnp.square(kernel).sum() * penalty.rate
