"""Reverse-mode differentiation over NumPy: a definition's gradient without a second definition.

A layer states its forward pass once, with these operations; its gradient follows. The tests hold every
operation to central differences. Plain and slow on purpose; dtypes are kept, so the same definition runs
in float64 (the meaning) and in float32 (what rounding costs).

The method is the textbook one: A. Griewank and A. Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, ch. 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Union

import numpy as np

Pullback = Callable[[np.ndarray], np.ndarray]
Operand = Union["Array", np.ndarray, float, int]
Axes = int | tuple[int, ...] | None


class Array:
    """A NumPy array that remembers how it was made."""

    __array_priority__ = 1000.0

    def __init__(self, value: Any, parents: Sequence[tuple[Array, Pullback]] = ()) -> None:
        self.value = np.asarray(value)
        self.parents = tuple(parents)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, batch axis included."""
        return self.value.shape

    @property
    def dtype(self) -> Any:
        """The NumPy dtype."""
        return self.value.dtype

    def __add__(self, other: Operand) -> Array:
        a, b = self, constant(other, self)
        return Array(a.value + b.value, [(a, _to_shape(a)), (b, _to_shape(b))])

    def __sub__(self, other: Operand) -> Array:
        a, b = self, constant(other, self)
        into_b = _to_shape(b)
        return Array(a.value - b.value, [(a, _to_shape(a)), (b, lambda g: into_b(-g))])

    def __neg__(self) -> Array:
        return Array(-self.value, [(self, lambda g: -g)])

    def __mul__(self, other: Operand) -> Array:
        a, b = self, constant(other, self)
        into_a, into_b = _to_shape(a), _to_shape(b)
        return Array(
            a.value * b.value,
            [(a, lambda g: into_a(g * b.value)), (b, lambda g: into_b(g * a.value))],
        )

    def __truediv__(self, other: Operand) -> Array:
        a, b = self, constant(other, self)
        into_a, into_b = _to_shape(a), _to_shape(b)
        return Array(
            a.value / b.value,
            [(a, lambda g: into_a(g / b.value)), (b, lambda g: into_b(-g * a.value / b.value**2))],
        )

    def __radd__(self, other: Operand) -> Array:
        return constant(other, self) + self

    def __rsub__(self, other: Operand) -> Array:
        return constant(other, self) - self

    def __rmul__(self, other: Operand) -> Array:
        return constant(other, self) * self

    def __rtruediv__(self, other: Operand) -> Array:
        return constant(other, self) / self

    def __matmul__(self, other: Array) -> Array:
        a, b = self, other
        into_a, into_b = _to_shape(a), _to_shape(b)
        return Array(
            a.value @ b.value,
            [
                (a, lambda g: into_a(g @ np.swapaxes(b.value, -1, -2))),
                (b, lambda g: into_b(np.swapaxes(a.value, -1, -2) @ g)),
            ],
        )

    def __getitem__(self, key: Any) -> Array:
        def pull(g: np.ndarray) -> np.ndarray:
            whole = np.zeros_like(self.value)
            if isinstance(self.value[key], np.ndarray) and np.shares_memory(self.value[key], self.value):
                whole[key] = g
            else:
                np.add.at(whole, key, g)
            return whole

        return Array(self.value[key], [(self, pull)])


def constant(value: Operand, like: Array) -> Array:
    """A value that nothing is differentiated by, in the dtype of `like`."""
    if isinstance(value, Array):
        return value
    return Array(np.asarray(value, dtype=like.dtype))


def _to_shape(target: Array) -> Pullback:
    """Undo broadcasting: sum a gradient down to the shape of `target`."""
    shape = target.shape

    def pull(g: np.ndarray) -> np.ndarray:
        extra = g.ndim - len(shape)
        summed = g.sum(axis=tuple(range(extra))) if extra else g
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1 and summed.shape[axis] != 1)
        return summed.sum(axis=axes, keepdims=True) if axes else summed

    return pull


