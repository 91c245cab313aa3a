"""Each layer of the language: its shapes, parameters, gradients, known values, cost, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.layers import (
    GELU,
    Add,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Pass,
    ReLU,
    Reshape,
    Shape,
    Sigmoid,
    Softmax,
    Tanh,
    Upsample2D,
)
from harness.spec.tape import Array, gradients, total
from tests.differences import Values, check_gradients, generator
from tests.layer_cases import BATCH, CASES, EACH, example, joined, values, whole


def test_every_layer_has_a_case() -> None:
    assert set(CASES) == set(codec.members(Layer))
    for name, cases in CASES.items():
        assert {codec.name_of(layer) for layer, _ in cases} == {name}


@pytest.mark.parametrize(("layer", "shapes"), EACH)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_output_and_state_have_the_shapes_and_dtype_that_were_promised(
    layer: Layer, shapes: tuple[Shape, ...], training: bool, dtype: Any
) -> None:
    output, this = example(layer, *shapes, dtype=dtype).run(training, generator(2))
    promised = [layer.output_shape(*shapes), *layer.further_shapes(*shapes)]
    assert len(promised) == 1 + len(layer.further)
    size = sum(math.prod(shape) for shape in promised)
    assert output.shape == ((BATCH, size) if layer.further else (BATCH, *promised[0]))
    assert output.dtype == dtype
    states = {name: p for name, p in layer.parameters(*shapes).items() if not p.trainable}
    assert set(this.state) == (set(states) if training else set())
    for name, state in this.state.items():
        assert state.shape == states[name].shape


@pytest.mark.parametrize(("layer", "shapes"), EACH)
def test_gradients_in_training_are_those_of_central_differences(
    layer: Layer, shapes: tuple[Shape, ...]
) -> None:
    given = example(layer, *shapes)
    trainable = [name for name, p in layer.parameters(*shapes).items() if p.trainable]
    state = {name: Array(value) for name, value in given.parameters.items() if name not in trainable}
    counts = whole(layer, shapes)

    def function(*arguments: Array) -> Array:
        own = dict(zip(trainable, arguments, strict=False))
        real = iter(arguments[len(trainable) :])
        inputs = [Array(x) if place in counts else next(real) for place, x in enumerate(given.inputs)]
        return joined(layer, layer.apply(Pass(True, generator(3)), {**state, **own}, *inputs))

    real = [x for place, x in enumerate(given.inputs) if place not in counts]
    check_gradients(function, *[given.parameters[name] for name in trainable], *real)


@pytest.mark.parametrize(("layer", "shapes"), EACH)
def test_a_layer_survives_json(layer: Layer, shapes: tuple[Shape, ...]) -> None:
    assert codec.decode(Layer, codec.encode(layer)) == layer


PARAMETERS: list[tuple[Layer, Shape, dict[str, Shape]]] = [
    (Dense(4), (5,), {"kernel": (5, 4), "bias": (4,)}),
    (Dense(4, bias=False), (5,), {"kernel": (5, 4)}),
    (Conv2D(7, (3, 2)), (9, 8, 4), {"kernel": (3, 2, 4, 7), "bias": (7,)}),
    (Conv2D(7, (3, 2), bias=False), (9, 8, 4), {"kernel": (3, 2, 4, 7)}),
    (BatchNorm(), (9, 8, 4), dict.fromkeys(("scale", "shift", "running_mean", "running_variance"), (4,))),
    (DepthwiseConv2D((3, 2), multiplier=2), (9, 8, 4), {"kernel": (3, 2, 4, 2), "bias": (8,)}),
    (Conv2DTranspose(7, (3, 2)), (9, 8, 4), {"kernel": (3, 2, 7, 4), "bias": (7,)}),
    (LayerNorm(), (9, 8, 4), {"scale": (4,), "shift": (4,)}),
    (MaxPool2D(), (4, 4, 2), {}),
    (Dropout(0.5), (4,), {}),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), PARAMETERS)
def test_parameters_have_canonical_shapes(layer: Layer, shape: Shape, expected: dict[str, Shape]) -> None:
    assert {name: p.shape for name, p in layer.parameters(shape).items()} == expected


def test_only_kernels_and_tables_are_penalized_and_only_running_statistics_are_state() -> None:
    tensors = {
        name: parameter
        for cases in CASES.values()
        for layer, shapes in cases
        for name, parameter in layer.parameters(*shapes).items()
    }
    penalized = {name for name, p in tensors.items() if p.penalized}
    assert penalized == {name for name in tensors if name.endswith("kernel") or name == "table"}
    assert {name for name, p in tensors.items() if not p.trainable} == {"running_mean", "running_variance"}


def test_fans_of_a_convolution_count_its_window() -> None:
    kernel = Conv2D(7, (3, 2)).parameters((9, 8, 4))["kernel"]
    assert (kernel.fan_in, kernel.fan_out) == (3 * 2 * 4, 3 * 2 * 7)


def test_dense_is_x_times_kernel_plus_bias() -> None:
    assert values(Dense(2), [[1, 2]], kernel=[[1, 3], [10, 30]], bias=[0.5, -0.5]).tolist() == [[21.5, 62.5]]


def test_flatten_is_row_major_with_channels_last() -> None:
    image = np.arange(12).reshape(1, 2, 3, 2)
    assert values(Flatten(), image).tolist() == [list(range(12))]


ROW = np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 1, 4, 1)


def test_convolution_does_not_flip_its_kernel() -> None:
    kernel = np.array([1.0, 10.0]).reshape(1, 2, 1, 1)
    assert values(Conv2D(1, (1, 2), bias=False), ROW, kernel=kernel).ravel().tolist() == [21, 42, 84]


def test_same_padding_at_stride_2_puts_the_odd_pixel_at_the_end() -> None:
    layer = Conv2D(1, (1, 3), (1, 2), "same", bias=False)
    kernel = np.array([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    # Windows 1 2 4 and 4 8 0; with the odd pixel in front they would be 0 1 2 and 2 4 8.
    assert values(layer, ROW, kernel=kernel).ravel().tolist() == [421, 84]
    assert layer.pads((1, 4, 1)) == ((0, 0), (0, 1))
    assert Conv2D(1, (5, 2), (1, 1), "same").pads((8, 8, 1)) == ((2, 2), (0, 1))


@settings(derandomize=True, deadline=None, database=None)
@given(*[st.integers(1, 9)] * 3)
def test_same_padding_gives_the_input_over_the_stride_rounded_up(length: int, size: int, stride: int) -> None:
    layer = Conv2D(1, (size, 1), (stride, 1), "same")
    assert layer.output_shape((length, 1, 1)) == (-(-length // stride), 1, 1)
    before, after = layer.pads((length, 1, 1))[0]
    assert after - before in (0, 1)


def test_explicit_padding_goes_where_it_says() -> None:
    layer = Conv2D(1, (1, 2), padding=((0, 0), (2, 1)), bias=False)
    kernel = np.array([1.0, 10.0]).reshape(1, 2, 1, 1)
    assert values(layer, ROW, kernel=kernel).ravel().tolist() == [0, 10, 21, 42, 84, 8]


def test_average_pooling_does_not_count_padding() -> None:
    layer = AvgPool2D((1, 3), (1, 2), "same")
    assert values(layer, ROW).ravel() == pytest.approx([(1 + 2 + 4) / 3, (4 + 8) / 2])
    assert layer.counts((1, 4, 1)).ravel().tolist() == [3, 2]


def test_padding_never_wins_the_maximum() -> None:
    layer = MaxPool2D((1, 3), (1, 2), ((0, 0), (1, 1)))
    assert values(layer, -ROW).ravel().tolist() == [-1, -2]


def test_of_equal_elements_the_first_gets_the_gradient_of_the_maximum() -> None:
    x = Array(np.ones((1, 2, 2, 1)))
    (found,) = gradients(total(MaxPool2D().apply(Pass(True), {}, x)), [x])
    assert found.ravel().tolist() == [1, 0, 0, 0]


def test_pooling_strides_are_the_window_where_none_are_given() -> None:
    assert MaxPool2D((3, 2)).output_shape((7, 7, 5)) == (2, 3, 5)
    assert MaxPool2D((3, 2), (1, 1)).output_shape((7, 7, 5)) == (5, 6, 5)


STATISTICS: dict[str, Any] = {
    "scale": [2.0],
    "shift": [0.5],
    "running_mean": [10.0],
    "running_variance": [4.0],
}
COLUMN = np.array([[1.0], [2.0], [6.0]])
"""Mean 3; biased variance 14/3, unbiased 7."""


def test_batch_norm_in_training_uses_the_batch_and_its_biased_variance() -> None:
    for variance in ("biased", "unbiased"):
        layer = BatchNorm(epsilon=0.25, running_variance=variance)
        expected = (COLUMN - 3) / np.sqrt(14 / 3 + 0.25) * 2 + 0.5
        assert np.allclose(values(layer, COLUMN, training=True, **STATISTICS), expected, rtol=1e-14)


def test_batch_norm_in_evaluation_uses_the_running_statistics() -> None:
    found = values(BatchNorm(epsilon=0.25), COLUMN, **STATISTICS)
    assert np.allclose(found, (COLUMN - 10) / np.sqrt(4 + 0.25) * 2 + 0.5, rtol=1e-14)


@pytest.mark.parametrize(("form", "variance"), [("biased", 14 / 3), ("unbiased", 7.0)])
def test_momentum_weighs_the_old_running_statistics(form: Any, variance: float) -> None:
    this = Pass(training=True)
    arrays = {name: Array(np.asarray(value)) for name, value in STATISTICS.items()}
    BatchNorm(momentum=0.9, running_variance=form).apply(this, arrays, Array(COLUMN))
    assert this.state["running_mean"] == pytest.approx([0.9 * 10 + 0.1 * 3])
    assert this.state["running_variance"] == pytest.approx([0.9 * 4 + 0.1 * variance])


def test_batch_norm_of_an_image_has_one_statistic_a_channel() -> None:
    images = generator(1).normal(3.0, 2.0, size=(4, 5, 6, 2))
    ones, zeros = np.ones(2), np.zeros(2)
    found = values(
        BatchNorm(), images, training=True, scale=ones, shift=zeros, running_mean=zeros, running_variance=ones
    )
    assert found.mean((0, 1, 2)) == pytest.approx([0, 0], abs=1e-12)
    assert found.var((0, 1, 2)) == pytest.approx([1, 1], rel=1e-4)


def dropped(rate: float, count: int = 100_000) -> Values:
    return Dropout(rate).apply(Pass(True, generator(4)), {}, Array(np.ones((1, count)))).value


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_drops_at_its_rate_and_scales_the_rest(rate: float) -> None:
    found = dropped(rate)
    assert np.unique(found) == pytest.approx([0, 1 / (1 - rate)])
    five_deviations = 5 * np.sqrt(rate * (1 - rate) / found.size)
    assert np.mean(found == 0) == pytest.approx(rate, abs=five_deviations)


def test_dropout_draws_fresh_masks() -> None:
    random = generator(5)
    x = Array(np.ones((2, 50)))
    first, second = (Dropout(0.5).apply(Pass(True, random), {}, x).value for _ in range(2))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_dropout_is_off_in_evaluation_and_without_randomness() -> None:
    x = Array(np.ones((2, 50)))
    assert Dropout(0.5).apply(Pass(False), {}, x) is x
    assert Dropout(0.5).without_randomness().apply(Pass(True), {}, x) is x


def test_dropout_in_training_asks_for_its_random_numbers() -> None:
    with pytest.raises(ValueError, match="random generator"):
        Dropout(0.5).apply(Pass(True), {}, Array(np.ones((2, 5))))


def test_activations_have_their_known_values() -> None:
    assert values(ReLU(), [[-2.0, 0.0, 3.0]]).tolist() == [[0, 0, 3]]
    assert values(Sigmoid(), [[0.0, np.log(3)]]) == pytest.approx(np.array([[0.5, 0.75]]))
    assert values(Tanh(), [[0.0, np.log(3)]]) == pytest.approx(np.array([[0.0, 0.8]]))
    assert values(Softmax(), [[0.0, np.log(3)]]) == pytest.approx(np.array([[0.25, 0.75]]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_softmax_and_sigmoid_stand_large_numbers(dtype: Any) -> None:
    x = Array(np.array([[1e4, 0.0, -1e4]], dtype))
    for layer, expected in ((Softmax(), [1, 0, 0]), (Sigmoid(), [1, 0.5, 0])):
        output = layer.apply(Pass(True), {}, x)
        assert output.value.tolist() == [expected]
        assert np.all(np.isfinite(gradients(total(output), [x])[0]))


FLOPS: list[tuple[Layer, Shape, int]] = [
    (Dense(3), (5,), 3 * (5 + 5 + 1)),
    (Dense(3, bias=False), (5,), 3 * (5 + 5)),
    (Conv2D(4, (2, 3)), (6, 7, 5), (5 * 5 * 4) * (2 * 2 * 3 * 5 + 1)),
    (Conv2D(4, (2, 3), (2, 2), "same", bias=False), (6, 7, 5), (3 * 4 * 4) * (2 * 2 * 3 * 5)),
    (MaxPool2D((2, 3)), (6, 7, 5), (3 * 2 * 5) * 6),
    (BatchNorm(), (6, 7, 5), 2 * 6 * 7 * 5),
    (ReLU(), (6, 7), 42),
    (Flatten(), (6, 7), 0),
    (DepthwiseConv2D((2, 3), multiplier=2), (6, 7, 5), (5 * 5 * 10) * (2 * 2 * 3 + 1)),
    (Conv2DTranspose(4, (2, 3), (2, 2)), (6, 7, 5), 2 * 6 * 7 * (2 * 3 * 5 * 4) + 12 * 15 * 4),
    (GlobalAvgPool2D(), (6, 7, 5), 210),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), FLOPS)
def test_flops_are_those_counted_by_hand(layer: Layer, shape: Shape, expected: int) -> None:
    assert layer.flops(shape) == expected


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Dense(0), "units"),
    (lambda: Conv2D(0, (3, 3)), "filters"),
    (lambda: Conv2D(1, (0, 3)), "size"),
    (lambda: Conv2D(1, (3, 3), (1, 0)), "strides"),
    (lambda: Conv2D(1, (3, 3), padding=((0, 0), (-1, 0))), "padding"),
    (lambda: MaxPool2D((2, -1)), "size"),
    (lambda: AvgPool2D((2, 2), (0, 1)), "strides"),
    (lambda: MaxPool2D((2, 2), padding=((2, 0), (0, 0))).output_shape((8, 8, 1)), "padding"),
    (lambda: BatchNorm(epsilon=0.0), "epsilon"),
    (lambda: BatchNorm(epsilon=float("nan")), "epsilon"),
    (lambda: BatchNorm(momentum=1.0), "momentum"),
    (lambda: LayerNorm(0.0), "epsilon"),
    (lambda: LeakyReLU(1.0), "slope"),
    (lambda: DepthwiseConv2D((3, 3), multiplier=0), "multiplier"),
    (lambda: Conv2DTranspose(0, (3, 3)), "filters"),
    (lambda: Conv2DTranspose(1, (1, 1), (2, 2), "same"), "size"),
    (lambda: Upsample2D((0, 1)), "size"),
    (lambda: Reshape(()), "shape"),
    (lambda: Reshape((3, 3)).output_shape((8,)), "shape"),
    (lambda: Dropout(1.0), "rate"),
    (lambda: Dropout(-0.1), "rate"),
    (lambda: Dropout(float("nan")), "rate"),
]


@pytest.mark.parametrize(("mistake", "field"), REFUSED)
def test_a_refusal_names_the_field(mistake: Callable[[], Any], field: str) -> None:
    with pytest.raises(SpecError) as refusal:
        mistake()
    assert refusal.value.path == (field,)


MISFITS: list[tuple[Layer, Shape, str]] = [
    (Dense(3), (4, 4, 1), "flatten"),
    (Conv2D(1, (3, 3)), (5,), "an image"),
    (Conv2D(1, (5, 5)), (4, 9, 1), "does not fit"),
    (MaxPool2D(), (7,), "an image"),
    (AvgPool2D((9, 1)), (8, 8, 1), "does not fit"),
    (BatchNorm(), (), "at least one axis"),
    (Softmax(), (), "at least one axis"),
    (LayerNorm(), (), "at least one axis"),
    (GlobalAvgPool2D(), (4,), "an image"),
    (Upsample2D(), (4,), "an image"),
    (Conv2DTranspose(1, (2, 2)), (4,), "an image"),
    (Add(), (4,), "two inputs"),
    (Concatenate(), (4,), "inputs alike"),
]


@pytest.mark.parametrize(("layer", "shape", "message"), MISFITS)
def test_shapes_that_do_not_fit_are_refused(layer: Layer, shape: Shape, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        layer.output_shape(shape)


def test_a_transposed_convolution_is_the_adjoint_of_the_convolution() -> None:
    cases: list[tuple[tuple[int, int], tuple[int, int], Literal["same", "valid"], Shape]] = [
        ((3, 3), (2, 2), "same", (6, 8, 2)),
        ((4, 2), (2, 1), "same", (6, 5, 2)),
        ((3, 2), (2, 2), "valid", (7, 6, 2)),
    ]
    for size, strides, padding, shape in cases:
        down = Conv2D(3, size, strides, padding, bias=False)
        up = Conv2DTranspose(2, size, strides, padding, bias=False)
        rows, columns, _ = down.output_shape(shape)
        kernel = generator(4).normal(size=(*size, 2, 3))
        x, y = generator(5).normal(size=(1, *shape)), generator(6).normal(size=(1, rows, columns, 3))
        assert up.output_shape((rows, columns, 3)) == shape
        there = np.sum(values(down, x, kernel=kernel) * y)
        assert there == pytest.approx(np.sum(values(up, y, kernel=kernel) * x), rel=1e-12)


def test_a_transposed_convolution_puts_the_kernel_at_each_pixel() -> None:
    kernel = np.arange(4.0).reshape(2, 2, 1, 1)
    found = values(Conv2DTranspose(1, (2, 2), (2, 2), bias=False), [[[[1.0], [10.0]]]], kernel=kernel)
    assert found[0, :, :, 0].tolist() == [[0, 1, 0, 10], [2, 3, 20, 30]]


def test_a_depthwise_convolution_keeps_channels_apart() -> None:
    kernel = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(1, 1, 2, 2)
    found = values(DepthwiseConv2D((1, 1), multiplier=2, bias=False), [[[[1.0, 2.0]]]], kernel=kernel)
    assert found[0, 0, 0].tolist() == [1, 10, 200, 2000]


def test_upsampling_repeats_pixels() -> None:
    found = values(Upsample2D((1, 2)), [[[[1.0], [2.0]], [[3.0], [4.0]]]])
    assert found[0, :, :, 0].tolist() == [[1, 1, 2, 2], [3, 3, 4, 4]]


def test_layer_norm_normalizes_each_position_alone() -> None:
    found = values(LayerNorm(3.0), [[1.0, 3.0], [5.0, 5.0]], scale=[2.0, 2.0], shift=[0.0, 1.0])
    assert found.tolist() == [[-1.0, 2.0], [0.0, 1.0]]


@pytest.mark.parametrize("x", [-3.0, -0.5, 0.0, 0.7, 4.0])
def test_both_forms_of_gelu(x: float) -> None:
    exact = x * 0.5 * (1 + math.erf(x / math.sqrt(2)))
    assert values(GELU(), [[x]])[0, 0] == pytest.approx(exact, abs=1e-15)
    cubic = 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    assert values(GELU("tanh"), [[x]])[0, 0] == pytest.approx(cubic, abs=1e-15)
    assert values(LeakyReLU(0.25), [[x]])[0, 0] == (x if x > 0 else x / 4)
