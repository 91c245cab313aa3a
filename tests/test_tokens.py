"""Tokens: the same for the same texts, specials that no text can name, and back to the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.disk import DataError
from harness.data.tokens import END, MARK, PAD, SPECIALS, START, UNKNOWN, Kind, decode, learn

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog"]


@pytest.mark.parametrize("kind", ["characters", "words", "bpe"])
def test_a_text_comes_back_and_a_vocabulary_is_the_same_again(kind: Kind) -> None:
    found = learn(kind, TEXTS, 60)
    assert found.tokens[: len(SPECIALS)] == SPECIALS
    assert found.tokens == learn(kind, TEXTS, 60).tokens
    for text in TEXTS:
        numbers = found.encode(text)
        assert min(numbers) >= len(SPECIALS)
        assert decode(numbers, found.tokens) == text


def test_characters_stand_in_the_order_of_their_numbers() -> None:
    found = learn("characters", ["cab", "ba"], None)
    assert found.tokens == (*SPECIALS, "a", "b", "c")
    assert found.encode("abcd") == [5, 6, 7, UNKNOWN]
    assert learn("characters", ["cab", "ba"], 7).tokens == (*SPECIALS, "a", "b")


def test_of_words_the_most_frequent_are_kept() -> None:
    found = learn("words", TEXTS, 8)
    assert found.tokens == (*SPECIALS, f"{MARK}the", f"{MARK}a", f"{MARK}cat")
    assert found.encode("the bird") == [5, UNKNOWN]
    assert decode(found.encode("the bird"), found.tokens) == "the\u2047"
    assert decode(found.encode("the bird"), found.tokens, unknown="") == "the"


def test_byte_pairs_are_merged_by_frequency_and_no_more_than_are_asked_for() -> None:
    found = learn("bpe", ["low lower lowest"] * 5, 20)
    assert len(found.tokens) <= 20
    assert f"{MARK}low" in found.tokens
    assert len(found.encode("low")) == 1


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_lines_stay_apart_and_come_back(kind: Kind) -> None:
    text = "one two\nthree one\n\ntwo"
    found = learn(kind, [text], 60)
    assert decode(found.encode(text), found.tokens) == text
    assert not any("\n" in token and len(token) > 1 for token in found.tokens)


@pytest.mark.parametrize("kind", ["characters", "words", "bpe"])
def test_a_text_cannot_end_itself(kind: Kind) -> None:
    text = "say <end> or <pad> and go on"
    found = learn(kind, [text, *TEXTS], 200)
    assert not set(found.encode(text)) & {PAD, START, END}
    assert decode(found.encode(text), found.tokens) == text


def test_decoding_ends_at_the_end() -> None:
    tokens = (*SPECIALS, f"{MARK}a", f"{MARK}b")
    assert decode([START, 5, 6, PAD, 5, END, 6], tokens) == "a b a"
    assert decode([5, 99], tokens) == "a\u2047"


def test_what_looks_alike_is_one_character() -> None:
    found = learn("characters", ["\u00e9\ufb01"], None)
    assert found.encode("e\u0301fi") == found.encode("\u00e9\ufb01")


def test_a_vocabulary_has_room_for_more_than_the_specials() -> None:
    with pytest.raises(DataError, match="a vocabulary of 5 has no room"):
        learn("words", TEXTS, 5)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1), min_size=1))
def test_every_character_of_the_training_part_is_known(texts: list[str]) -> None:
    found = learn("characters", texts, None)
    assert all(UNKNOWN not in found.encode(text) for text in texts)