def gradients(output: Array, inputs: Sequence[Array]) -> list[np.ndarray]:
    """The gradient of a scalar `output` with respect to each of `inputs` (zeros where it does not depend)."""
    if output.value.size != 1:
        raise ValueError(f"only a scalar has a gradient here, got shape {output.shape}")
    collected: dict[int, np.ndarray] = {id(output): np.ones_like(output.value)}
    for array in reversed(_topological(output)):
        gradient = collected.get(id(array))
        if gradient is None:
            continue
        for parent, pull in array.parents:
            piece = pull(gradient)
            collected[id(parent)] = collected[id(parent)] + piece if id(parent) in collected else piece
    return [collected.get(id(array), np.zeros_like(array.value)) for array in inputs]


def _topological(output: Array) -> list[Array]:
    order: list[Array] = []
    seen: set[int] = set()
    stack: list[tuple[Array, bool]] = [(output, False)]
    while stack:
        array, done = stack.pop()
        if done:
            order.append(array)
        elif id(array) not in seen:
            seen.add(id(array))
            stack.append((array, True))
            stack.extend((parent, False) for parent, _ in array.parents)
    return order


def exp(a: Array) -> Array:
    """Exponential, elementwise."""
    value = np.exp(a.value)
    return Array(value, [(a, lambda g: g * value)])


def log(a: Array) -> Array:
    """Natural logarithm, elementwise."""
    return Array(np.log(a.value), [(a, lambda g: g / a.value)])


def sqrt(a: Array) -> Array:
    """Square root, elementwise."""
    value = np.sqrt(a.value)
    return Array(value, [(a, lambda g: g / (2 * value))])


