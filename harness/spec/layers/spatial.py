"""Windows over images: what convolution and pooling share."""

from __future__ import annotations

from typing import Literal

from harness.spec.codec import SpecError
from harness.spec.layers.base import Shape, check_rank

Padding = Literal["valid", "same"] | tuple[tuple[int, int], tuple[int, int]]
"""`valid`: none. `same`: output is ceil(input / stride), the odd pixel of padding goes to the bottom and the
right (TensorFlow's SAME). Or explicit ((top, bottom), (left, right))."""

Pads = tuple[tuple[int, int], tuple[int, int]]


def pads(padding: Padding, shape: Shape, size: tuple[int, int], strides: tuple[int, int]) -> Pads:
    """((top, bottom), (left, right)) in pixels for an example of `shape` (height, width, channels)."""
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding == "same":
        rows, columns = (_same(shape[axis], size[axis], strides[axis]) for axis in (0, 1))
        return rows, columns
    return padding


def _same(length: int, size: int, stride: int) -> tuple[int, int]:
    needed = max((-(-length // stride) - 1) * stride + size - length, 0)
    return needed // 2, needed - needed // 2


def window_shape(
    padding: Padding, shape: Shape, size: tuple[int, int], strides: tuple[int, int]
) -> tuple[int, int]:
    """(rows, columns) of windows over an example (height, width, channels). SpecError where none fits."""
    check_rank(shape, 3, "an image (height, width, channels)")
    counts = []
    for axis, (before, after) in enumerate(pads(padding, shape, size, strides)):
        length = shape[axis] + before + after
        if length < size[axis]:
            image = f"an image of {shape[:2]} with padding {padding}"
            raise SpecError(f"a window of {size} does not fit in {image}")
        counts.append((length - size[axis]) // strides[axis] + 1)
    return counts[0], counts[1]


def check_window(size: tuple[int, int], strides: tuple[int, int], padding: Padding) -> None:
    """Raise SpecError unless sizes and strides are positive and explicit pads are not negative."""
    for name, pair in (("size", size), ("strides", strides)):
        if min(pair) < 1:
            raise SpecError(f"must be positive, got {list(pair)}", (name,))
    if not isinstance(padding, str) and min(*padding[0], *padding[1]) < 0:
        raise SpecError("must not be negative", ("padding",))
