"""What the language does not have yet needs new words only: layers defined here with their meaning in NumPy.

Recurrent nets, attention, embeddings and an encoder-decoder go through the same Model, Program and Reference,
and their gradients follow. Two models trained in turn (a GAN) are in test_reference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.spec import codec, proof
from harness.spec.codec import SpecError
from harness.spec.layers import Dense, Flatten, Layer, Parameter, Pass, Shape
from harness.spec.losses import CrossEntropy, Loss
from harness.spec.model import Input, Model, Node, sequential
from harness.spec.optimizers import Adam
from harness.spec.program import Call, Program, Term, Update
from harness.spec.reference import Reference
from harness.spec.tape import (
    Array,
    concatenate,
    exp,
    log_softmax,
    pick,
    reshape,
    tanh,
    total,
    transpose,
)
from tests.differences import Values, anywhere, check_update, generator, words

TIME, WORDS, WIDTH, BATCH = 5, 7, 4, 3


def sigmoid(x: Array) -> Array:
    return (tanh(x * 0.5) + 1.0) * 0.5


@dataclass(frozen=True)
class LSTM(Layer):
    """Hochreiter and Schmidhuber 1997 with forget gates, (time, features) to (time, units); gates in order
    input, forget, candidate, output; one bias; states begin at zero.
    """

    units: int

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0][0], self.units

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        features, gates = inputs[0][1], 4 * self.units
        return {
            "kernel": Parameter((features, gates), "glorot_uniform", features, gates, penalized=True),
            "recurrent": Parameter((self.units, gates), "glorot_uniform", self.units, gates),
            "bias": Parameter((gates,), "zeros"),
        }

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        x, u = inputs[0], self.units
        projected = x @ parameters["kernel"] + parameters["bias"]
        h = c = Array(np.zeros((x.shape[0], u), x.dtype))
        outputs = []
        for t in range(x.shape[1]):
            gates = projected[:, t] + h @ parameters["recurrent"]
            i, f, candidate, o = (gates[:, k * u : (k + 1) * u] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * tanh(candidate)
            h = sigmoid(o) * tanh(c)
            outputs.append(reshape(h, (x.shape[0], 1, u)))
        return concatenate(outputs, axis=1)


@dataclass(frozen=True)
class Embedding(Layer):
    """A row of a table for each integer: (*shape) to (*shape, width)."""

    words: int
    width: int

    def output_shape(self, *inputs: Shape) -> Shape:
        return *inputs[0], self.width

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        return {"table": Parameter((self.words, self.width), "lecun_normal", self.width)}

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        return parameters["table"][inputs[0].value]


@dataclass(frozen=True)
class Attention(Layer):
    """softmax(q k^T / sqrt(width)) v (Vaswani et al. 2017): queries (n, width), a memory (m, width)
    that is key and value. A third input (m,) has ones where the memory is real, zeros where it is padding.
    """

    causal: bool = False
    arity: ClassVar[int | None] = None

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) not in (2, 3) or inputs[0][-1] != inputs[1][-1]:
            raise SpecError(f"needs queries, a memory as wide and perhaps a mask, got {inputs}")
        return inputs[0]

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        queries, memory = inputs[:2]
        scores = queries @ transpose(memory, (0, 2, 1)) * (1 / math.sqrt(queries.shape[-1]))
        if self.causal:
            scores = scores + np.triu(np.full(scores.shape[1:], -np.inf), 1)
        if len(inputs) == 3:
            scores = scores + np.where(inputs[2].value[:, None, :] > 0, 0.0, -np.inf)
        return exp(log_softmax(scores)) @ memory


@dataclass(frozen=True)
class PerStep(Layer):
    """The same dense layer at every time step: (time, features) to (time, units)."""

    units: int

    def output_shape(self, *inputs: Shape) -> Shape:
        return *inputs[0][:-1], self.units

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        return Dense(self.units).parameters(inputs[0][-1:])

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0] @ parameters["kernel"] + parameters["bias"]


@dataclass(frozen=True)
class TokenCrossEntropy(Loss):
    """Cross-entropy of logits (time, words) against tokens (time,), averaged over the unpadded tokens."""

    arity: ClassVar[int | None] = 3

    def apply(self, *inputs: Array) -> Array:
        logits, tokens, mask = inputs
        return -total(pick(log_softmax(logits), tokens.value) * mask.value) / float(mask.value.sum())


@pytest.fixture(autouse=True)
def language() -> Iterator[None]:
    with words(
        lstm=LSTM,
        embedding=Embedding,
        attention=Attention,
        per_step=PerStep,
        token_cross_entropy=TokenCrossEntropy,
    ):
        yield


def trained(model: Model, arrays: Mapping[str, Shape], loss: Loss, *targets: str) -> Program:
    call = Call("output", "model", tuple(model.inputs))
    update = Update("train", (call,), (Term(loss, ("output", *targets)),), ("model",), Adam(0.05))
    return Program(dict(arrays), {"model": model}, (update,), (call,), ("output",))


def tokens(seed: int, length: int = TIME) -> Values:
    return generator(seed).integers(0, WORDS, size=(BATCH, length)).astype(np.int32)


def holds(program: Program, batch: Mapping[str, Values]) -> Values:
    """The program survives JSON, has the gradients of central differences, learns and passes its own proof at
    both precisions. Gives its output at weights away from zero.
    """
    assert codec.decode(Program, json.loads(codec.canonical(program))) == program
    weights = anywhere(program.initial(0))
    check_update(program, program.updates[0], weights, batch)
    losses = Reference(program, weights).train([batch] * 60)
    assert losses[-1] < 0.5 * losses[0]
    order = np.tile(np.arange(BATCH, dtype=np.int32), (proof.STEPS, 1))
    batches = proof.Batches(batch, order)
    exact = proof.reference_evidence(program, weights, batches)
    rounded = proof.reference_evidence(program, weights, batches, np.float32)
    allowed = proof.tolerances(program, weights, batches, exact, "float32")
    assert all(check.passed for check in proof.compare(rounded, exact, proof.scales(exact, weights), allowed))
    return Reference(program, weights).predict(batch)["output"]


def test_a_recurrent_net_is_one_new_layer() -> None:
    model = sequential((TIME, 2), LSTM(WIDTH), Flatten(), Dense(3))
    program = trained(model, {"x": (TIME, 2), "y": ()}, CrossEntropy(), "y")
    x = generator(1).normal(size=(BATCH, TIME, 2))
    holds(program, {"x": x, "y": np.array([0, 1, 2])})
    assert program.parameters()["model/lstm1/kernel"].shape == (2, 4 * WIDTH)


def test_one_step_of_the_recurrent_layer_is_its_formula() -> None:
    weights = {
        "kernel": np.ones((1, 4)),
        "recurrent": np.ones((1, 4)),
        "bias": np.array([0.1, 0.2, 0.3, 0.4]),
    }
    arrays = {name: Array(value) for name, value in weights.items()}
    found = LSTM(1).apply(Pass(True), arrays, Array(np.array([[[0.5]]]))).value.item()

    def squashed(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    assert found == pytest.approx(squashed(0.9) * math.tanh(squashed(0.6) * math.tanh(0.8)), rel=1e-14)


def decoder() -> Model:
    """A decoder-only language model: embedding, causal self-attention, logits for each token."""
    nodes = (
        Node("embedded", Embedding(WORDS, WIDTH), ("tokens",)),
        Node("attended", Attention(causal=True), ("embedded", "embedded")),
        Node("mixed", PerStep(WIDTH), ("attended",)),
        Node("logits", PerStep(WORDS), ("mixed",)),
    )
    return Model({"tokens": Input((TIME,), "int")}, nodes, ("logits",))


def language_model() -> tuple[Program, dict[str, Values]]:
    shapes: dict[str, Shape] = {"tokens": (TIME,), "next": (TIME,), "real": (TIME,)}
    real = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], float)
    batch = {"tokens": tokens(2), "next": tokens(3), "real": real}
    return trained(decoder(), shapes, TokenCrossEntropy(), "next", "real"), batch


def test_a_language_model_takes_integers_and_attends_to_the_past_alone() -> None:
    program, batch = language_model()
    before = holds(program, batch)
    changed = {**batch, "tokens": batch["tokens"].copy()}
    changed["tokens"][:, 3] = (changed["tokens"][:, 3] + 1) % WORDS
    after = Reference(program, anywhere(program.initial(0))).predict(changed)["output"]
    assert np.array_equal(before[:, :3], after[:, :3])
    assert not np.any(np.all(before[:, 3:] == after[:, 3:], axis=-1))


def test_the_gradient_of_an_embedding_adds_up_over_repeated_words() -> None:
    program, batch = language_model()
    batch["tokens"][:] = 1
    _, found, _ = Reference(program, anywhere(program.initial(0))).loss_and_gradients(
        program.updates[0], batch
    )
    table = found["model/embedded/table"]
    assert np.any(table[1])
    assert not np.any(np.delete(table, 1, axis=0))


def test_padded_tokens_do_not_count_in_the_loss() -> None:
    program, batch = language_model()
    reference = Reference(program, anywhere(program.initial(0)))
    loss = reference.loss(program.updates[0], batch)
    batch["next"][1, 3:] = (batch["next"][1, 3:] + 1) % WORDS
    assert reference.loss(program.updates[0], batch) == loss


def encoder_decoder(length: int) -> Model:
    """Source words are encoded; target words attend to their past, then to the source but for its padding."""
    nodes = (
        Node("source embedded", Embedding(WORDS, WIDTH), ("source",)),
        Node("encoded", LSTM(WIDTH), ("source embedded",)),
        Node("target embedded", Embedding(WORDS, WIDTH), ("target",)),
        Node("past", Attention(causal=True), ("target embedded", "target embedded")),
        Node("translated", Attention(), ("past", "encoded", "source mask")),
        Node("logits", PerStep(WORDS), ("translated",)),
    )
    inputs = {
        "source": Input((TIME,), "int"),
        "source mask": Input((TIME,)),
        "target": Input((length,), "int"),
    }
    return Model(inputs, nodes, ("logits",))


def test_an_encoder_decoder_is_a_model_with_several_inputs() -> None:
    length = 4
    model = encoder_decoder(length)
    arrays: dict[str, Shape] = {
        "source": (TIME,),
        "source mask": (TIME,),
        "target": (length,),
        "next": (length,),
        "target mask": (length,),
    }
    program = trained(model, arrays, TokenCrossEntropy(), "next", "target mask")
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], float)
    batch: dict[str, Values] = {
        "source": tokens(4),
        "source mask": mask,
        "target": tokens(5, length),
        "next": tokens(6, length),
        "target mask": np.ones((BATCH, length)),
    }
    before = holds(program, batch)
    # A source token that is masked has no say; one that is not has.
    for place, same in ((4, True), (0, False)):
        changed = {**batch, "source": batch["source"].copy()}
        changed["source"][2, place] = (changed["source"][2, place] + 1) % WORDS
        after = Reference(program, anywhere(program.initial(0))).predict(changed)["output"]
        assert np.array_equal(before[2], after[2]) == same


def test_a_new_layer_refuses_inputs_by_its_own_rule() -> None:
    inputs = {"a": Input((TIME, 3)), "b": Input((TIME, 4))}
    with pytest.raises(SpecError, match=r"nodes\[0\].layer: out \(attention\): needs queries"):
        Model(inputs, (Node("out", Attention(), ("a", "b")),), ("out",))
    with pytest.raises(SpecError, match=r"needs queries"):
        Model(inputs, (Node("out", Attention(), ("a",)),), ("out",))


def test_new_words_are_read_with_the_same_messages() -> None:
    data: dict[str, Any] = {"type": "lstn", "units": 3}
    with pytest.raises(SpecError, match="Did you mean 'lstm'"):
        codec.decode(Layer, data)