def tanh(a: Array) -> Array:
    """Hyperbolic tangent, elementwise."""
    value = np.tanh(a.value)
    return Array(value, [(a, lambda g: g * (1 - value * value))])


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), as (1 + tanh(a / 2)) / 2: the same function, which never overflows."""
    return (tanh(a * 0.5) + 1.0) * 0.5


def erf(a: Array) -> Array:
    """The error function, elementwise."""
    value = _erf(a.value).astype(a.dtype)
    return Array(value, [(a, lambda g: g * (2 / math.sqrt(math.pi)) * np.exp(-(a.value**2)))])


_erf = np.frompyfunc(math.erf, 1, 1)


def softplus(a: Array) -> Array:
    """log(1 + exp(a)), elementwise, which never overflows."""
    value = np.logaddexp(a.value, np.zeros_like(a.value))
    return Array(value, [(a, lambda g: g * (np.tanh(a.value * 0.5) + 1) * 0.5)])


def absolute(a: Array) -> Array:
    """Absolute value, elementwise; the gradient at zero is zero."""
    return Array(np.abs(a.value), [(a, lambda g: g * np.sign(a.value))])


def relu(a: Array) -> Array:
    """max(a, 0), elementwise; the gradient at zero is zero."""
    positive = a.value > 0
    return Array(np.where(positive, a.value, np.zeros_like(a.value)), [(a, lambda g: g * positive)])


def total(a: Array, axis: Axes = None, keepdims: bool = False) -> Array:
    """Sum over `axis` (all axes where None)."""

    def pull(g: np.ndarray) -> np.ndarray:
        if axis is not None and not keepdims:
            g = np.expand_dims(g, axis)
        return np.broadcast_to(g, a.shape).astype(a.dtype)

    return Array(np.sum(a.value, axis=axis, keepdims=keepdims), [(a, pull)])


def mean(a: Array, axis: Axes = None, keepdims: bool = False) -> Array:
    """Arithmetic mean over `axis` (all axes where None)."""
    summed = total(a, axis, keepdims)
    return summed / float(a.value.size / summed.value.size)


def reshape(a: Array, shape: tuple[int, ...]) -> Array:
    """The same numbers in another shape, row-major."""
    return Array(a.value.reshape(shape), [(a, lambda g: g.reshape(a.shape))])


def transpose(a: Array, axes: tuple[int, ...]) -> Array:
    """The axes in another order."""
    back = tuple(int(axis) for axis in np.argsort(axes))
    return Array(a.value.transpose(axes), [(a, lambda g: g.transpose(back))])


def concatenate(arrays: Sequence[Array], axis: int = -1) -> Array:
    """Join arrays along `axis`."""
    edges = np.cumsum([array.shape[axis] for array in arrays])[:-1]

    def pull(index: int) -> Pullback:
        return lambda g: np.split(g, edges, axis)[index]

    return Array(
        np.concatenate([array.value for array in arrays], axis),
        [(array, pull(index)) for index, array in enumerate(arrays)],
    )


def pad(a: Array, widths: Sequence[tuple[int, int]], fill: float = 0.0) -> Array:
    """Surround with `fill`: `widths` has (before, after) for each axis."""
    inner = tuple(slice(before, before + size) for (before, _), size in zip(widths, a.shape, strict=True))
    return Array(np.pad(a.value, widths, constant_values=fill), [(a, lambda g: g[inner])])


def windows(a: Array, size: tuple[int, int], strides: tuple[int, int]) -> Array:
    """Every window of an image: (N, H, W, C) to (N, rows, columns, size[0] * size[1], C)."""
    (kh, kw), (sh, sw) = size, strides
    n, h, w, c = a.shape
    rows, columns = (h - kh) // sh + 1, (w - kw) // sw + 1
    places = [
        (slice(None), slice(i, i + sh * rows, sh), slice(j, j + sw * columns, sw))
        for i in range(kh)
        for j in range(kw)
    ]

    def pull(g: np.ndarray) -> np.ndarray:
        whole = np.zeros_like(a.value)
        for index, place in enumerate(places):
            whole[place] += g[:, :, :, index]
        return whole

    stacked = np.stack([a.value[place] for place in places], axis=3)
    return Array(stacked.reshape(n, rows, columns, kh * kw, c), [(a, pull)])


def overlap_add(a: Array, size: tuple[int, int], strides: tuple[int, int]) -> Array:
    """The adjoint of `windows`: (N, rows, columns, size[0] * size[1], C), each window added at its place, to
    (N, (rows - 1) * strides[0] + size[0], (columns - 1) * strides[1] + size[1], C).
    """
    (kh, kw), (sh, sw) = size, strides
    n, rows, columns, _, c = a.shape
    places = [
        (
            slice(None),
            slice(i, i + sh * (rows - 1) + 1, sh),
            slice(j, j + sw * (columns - 1) + 1, sw),
        )
        for i in range(kh)
        for j in range(kw)
    ]
    whole = np.zeros((n, (rows - 1) * sh + kh, (columns - 1) * sw + kw, c), a.dtype)
    for index, place in enumerate(places):
        whole[place] += a.value[:, :, :, index]

    def pull(g: np.ndarray) -> np.ndarray:
        return np.stack([g[place] for place in places], axis=3)

    return Array(whole, [(a, pull)])


def maximum(a: Array, axis: int) -> Array:
    """Largest element along `axis`; of equal ones the first gets the gradient."""
    chosen = np.expand_dims(np.argmax(a.value, axis), axis)

    def pull(g: np.ndarray) -> np.ndarray:
        whole = np.zeros_like(a.value)
        np.put_along_axis(whole, chosen, np.expand_dims(g, axis), axis)
        return whole

    return Array(np.take_along_axis(a.value, chosen, axis).squeeze(axis), [(a, pull)])


def log_softmax(a: Array, axis: int = -1) -> Array:
    """log(softmax(a)) along `axis`, shifted by the maximum so that nothing overflows."""
    shifted = a - Array(a.value.max(axis=axis, keepdims=True))
    return shifted - log(total(exp(shifted), axis, keepdims=True))


def pick(a: Array, labels: np.ndarray) -> Array:
    """`a[..., labels]`: the element that an integer label names along the last axis."""
    index = np.expand_dims(labels, -1)

    def pull(g: np.ndarray) -> np.ndarray:
        whole = np.zeros_like(a.value)
        np.put_along_axis(whole, index, np.expand_dims(g, -1), -1)
        return whole

    return Array(np.take_along_axis(a.value, index, -1).squeeze(-1), [(a, pull)])
