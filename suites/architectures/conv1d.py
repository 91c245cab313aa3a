"""A convolutional net along time."""

from __future__ import annotations

from harness.spec.layers import BatchNorm, Conv1D, Dense, Dropout, GlobalAvgPool1D, MaxPool1D, ReLU, Shape
from harness.spec.model import Model, sequential


def conv1d(
    shape: Shape, classes: int, *, widths: tuple[int, ...], size: int = 3, dropout: float = 0.0
) -> Model:
    """For each of `widths` a convolution over `size` steps, normalized, and a halving; then the mean over
    what is left of the time, and a logit a class.
    """
    blocks = [
        layer
        for width in widths
        for layer in (
            Conv1D(width, size, padding="same", bias=False, initializer="he_normal"),
            BatchNorm(),
            ReLU(),
            MaxPool1D(),
        )
    ]
    return sequential(
        shape, *blocks, GlobalAvgPool1D(), *([Dropout(dropout)] if dropout else []), Dense(classes)
    )
