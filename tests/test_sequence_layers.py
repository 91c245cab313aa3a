"""What the layers of sequences compute, held to formulas and to other ways of saying the same."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.spec.codec import SpecError
from harness.spec.initializers import draw
from harness.spec.layers import (
    GRU,
    LSTM,
    RNN,
    Conv1D,
    Conv2D,
    Dense,
    Embedding,
    GlobalAvgPool1D,
    Layer,
    MaxPool1D,
    MultiHeadAttention,
    Pass,
    Positions,
    Select,
    Shape,
    Unembedding,
)
from harness.spec.layers.recurrent import Recurrent
from harness.spec.tape import Array
from tests.differences import Values, generator
from tests.layer_cases import BATCH, example

TIME, FEATURES, UNITS = 4, 2, 3

EVERY = [
    RNN(UNITS),
    RNN(UNITS, activation="relu"),
    LSTM(UNITS),
    LSTM(UNITS, biases="two"),
    GRU(UNITS),
    GRU(UNITS, biases="two"),
    GRU(UNITS, biases="two", reset="before"),
]


def run(layer: Layer, parameters: dict[str, Values], *inputs: Any) -> tuple[Values, ...]:
    arrays = {name: Array(value) for name, value in parameters.items()}
    found = layer.apply(Pass(True), arrays, *[Array(np.asarray(x)) for x in inputs])
    return tuple(each.value for each in (found if isinstance(found, tuple) else (found,)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def scalars(gates: int, *, two: bool) -> dict[str, Values]:
    """Weights of one unit on one feature that are all different."""
    found = {
        "kernel": 0.3 + np.arange(gates)[np.newaxis] / 10,
        "recurrent_kernel": -0.2 + np.arange(gates)[np.newaxis] / 7,
        "bias": 0.1 - np.arange(gates) / 5,
    }
    return {**found, "recurrent_bias": 0.25 + np.arange(gates) / 9} if two else found


def gate(weights: dict[str, Values], number: int, x: float, h: float) -> tuple[float, float]:
    """What a gate gets from the input and from the hidden state."""
    own = {name: value.reshape(-1)[number] for name, value in weights.items()}
    return x * own["kernel"] + own["bias"], h * own["recurrent_kernel"] + own.get("recurrent_bias", 0.0)


@pytest.mark.parametrize("two", [False, True])
def test_a_step_of_elmans_net_is_its_formula(two: bool) -> None:
    weights, x, h = scalars(1, two=two), 0.7, -0.4
    total = sum(gate(weights, 0, x, h))
    tanh = RNN(1, initial=True, biases="two" if two else "one")
    relu = replace(tanh, activation="relu")
    for layer, expected in ((tanh, math.tanh(total)), (relu, max(total, 0.0))):
        output, hidden = run(layer, weights, [[[x]]], [[h]])
        assert output.item() == hidden.item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("two", [False, True])
def test_a_step_of_the_lstm_is_its_formula(two: bool) -> None:
    weights, x, h, c = scalars(4, two=two), 0.7, -0.4, 0.9
    i, f, g, o = (sum(gate(weights, number, x, h)) for number in range(4))
    cell = sigmoid(f) * c + sigmoid(i) * math.tanh(g)
    layer = LSTM(1, initial=True, biases="two" if two else "one")
    output, hidden, last = run(layer, weights, [[[x]]], [[h]], [[c]])
    assert output.item() == hidden.item() == pytest.approx(sigmoid(o) * math.tanh(cell), rel=1e-14)
    assert last.item() == pytest.approx(cell, rel=1e-14)


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("reset", ["after", "before"])
def test_a_step_of_the_gru_is_its_formula(two: bool, reset: Any) -> None:
    weights, x, h = scalars(3, two=two), 0.7, -0.4
    r, z = (sigmoid(sum(gate(weights, number, x, h))) for number in range(2))
    own, share = gate(weights, 2, x, h)
    if reset == "after":
        share *= r
    else:
        share = gate(weights, 2, x, r * h)[1]
    expected = (1 - z) * math.tanh(own + share) + z * h
    layer = GRU(1, initial=True, biases="two" if two else "one", reset=reset)
    assert run(layer, weights, [[[x]]], [[h]])[0].item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("layer", EVERY)
def test_states_carry_a_sequence_over_a_cut(layer: Recurrent) -> None:
    given = example(layer, (TIME, FEATURES))
    whole, *last = run(layer, given.parameters, *given.inputs)
    (x,) = given.inputs
    first, *states = run(layer, given.parameters, x[:, :3])
    second, *end = run(replace(layer, initial=True), given.parameters, x[:, 3:], *states)
    assert np.allclose(np.concatenate([first, second], 1), whole, rtol=1e-13)
    assert all(np.allclose(one, other, rtol=1e-13) for one, other in zip(last, end, strict=True))


@pytest.mark.parametrize("layer", EVERY)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_is_passed_by(layer: Recurrent, bidirectional: bool) -> None:
    layer = replace(layer, lengths=True, bidirectional=bidirectional)
    given = example(layer, (TIME, FEATURES), ())
    x, lengths = given.inputs[0], np.array([1, 3, 4])
    found = run(layer, given.parameters, x, lengths)
    for place, length in enumerate(lengths):
        alone = run(replace(layer, lengths=False), given.parameters, x[place : place + 1, :length])
        assert np.allclose(found[0][place, :length], alone[0][0], rtol=1e-13)
        assert not found[0][place, length:].any()
        states = zip(found[1:], alone[1:], strict=True)
        assert all(np.allclose(one[place], other[0], rtol=1e-13) for one, other in states)


@pytest.mark.parametrize("layer", EVERY)
def test_the_reverse_net_reads_from_the_end(layer: Recurrent) -> None:
    both = replace(layer, bidirectional=True)
    given = example(both, (TIME, FEATURES))
    (x,) = given.inputs
    found = run(both, given.parameters, x)
    forward = run(layer, {name: given.parameters[name] for name in layer.names}, x)
    own = {name: given.parameters[f"reverse_{name}"] for name in layer.names}
    backward = run(layer, own, x[:, ::-1])
    assert np.allclose(found[0], np.concatenate([forward[0], backward[0][:, ::-1]], -1), rtol=1e-13)
    for one, two, three in zip(found[1:], forward[1:], backward[1:], strict=True):
        assert np.allclose(one, np.concatenate([two, three], -1), rtol=1e-13)


def test_recurrent_weights_begin_orthogonal_and_the_forget_gate_open() -> None:
    tensors = LSTM(UNITS, biases="two").parameters((TIME, FEATURES))
    drawn = {name: draw(name, p.shape, p.initializer, p.fan_in, p.fan_out, 0) for name, p in tensors.items()}
    recurrent = drawn["recurrent_kernel"]
    assert np.allclose(recurrent @ recurrent.T, np.eye(UNITS), atol=1e-6)
    assert drawn["bias"].tolist() == [0] * UNITS + [1] * UNITS + [0] * 2 * UNITS
    assert not drawn["recurrent_bias"].any()


def attended(
    layer: MultiHeadAttention, weights: dict[str, Values], x: Values, memory: Values, steps: range
) -> Values:
    """One query step (width,) over the steps of the memory (steps, features) that it may see."""

    def project(part: str, row: Values) -> Values:
        return row @ weights[f"{part}_kernel"] + weights.get(f"{part}_bias", 0.0)

    query, size = project("query", x), len(x) // layer.heads
    parts = []
    for head in range(layer.heads):
        own = slice(head * size, (head + 1) * size)
        scores = [query[own] @ project("key", memory[step])[own] / math.sqrt(size) for step in steps]
        shares = np.exp(scores) / np.exp(scores).sum()
        parts.append(sum(s * project("value", memory[t])[own] for s, t in zip(shares, steps, strict=True)))
    return project("output", np.concatenate(parts))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_attention_is_a_weighted_mean_of_what_may_be_seen(causal: bool, lengths: bool, bias: bool) -> None:
    layer = MultiHeadAttention(2, causal=causal, lengths=lengths, bias=bias)
    given = example(layer, (TIME, 6), *([()] if lengths else []))
    real = np.array([1, 3, 4])
    x = given.inputs[0]
    found = run(layer, given.parameters, x, *([real] if lengths else []))[0]
    for place in range(BATCH):
        for step in range(TIME):
            end = min(step + 1 if causal else TIME, real[place] if lengths else TIME)
            expected = attended(layer, given.parameters, x[place, step], x[place], range(end))
            assert np.allclose(found[place, step], expected, rtol=1e-12)


def test_attention_to_a_memory_takes_keys_and_values_from_it() -> None:
    layer = MultiHeadAttention(2, memory=True)
    given = example(layer, (2, 4), (3, 5))
    x, memory = given.inputs
    found = run(layer, given.parameters, x, memory)[0]
    expected = attended(layer, given.parameters, x[1, 1], memory[1], range(3))
    assert np.allclose(found[1, 1], expected, rtol=1e-12)


def test_an_embedding_is_its_tokens_rows_and_the_tied_output_their_products() -> None:
    table = np.arange(6.0).reshape(3, 2)
    assert run(Embedding(3, 2), {"table": table}, [[2, 0]])[0].tolist() == [[[4, 5], [0, 1]]]
    scaled = run(Embedding(3, 2, scaled=True), {"table": table}, [2])[0]
    assert np.allclose(scaled, np.array([[4, 5]]) * math.sqrt(2))
    assert run(Unembedding(3), {"table": table}, [[[1.0, 2.0]]])[0].tolist() == [[[2, 8, 14]]]


def test_positions_are_waves_or_rows() -> None:
    waves = run(Positions("sinusoidal"), {}, np.zeros((1, 3, 5)))[0][0]
    for place in range(3):
        for column in range(5):
            angle = place / 10000 ** (2 * (column // 2) / 5)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert waves[place, column] == pytest.approx(expected, abs=1e-15)
    table = generator(0).normal(size=(7, 2))
    assert np.array_equal(run(Positions(most=7), {"table": table}, np.zeros((1, 3, 2)))[0][0], table[:3])


def test_pooling_over_time_takes_the_real_steps_alone() -> None:
    x = generator(0).normal(size=(2, 4, 3))
    found = run(GlobalAvgPool1D(True), {}, x, np.array([1, 3]))[0]
    assert np.allclose(found, [x[0, 0], x[1, :3].mean(0)])
    assert np.allclose(run(GlobalAvgPool1D(), {}, x)[0], x.mean(1))
    assert np.array_equal(run(Select(-1), {}, x)[0], x[:, 3])
    pooled = run(MaxPool1D(3, 1), {}, x)[0]
    assert np.array_equal(pooled[:, 1], x[:, 1:4].max(1))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_convolution_along_a_sequence_is_one_over_an_image_of_one_row(padding: Any) -> None:
    layer = Conv1D(3, 3, 2, padding)
    given = example(layer, (6, 2))
    kernel = given.parameters["kernel"][np.newaxis]
    flat = Conv2D(3, (1, 3), (1, 2), padding)
    expected = run(flat, {**given.parameters, "kernel": kernel}, given.inputs[0][:, np.newaxis])[0]
    assert np.array_equal(run(layer, given.parameters, *given.inputs)[0], expected[:, 0])


def test_a_causal_convolution_sees_none_after_it() -> None:
    layer = Conv1D(2, 3, padding="causal")
    given = example(layer, (TIME, 2))
    (x,) = given.inputs
    before = run(layer, given.parameters, x)[0]
    x[:, 2] += 1
    after = run(layer, given.parameters, x)[0]
    assert np.array_equal(before[:, :2], after[:, :2])
    assert not np.any(before[:, 2:] == after[:, 2:])


def test_dense_treats_each_step_alike() -> None:
    given = example(Dense(3), (2,))
    sequence = generator(5).normal(size=(BATCH, TIME, 2))
    found = run(Dense(3), given.parameters, sequence)[0]
    assert np.allclose(found[:, 1], run(Dense(3), given.parameters, sequence[:, 1])[0], rtol=1e-14)


REFUSED: list[tuple[Layer, tuple[Shape, ...], str]] = [
    (LSTM(3), ((4,),), r"needs a sequence \(time, features\), got an example of shape \(4,\)"),
    (LSTM(3, lengths=True), ((4, 2),), r"takes 2 inputs \(a sequence, lengths\), got 1"),
    (LSTM(3, lengths=True), ((4, 2), (4,)), r"needs lengths \(\)"),
    (LSTM(3, initial=True), ((4, 2), (3,)), "a first hidden state, a first cell state"),
    (GRU(3, initial=True), ((4, 2), (2,)), r"needs a first state \(3,\), got \(2,\)"),
    (MultiHeadAttention(3), ((4, 8),), "heads: must divide the width 8, got 3"),
    (MultiHeadAttention(2, memory=True), ((4, 8),), r"takes 2 inputs \(a sequence, a memory\), got 1"),
    (Positions(most=3), ((4, 8),), "most: must be at least the 4 steps"),
    (Select(4), ((4, 8),), "step: is not a step of a sequence of 4: 4"),
    (Conv1D(2, 5), ((4, 8),), "a window of 5 does not fit in a sequence of 4"),
    (MaxPool1D(5), ((4, 8),), "a window of 5 does not fit in a sequence of 4"),
    (Dense(3), ((2, 2, 2),), "needs a vector or a sequence of vectors"),
    (Unembedding(3), ((2, 2, 2),), "needs a vector or a sequence of vectors"),
    (GlobalAvgPool1D(), ((2,),), "needs a sequence"),
]


@pytest.mark.parametrize(("layer", "shapes", "message"), REFUSED)
def test_what_does_not_fit_is_refused(layer: Layer, shapes: tuple[Shape, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        layer.output_shape(*shapes)


def test_a_memory_has_no_order_to_be_causal_in() -> None:
    with pytest.raises(SpecError, match="causal: is for attention to the sequence itself"):
        MultiHeadAttention(2, causal=True, memory=True)
