"""What can be generated token by token, and what the reference, which has no cache, then chooses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.spec.codec import SpecError
from harness.spec.generation import Generation, stepping
from harness.spec.layers import GRU, LSTM, BatchNorm, Conv1D, Dense, Embedding, Layer, MultiHeadAttention
from harness.spec.model import sequential
from harness.spec.reference import Reference
from tests.proving_ground import arrays, initial
from tests.sequence_ground import SEQUENCES, TARGET, TIME, TOKENS

GENERATING = {name: program for name, program in SEQUENCES.items() if program.generates is not None}


def test_three_programs_generate() -> None:
    assert set(GENERATING) == {"decoder", "answers", "translator"}


@pytest.mark.parametrize("name", GENERATING)
def test_each_token_is_the_largest_logit_of_one_look_at_all_before_it(name: str) -> None:
    program = GENERATING[name]
    reference = Reference(program, initial(program))
    batch = {array: values[:4] for array, values in arrays(program).items()}
    time = program.arrays[program.tokens_array()][0]
    tokens, logits = reference.generate(batch, 2, time - 2)
    assert tokens.shape == (4, time - 2)
    prompt = batch[program.tokens_array()][:, :2]
    whole = {**batch, program.tokens_array(): np.concatenate([prompt, tokens], 1)}
    seen = reference.predict(whole)["output"][:, 1:-1]
    assert np.allclose(logits, seen, rtol=1e-12)
    assert np.array_equal(tokens, np.argmax(seen, -1))


@pytest.mark.parametrize("wrong", [0, 1, 3])
@pytest.mark.parametrize("name", GENERATING)
def test_tokens_that_are_expected_rightly_or_wrongly_change_nothing_but_the_time(
    name: str, wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = GENERATING[name]
    reference = Reference(program, initial(program))
    batch = {array: values[:4] for array, values in arrays(program).items()}
    count = program.arrays[program.tokens_array()][0] - 2
    tokens, logits = reference.generate(batch, 2, count)
    expected = tokens.copy()
    expected[0, :wrong] = (tokens[0, :wrong] + 1) % logits.shape[-1]
    passes = 0
    run = reference._run

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal passes
        passes += 1
        return run(*given, **more)

    monkeypatch.setattr(reference, "_run", counted)
    same_tokens, same_logits = reference.generate(batch, 2, count, expected)
    assert np.array_equal(same_tokens, tokens)
    assert np.allclose(same_logits, logits, rtol=1e-12)
    assert passes <= wrong + 1


def test_what_depends_on_the_source_alone_is_computed_once() -> None:
    model = SEQUENCES["answers"].models["model"]
    found = stepping(model, "target")
    assert [node.name for node in found.once] == ["embedding1", "lstm1"]
    assert [node.name for node in (*found.once, *found.each)] == [node.name for node in model.nodes]
    assert (model.inputs["x"].shape[0], model.inputs["target"].shape[0]) == (TIME, TARGET)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (MultiHeadAttention(2), "attends to tokens that are not there yet"),
        (GRU(4, bidirectional=True), "reads from both ends"),
        (BatchNorm(), "is not computed step by step"),
        (Conv1D(4, 2, padding="causal"), "is not computed step by step"),
    ],
)
def test_a_model_that_looks_ahead_generates_nothing(layer: Layer, reason: str) -> None:
    model = sequential((TIME,), Embedding(TOKENS, 4), layer, Dense(TOKENS), dtype="int")
    with pytest.raises(SpecError, match=reason):
        stepping(model, "x")


def test_tokens_are_an_input_of_integers_with_logits_for_each_step() -> None:
    model = sequential((TIME,), Embedding(TOKENS, 4), LSTM(4), dtype="int")
    with pytest.raises(SpecError, match="'z' is no input of tokens"):
        stepping(model, "z")
    with pytest.raises(SpecError, match="'x' is no input of tokens"):
        stepping(sequential((TIME, 2), LSTM(4)), "x")
    with pytest.raises(SpecError, match=r"generates.tokens: 'y' is no input"):
        replace(SEQUENCES["decoder"], generates=Generation("model", "y"))
    with pytest.raises(ValueError, match="generates no tokens"):
        SEQUENCES["series"].tokens_array()
