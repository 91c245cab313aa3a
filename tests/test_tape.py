"""Every operation of the tape has the gradient of its value, for any shapes, and keeps the dtype."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from harness.spec import tape
from harness.spec.tape import Array, gradients, total
from tests.differences import Values, check_gradients, generator

many = settings(derandomize=True, deadline=None, max_examples=30, database=None)
shapes = npst.array_shapes(min_dims=1, max_dims=3, max_side=3)


@dataclass(frozen=True)
class Operation:
    """A call on arguments of these shapes; `positive` for a function of positive numbers."""

    function: Callable[..., Array]
    shapes: tuple[tuple[int, ...], ...]
    positive: bool = False

    def values(self, dtype: Any = np.float64, seed: int = 0) -> list[Values]:
        random = generator(seed)
        drawn = [random.normal(size=shape) for shape in self.shapes]
        return [(np.abs(value) + 0.5 if self.positive else value).astype(dtype) for value in drawn]


LABELS = np.array([[0, 4, 2], [1, 1, 3]])

OPERATIONS = {
    "add": Operation(lambda a, b: a + b, ((2, 3), (3,))),
    "add number": Operation(lambda a: 2 + a + 1.5, ((2, 3),)),
    "sub": Operation(lambda a, b: a - b, ((2, 3), (2, 1))),
    "sub number": Operation(lambda a: 2 - a - 1.5, ((2, 3),)),
    "neg": Operation(lambda a: -a, ((2, 3),)),
    "mul": Operation(lambda a, b: a * b, ((2, 3), (4, 1, 3))),
    "mul number": Operation(lambda a: 2 * a * 1.5, ((2, 3),)),
    "mul itself": Operation(lambda a: a * a, ((2, 3),)),
    "truediv": Operation(lambda a, b: a / b, ((2, 3), (1, 3)), positive=True),
    "truediv number": Operation(lambda a: 2 / a / 1.5, ((2, 3),), positive=True),
    "matmul": Operation(lambda a, b: a @ b, ((2, 3), (3, 4))),
    "matmul of stacks": Operation(lambda a, b: a @ b, ((5, 2, 3), (5, 3, 4))),
    "matmul of a stack by one": Operation(lambda a, b: a @ b, ((5, 2, 3), (3, 4))),
    "matmul of one by a stack": Operation(lambda a, b: a @ b, ((2, 3), (5, 3, 4))),
    "getitem slice": Operation(lambda a: a[:, 1:], ((2, 3),)),
    "getitem number": Operation(lambda a: a[:, 1], ((2, 3),)),
    "getitem rows, one of them twice": Operation(lambda a: a[np.array([[2, 0], [2, 1]])], ((3, 4),)),
    "getitem number of each axis": Operation(lambda a: a[1, 2], ((2, 3),)),
    "exp": Operation(tape.exp, ((2, 3),)),
    "log": Operation(tape.log, ((2, 3),), positive=True),
    "sqrt": Operation(tape.sqrt, ((2, 3),), positive=True),
    "tanh": Operation(tape.tanh, ((2, 3),)),
    "sigmoid": Operation(tape.sigmoid, ((2, 3),)),
    "erf": Operation(tape.erf, ((2, 3),)),
    "softplus": Operation(tape.softplus, ((2, 3),)),
    "absolute": Operation(tape.absolute, ((2, 3),)),
    "relu": Operation(tape.relu, ((2, 3),)),
    "total": Operation(tape.total, ((2, 3),)),
    "total over axes": Operation(lambda a: total(a, (0, -1)), ((2, 3, 4),)),
    "total keeping axes": Operation(lambda a: total(a, 1, keepdims=True), ((2, 3, 4),)),
    "total of all keeping axes": Operation(lambda a: total(a, keepdims=True), ((2, 3),)),
    "mean": Operation(tape.mean, ((2, 3),)),
    "mean over axes": Operation(lambda a: tape.mean(a, (0, 2)), ((2, 3, 4),)),
    "reshape": Operation(lambda a: tape.reshape(a, (3, 4)), ((2, 6),)),
    "transpose": Operation(lambda a: tape.transpose(a, (2, 0, 1)), ((2, 3, 4),)),
    "concatenate": Operation(lambda a, b, c: tape.concatenate([a, b, c], 1), ((2, 1), (2, 3), (2, 2))),
    "pad": Operation(lambda a: tape.pad(a, ((0, 1), (2, 0)), 3.0), ((2, 3),)),
    "windows": Operation(lambda a: tape.windows(a, (2, 3), (1, 2)), ((2, 5, 6, 2),)),
    "overlap_add": Operation(lambda a: tape.overlap_add(a, (2, 3), (1, 2)), ((2, 3, 2, 6, 2),)),
    "maximum": Operation(lambda a: tape.maximum(a, 1), ((2, 5, 3),)),
    "log_softmax": Operation(tape.log_softmax, ((2, 5),)),
    "log_softmax over an axis": Operation(lambda a: tape.log_softmax(a, 0), ((2, 5),)),
    "pick": Operation(lambda a: tape.pick(a, LABELS), ((2, 3, 5),)),
}

NOT_OPERATIONS = {"constant", "gradients"}
OPERATORS = ("add", "sub", "neg", "mul", "truediv", "matmul", "getitem")


def test_every_operation_has_a_case() -> None:
    public = {
        name
        for name, function in inspect.getmembers(tape, inspect.isfunction)
        if function.__module__ == tape.__name__ and not name.startswith("_")
    }
    assert public - NOT_OPERATIONS <= set(OPERATIONS)
    defined = {name.strip("_") for name in vars(Array) if name.startswith("__")}
    python = {"module", "qualname", "doc", "init", "dict", "weakref", "array_priority", "firstlineno"}
    assert {name.removeprefix("r") for name in defined - python - {"static_attributes"}} <= set(OPERATORS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradient_is_that_of_central_differences(name: str) -> None:
    operation = OPERATIONS[name]
    check_gradients(operation.function, *operation.values())


@pytest.mark.parametrize("name", OPERATIONS)
def test_float32_stays_float32_forward_and_back(name: str) -> None:
    operation = OPERATIONS[name]
    arrays = [Array(value) for value in operation.values(np.float32)]
    output = operation.function(*arrays)
    assert output.dtype == np.float32
    assert [gradient.dtype for gradient in gradients(total(output), arrays)] == [np.float32] * len(arrays)


@many
@given(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), st.sampled_from("+-*/"))
def test_arithmetic_broadcasts_as_numpy_does(both: npst.BroadcastableShapes, sign: str) -> None:
    binary = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[sign]

    def function(a: Array, b: Array) -> Array:
        return {"+": a.__add__, "-": a.__sub__, "*": a.__mul__, "/": a.__truediv__}[sign](b)

    values = Operation(function, both.input_shapes, positive=True).values()
    assert np.array_equal(function(*map(Array, values)).value, binary(*values))
    check_gradients(function, *values)


@many
@given(shapes, st.data(), st.booleans())
def test_sums_and_means_over_any_axes(shape: tuple[int, ...], data: st.DataObject, keepdims: bool) -> None:
    axes = st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1).map(tuple)
    signed = axes.map(lambda chosen: tuple(axis - len(shape) for axis in chosen))
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1) | axes | signed)
    values = generator(1).normal(size=shape)
    for ours, numpys in ((tape.total, np.sum), (tape.mean, np.mean)):
        expected = numpys(values, axis=axis, keepdims=keepdims)
        assert np.allclose(ours(Array(values), axis, keepdims).value, expected, rtol=1e-14)
        check_gradients(lambda a, ours=ours: ours(a, axis, keepdims), values, directions=1)


@many
@given(shapes, st.data())
def test_transpose_by_any_order(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    values = generator(2).normal(size=shape)
    assert np.array_equal(tape.transpose(Array(values), axes).value, values.transpose(axes))
    check_gradients(lambda a: tape.transpose(a, axes), values, directions=1)


@many
@given(st.tuples(*[st.integers(1, 3)] * 4), st.integers(0, 3), st.integers(0, 3))
def test_windows_of_any_size_and_stride(sizes: tuple[int, int, int, int], taller: int, wider: int) -> None:
    kh, kw, sh, sw = sizes
    image = generator(3).normal(size=(2, kh + taller, kw + wider, 2))
    found = tape.windows(Array(image), (kh, kw), (sh, sw)).value
    assert found.shape[1:3] == (taller // sh + 1, wider // sw + 1)
    for row in range(found.shape[1]):
        for column in range(found.shape[2]):
            window = image[:, row * sh : row * sh + kh, column * sw : column * sw + kw]
            assert np.array_equal(found[:, row, column], window.reshape(2, kh * kw, 2))
    check_gradients(lambda a: tape.windows(a, (kh, kw), (sh, sw)), image, directions=1)


def test_an_array_used_twice_gets_both_gradients() -> None:
    check_gradients(lambda a, b: (a * b + a) * tape.tanh(a) / (b * b + 1.0), *OPERATIONS["sub"].values())


def test_what_the_output_does_not_depend_on_has_gradient_zero() -> None:
    used, unused = Array(np.ones(2)), Array(np.ones(3))
    assert gradients(total(used), [unused, used])[0].tolist() == [0, 0, 0]


def test_only_a_scalar_has_a_gradient() -> None:
    with pytest.raises(ValueError, match="scalar"):
        gradients(Array(np.ones(2)), [])


def test_kinks_have_gradient_zero_and_ties_go_to_the_first() -> None:
    zero = Array(np.zeros(1))
    assert gradients(total(tape.relu(zero)), [zero])[0].tolist() == [0]
    assert gradients(total(tape.absolute(zero)), [zero])[0].tolist() == [0]
    equal = Array(np.ones((1, 3)))
    assert gradients(total(tape.maximum(equal, 1)), [equal])[0].tolist() == [[1, 0, 0]]


def test_log_softmax_neither_overflows_nor_loses_small_probabilities() -> None:
    found = tape.log_softmax(Array(np.array([[1e4, 0.0, -1e4]]))).value
    assert found.tolist() == [[0.0, -1e4, -2e4]]


def test_a_long_chain_is_no_recursion() -> None:
    start = Array(np.ones(1))
    end = start
    for _ in range(5000):
        end = end + 1.0
    assert gradients(total(end), [start])[0].tolist() == [1]
