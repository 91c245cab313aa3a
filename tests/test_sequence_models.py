"""Whole models of sequences: a recurrent classifier, a language model with tied tables, encoder-decoders.

They go through the same Model, Program, Reference and proof as everything else, and their gradients follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest

from harness.spec import codec, proof
from harness.spec.codec import SpecError
from harness.spec.layers import (
    GRU,
    LSTM,
    Add,
    Concatenate,
    Dense,
    Embedding,
    LayerNorm,
    MultiHeadAttention,
    Positions,
    Shape,
    Tanh,
    Unembedding,
)
from harness.spec.losses import CrossEntropy
from harness.spec.model import Model, Network, Node, sequential
from harness.spec.optimizers import Adam
from harness.spec.program import Call, Program, Term, Update
from harness.spec.reference import Reference
from tests.differences import Values, anywhere, check_update, generator

TIME, WORDS, WIDTH, BATCH = 5, 7, 4, 3

REAL = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], float)
"""Which tokens of a batch are no padding."""


def trained(model: Model, arrays: Mapping[str, Shape], *targets: str) -> Program:
    call = Call("output", "model", tuple(model.inputs))
    update = Update("train", (call,), (Term(CrossEntropy(), ("output", *targets)),), ("model",), Adam(0.05))
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


def test_a_recurrent_classifier_of_sequences_that_differ_in_length() -> None:
    net = Network((TIME,), "int")
    lengths = net.input("lengths")
    gru = net.add(GRU(WIDTH, bidirectional=True, lengths=True), net.add(Embedding(WORDS, 3), "x"), lengths)
    program = trained(
        net.model(net.add(Dense(2), f"{gru}.hidden")), {"x": (TIME,), "lengths": (), "y": ()}, "y"
    )
    batch = {"x": tokens(1), "lengths": np.array([5, 2, 1]), "y": np.array([0, 1, 1])}
    before = holds(program, batch)
    padding = {**batch, "x": batch["x"].copy()}
    padding["x"][1, 2:] += 1
    padding["x"] %= WORDS
    after = Reference(program, anywhere(program.initial(0))).predict(padding)["output"]
    assert np.array_equal(before, after)


def decoder() -> Model:
    """A decoder-only language model: embedding, causal self-attention in a residual block, tied logits."""
    net = Network((TIME,), "int")
    embedded = net.add(Embedding(WORDS, WIDTH), "x")
    placed = net.add(Positions(), embedded)
    attended = net.add(MultiHeadAttention(2, causal=True), net.add(LayerNorm(), placed))
    summed = net.add(Add(), placed, attended)
    return net.model(net.add(Unembedding(WORDS), net.add(LayerNorm(), summed), shares=embedded))


def language_model() -> tuple[Program, dict[str, Values]]:
    shapes: dict[str, Shape] = {"x": (TIME,), "y": (TIME,), "weights": (TIME,)}
    batch = {"x": tokens(2), "y": tokens(3), "weights": REAL}
    return trained(decoder(), shapes, "y", "weights"), batch


def test_a_language_model_takes_integers_and_attends_to_the_past_alone() -> None:
    program, batch = language_model()
    before = holds(program, batch)
    changed = {**batch, "x": batch["x"].copy()}
    changed["x"][:, 3] = (changed["x"][:, 3] + 1) % WORDS
    after = Reference(program, anywhere(program.initial(0))).predict(changed)["output"]
    assert np.array_equal(before[:, :3], after[:, :3])
    assert not np.any(np.all(before[:, 3:] == after[:, 3:], axis=-1))


def test_a_tied_table_is_one_tensor_whose_gradient_is_the_sum_of_both_uses() -> None:
    program, batch = language_model()
    assert [name for name in program.parameters() if name.endswith("table")] == [
        "model/embedding1/table",
        "model/positions1/table",
    ]
    model = program.models["model"]
    free = Model(
        model.inputs,
        tuple(Node(node.name, node.layer, node.inputs) for node in model.nodes),
        model.outputs,
    )
    untied = trained(free, program.arrays, "y", "weights")
    weights = anywhere(program.initial(0))
    table = weights["model/embedding1/table"]
    apart = {**weights, "model/unembedding1/table": table}
    _, one, _ = Reference(program, weights).loss_and_gradients(program.updates[0], batch)
    _, two, _ = Reference(untied, apart).loss_and_gradients(untied.updates[0], batch)
    both = two["model/embedding1/table"] + two["model/unembedding1/table"]
    assert np.allclose(one["model/embedding1/table"], both, rtol=1e-12)


@pytest.mark.parametrize(
    ("layer", "shares", "message"),
    [
        (Unembedding(WORDS), "embeding1", "unknown node 'embeding1'. Did you mean 'embedding1'"),
        (Unembedding(WORDS), "unembedding1", "unknown node 'unembedding1'"),
        (Unembedding(WORDS + 1), "embedding1", r"table is \(8, 4\) here and \(7, 4\) in embedding1/table"),
        (Dense(WORDS), "embedding1", "dense1 and embedding1 have no tensor of one name"),
    ],
)
def test_only_tensors_of_one_name_and_shape_are_shared(
    layer: Unembedding | Dense, shares: str, message: str
) -> None:
    net = Network((TIME,), "int")
    embedded = net.add(Embedding(WORDS, WIDTH), "x")
    with pytest.raises(SpecError, match=message):
        net.model(net.add(layer, embedded, shares=shares))


def test_the_gradient_of_an_embedding_adds_up_over_repeated_words() -> None:
    program = trained(sequential((TIME,), Embedding(WORDS, 3), Dense(WORDS), dtype="int"), SHAPES, "y")
    batch = {"x": np.ones((BATCH, TIME), np.int32), "y": tokens(3)}
    reference = Reference(program, anywhere(program.initial(0)))
    table = reference.loss_and_gradients(program.updates[0], batch)[1]["model/embedding1/table"]
    assert np.any(table[1])
    assert not np.any(np.delete(table, 1, axis=0))


SHAPES: dict[str, Shape] = {"x": (TIME,), "y": (TIME,)}


def test_padded_tokens_do_not_count_in_the_loss() -> None:
    program, batch = language_model()
    reference = Reference(program, anywhere(program.initial(0)))
    loss = reference.loss(program.updates[0], batch)
    batch["y"][1, 3:] = (batch["y"][1, 3:] + 1) % WORDS
    assert reference.loss(program.updates[0], batch) == loss


LENGTH = 4


def transformer() -> Model:
    """Target words attend to their past, then to the source but for its padding; one table for all."""
    net = Network((TIME,), "int")
    lengths, target = net.input("lengths"), net.input("target", (LENGTH,))
    table = net.add(Embedding(WORDS, WIDTH, scaled=True), "x")
    source = net.add(Positions("sinusoidal"), table)
    encoded = net.add(MultiHeadAttention(2, lengths=True), source, lengths)
    embedded = net.add(Embedding(WORDS, WIDTH, scaled=True), target, shares=table)
    past = net.add(MultiHeadAttention(2, causal=True), net.add(Positions("sinusoidal"), embedded))
    across = net.add(MultiHeadAttention(1, memory=True, lengths=True), past, encoded, lengths)
    return net.model(net.add(Unembedding(WORDS), across, shares=table))


def recurrent() -> Model:
    """The decoder begins with the encoder's last states and attends to its outputs (Luong et al. 2015)."""
    net = Network((TIME,), "int")
    lengths, target = net.input("lengths"), net.input("target", (LENGTH,))
    encoder = net.add(LSTM(WIDTH, lengths=True), net.add(Embedding(WORDS, 3), "x"), lengths)
    words = net.add(Embedding(WORDS, 3), target)
    decoder = net.add(LSTM(WIDTH, initial=True), words, f"{encoder}.hidden", f"{encoder}.cell")
    context = net.add(MultiHeadAttention(1, memory=True, lengths=True), decoder, encoder, lengths)
    mixed = net.chain(net.add(Concatenate(), decoder, context), Dense(WIDTH), Tanh(), Dense(WORDS))
    return net.model(mixed)


@pytest.mark.parametrize("model", [transformer(), recurrent()], ids=["transformer", "recurrent"])
def test_an_encoder_decoder_is_a_model_with_several_inputs(model: Model) -> None:
    arrays: dict[str, Shape] = {
        "x": (TIME,),
        "lengths": (),
        "target": (LENGTH,),
        "y": (LENGTH,),
        "weights": (LENGTH,),
    }
    program = trained(model, arrays, "y", "weights")
    batch: dict[str, Values] = {
        "x": tokens(4),
        "lengths": np.array([5, 3, 2]),
        "target": tokens(5, LENGTH),
        "y": tokens(6, LENGTH),
        "weights": REAL[:, :LENGTH],
    }
    before = holds(program, batch)
    # A source token that is padding has no say; one that is not has.
    for place, same in ((4, True), (0, False)):
        changed = {**batch, "x": batch["x"].copy()}
        changed["x"][2, place] = (changed["x"][2, place] + 1) % WORDS
        after = Reference(program, anywhere(program.initial(0))).predict(changed)["output"]
        assert np.array_equal(before[2], after[2]) == same
