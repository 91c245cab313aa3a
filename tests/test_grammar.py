"""Grammars: what is known of their entropy is what their texts show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.data.grammar import SENTENCES, Choice, Grammar
from harness.data.order import generator

COIN = Grammar({"start": [Choice("a", 1, "start"), Choice("b", 1, "start")]})
PAIRS = Grammar({"start": [Choice("ab", 3, "start"), Choice("cd", 1, "start")]})
QUARTER = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))


def test_a_coin_has_one_bit_and_pairs_have_half_of_theirs() -> None:
    assert COIN.entropy() == pytest.approx(1)
    assert PAIRS.entropy() == pytest.approx(QUARTER / 2)


def test_a_place_that_is_come_by_more_often_weighs_more() -> None:
    uneven = Grammar(
        {
            "start": [Choice("x", 1, "start"), Choice("y", 1, "there")],
            "there": [Choice("z", 1, "start")],
        }
    )
    assert uneven.visits() == pytest.approx({"start": 2 / 3, "there": 1 / 3})
    assert uneven.entropy() == pytest.approx(2 / 3)


def test_the_second_letter_of_a_pair_is_no_surprise() -> None:
    found = PAIRS.surprise(["abab", "cdab", "babc"])
    quarter, half = -math.log2(0.25), -math.log2(0.75)
    # Every letter tells its place: from the first on all is known.
    assert found == pytest.approx(np.array([[0, half, 0], [0, half, 0], [half, 0, quarter]]))


def test_who_does_not_know_the_place_is_surprised_by_both_chances() -> None:
    grammar = Grammar({"start": [Choice("aa", 1, "start"), Choice("ab", 1, "start")]})
    # After an `a`: the first of aa (1/3) or of ab (1/3), whose next is a or b, or the second of aa (1/3),
    # whose next is a.
    assert grammar.surprise(["aa"])[0, 0] == pytest.approx(-math.log2(2 / 3))


def test_a_window_is_more_likely_to_begin_where_a_text_is_more_often() -> None:
    grammar = Grammar(
        {
            "start": [Choice("x", 1, "start"), Choice("a", 1, "rare")],
            "rare": [Choice("a", 1, "start")],
        }
    )
    # Of three steps two are at the start, and half of those an `a`; the third is the other `a`. So both are
    # as likely. After the first there comes an `a`, after the second in one of two cases.
    assert grammar.surprise(["aa"])[0, 0] == pytest.approx(-math.log2(3 / 4))


def test_a_text_that_the_grammar_does_not_give_is_refused() -> None:
    with pytest.raises(ValueError, match="window 1 holds what the grammar does not give"):
        PAIRS.surprise(["ab", "ac"])


def test_a_drawn_text_has_the_shares_it_should_have() -> None:
    text = PAIRS.draw(20_001, generator(0))
    assert len(text) == 20_001
    assert text.count("ab") / 10_000 == pytest.approx(0.75, abs=0.02)
    assert PAIRS.draw(50, generator(0)) == text[:50]


def test_the_sentences_are_worth_their_entropy() -> None:
    """Long windows show it: what is not known of their beginning costs less and less."""
    text = SENTENCES.draw(120_000, generator(1))
    windows = [text[at : at + 1200] for at in range(0, len(text), 1200)]
    bits = SENTENCES.surprise(windows)
    rate = bits[:, 200:].mean()
    assert rate == pytest.approx(SENTENCES.entropy(), rel=0.02)
    assert bits[:, :8].mean() > 1.2 * rate


def test_a_verb_agrees_with_its_subject_across_another_noun() -> None:
    text = SENTENCES.draw(50_000, generator(2))
    assert "child near the kings" in text
    for line in text.split("\n")[:-1]:
        for many, verb in (("kings ", "sees "), ("children ", "follows ")):
            assert f"some {many}{verb}" not in line
