"""Texts as arrays, and the data sets made of them: what they hold, their splits, and what is refused."""

from __future__ import annotations

import io
import itertools
import re
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.data import catalogue, toy_language
from harness.data.archives import zip_member
from harness.data.catalogue import CATALOGUE, array_shapes
from harness.data.data_set import DataSet, Raw
from harness.data.disk import DataError
from harness.data.grammar import SENTENCES
from harness.data.order import generator
from harness.data.prepared import prepare
from harness.data.sets import languages, messages, translations
from harness.data.text import (
    CUT,
    Language,
    as_bytes,
    cut_by_time,
    decoded,
    drawn_by_text,
    fields,
    labelled,
    translated,
    windows,
)
from harness.data.tokens import END, PAD, START, UNKNOWN, decode, learn
from harness.data.toy_language import Clause, Thing
from harness.errors import UsageError
from harness.spec.data import Data


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESPEC_CACHE", str(tmp_path / "cache"))


# --- what a text is


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it: is empty"),
        (b" \n\t\n", "it: is empty"),
        (b"one\ntw\xe9\n", r"it: is not in UTF-8 \(invalid continuation byte at byte 6, line 2\)"),
        (b"one\n\0\n", "it: line 2 holds a NUL"),
    ],
)
def test_what_is_no_text_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        decoded(body, "it")


def test_a_byte_order_mark_and_the_lines_of_other_systems_are_understood() -> None:
    assert decoded(b"\xef\xbb\xbfone\r\ntwo\rthree\n", "it") == "one\ntwo\nthree\n"


def test_lines_have_their_fields() -> None:
    assert fields("a\tb\n\nc\t d \n", 2, "it") == [("a", "b"), ("c", "d")]
    for text, said in (
        ("a\tb\nc\n", "line 2 has 1 fields"),
        ("a\tb\nc\t \n", "line 2 has an empty field"),
        ("\n", "has no lines"),
    ):
        with pytest.raises(DataError, match=said):
            fields(text, 2, "it")


def test_equal_texts_are_on_one_side() -> None:
    texts = [str(number % 50) for number in range(200)]
    test = drawn_by_text(texts, 0.2)
    assert test.sum() == 40
    assert not {text for text, away in zip(texts, test, strict=True) if away} & {
        text for text, away in zip(texts, test, strict=True) if not away
    }


# --- windows


def test_windows_stand_side_by_side_each_with_what_comes_next() -> None:
    vocabulary = learn("characters", ["abcdefgh"], None)
    found = windows(vocabulary.encode("abcdefgh"), vocabulary, 3)
    assert ["".join(vocabulary.tokens[each] for each in row) for row in found["x"]] == ["abc", "def"]
    assert ["".join(vocabulary.tokens[each] for each in row) for row in found["y"]] == ["bcd", "efg"]
    assert found["characters"].tolist() == [3, 3]
    assert len(windows(vocabulary.encode("abc"), vocabulary, 3)["x"]) == 0


def test_the_characters_of_words_are_counted() -> None:
    vocabulary = learn("words", ["one three two"], None)
    found = windows(vocabulary.encode("one three two"), vocabulary, 2)
    assert found["characters"].tolist() == [len(" three") + len(" two")]


def test_a_text_is_cut_by_time_and_learnt_from_its_beginning_alone() -> None:
    text = "ab" * 90 + "cd" * 10
    assert cut_by_time(text) == ("ab" * 90, "cd" * 10)
    language = Language.of(text, "characters", None, 5, "it")
    assert set(language.vocabulary[5:]) == {"a", "b"}
    assert len(language.parts["train"]["x"]) == 35
    assert len(language.parts["test"]["x"]) == 3
    with pytest.raises(DataError, match="it: its test part has 20 tokens, too few for a window of 20"):
        Language.of(text, "characters", None, 20, "it")


# --- labelled texts


def test_texts_are_padded_and_cut_and_their_lengths_told() -> None:
    texts = ["a b", "a", "b a b a", "a a"]
    test = np.array([False, False, True, True])
    raw = labelled(texts, np.array([0, 1, 0, 1]), test, "words", None, 4, "it")
    a, b = (raw.vocabulary.index(f"\u2581{word}") for word in "ab")
    assert raw.arrays["train_x"].tolist() == [[START, a, b, PAD], [START, a, PAD, PAD]]
    assert raw.arrays["train_lengths"].tolist() == [3, 2]
    assert raw.arrays["test_x"].tolist() == [[START, b, a, b], [START, a, a, PAD]]
    assert raw.arrays["test_y"].tolist() == [0, 1]
    assert raw.counts == {CUT: 1}


def test_words_are_learnt_from_the_training_part_alone() -> None:
    test = np.array([False, False, True])
    texts = ["a b", "b", "a new"]
    assert "\u2581new" not in labelled(texts, np.zeros(3), test, "words", None, 4, "it").vocabulary
    pairs = [(text, text) for text in texts]
    raw = translated(pairs, test, "words", None, 4, "it")
    assert "\u2581new" not in raw.vocabulary
    assert UNKNOWN in raw.arrays["test_y"]


def test_a_text_without_a_token_is_refused() -> None:
    with pytest.raises(DataError, match="it: text 2 has no token"):
        labelled(["a", ""], np.array([0, 1]), np.zeros(2, bool), "characters", None, 4, "it")


# --- pairs


def test_a_translation_is_given_one_step_late() -> None:
    test = np.array([False, False, True])
    raw = translated([("a b", "x"), ("b", "y x"), ("a", "x y x y x")], test, "words", None, 4, "it")
    a, b, x, y = (raw.vocabulary.index(f"\u2581{word}") for word in "abxy")
    assert raw.arrays["train_x"].tolist() == [[a, b, END, PAD], [b, END, PAD, PAD]]
    assert raw.arrays["train_lengths"].tolist() == [3, 2]
    assert raw.arrays["train_target"].tolist() == [[START, x, PAD, PAD], [START, y, x, PAD]]
    assert raw.arrays["train_y"].tolist() == [[x, END, PAD, PAD], [y, x, END, PAD]]
    assert raw.arrays["train_weights"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
    assert raw.arrays["test_y"].tolist() == [[x, y, x, y]]
    assert raw.arrays["test_target"].tolist() == [[START, x, y, x]]
    assert raw.counts == {CUT: 1}
    assert decode(raw.arrays["train_y"][1], raw.vocabulary) == "y x"


# --- the embedded sets


def test_sentences_come_with_what_each_letter_is_worth() -> None:
    prepared = prepare("sentences", held_out=0.1)
    arrays = prepared.arrays()
    known = CATALOGUE["sentences"]
    names = ("x", "y", "characters", "bits")
    assert {name: arrays[f"train_{name}"].shape[1:] for name in names} == array_shapes(known)
    assert arrays["train_x"].dtype == arrays["train_y"].dtype == np.int32
    assert len(arrays["train_x"]) + len(arrays["validation_x"]) == known.train_examples
    assert len(prepared.meta["vocabulary"]) == known.tokens
    assert arrays["test_bits"].mean() == pytest.approx(SENTENCES.entropy(), rel=0.15)
    # Validation is the end of the training part, and the rest follows without a gap.
    assert np.array_equal(arrays["train_y"][:-1, -1], arrays["train_x"][1:, 0])
    assert arrays["train_y"][-1, -1] == arrays["validation_x"][0, 0]
    assert np.array_equal(arrays["validation_y"][:-1, -1], arrays["validation_x"][1:, 0])


def test_a_language_is_had_in_windows_of_another_length() -> None:
    found = catalogue.of(Data("sentences", length=100, test_examples=3), Path())
    assert array_shapes(found)["y"] == (100,)
    arrays = prepare(found, held_out=0).arrays()
    assert arrays["train_x"].shape == (found.train_examples, 100)
    assert arrays["test_x"].shape == (3, 100)
    assert found.test_examples == 3


def test_tokens_have_no_scale() -> None:
    with pytest.raises(UsageError, match="is made of tokens"):
        prepare("sentences", scale="standard")


def test_a_data_set_says_which_forms_it_takes() -> None:
    with pytest.raises(UsageError, match=r"sentences has no horizon to choose \(it takes length\): leave it"):
        catalogue.of(Data("sentences", horizon=3), Path())
    with pytest.raises(UsageError, match=r"digits has no length to choose \(it takes size\)"):
        catalogue.of(Data("digits", length=3), Path())


def test_reviews_cannot_be_judged_by_counting_words() -> None:
    lines = messages.reviews(2000, generator(3)).split("\n")[:-1]
    assert len(set(lines)) == 2000
    for line in lines[:200]:
        label, text = line.split("\t")
        parts = [re.fullmatch(r"the \w+ was ((?:not )?\w+)", part) for part in text.split(" and ")]
        (said,) = [part[1] for part in parts if part is not None]
        good = said.removeprefix("not ") in messages._GOOD
        assert (good != said.startswith("not ")) == (label == "good")
    # Of those with `not` in them about half are good: no word alone decides.
    negated = [line.startswith("good") for line in lines if " not " in line]
    assert 0.45 < np.mean(negated) < 0.55


def test_reviews_are_what_the_catalogue_says() -> None:
    prepared = prepare("reviews", held_out=0.2)
    arrays = prepared.arrays()
    known = CATALOGUE["reviews"]
    assert len(arrays["test_x"]) == known.test_examples
    assert len(arrays["train_x"]) + len(arrays["validation_x"]) == known.train_examples
    assert max(array.max() for name, array in arrays.items() if name.endswith("_x")) < known.tokens
    assert np.array_equal((arrays["train_x"] != PAD).sum(1), arrays["train_lengths"])
    assert "counts" not in prepared.meta


def back(foreign: str) -> str:
    """The English of a sentence in the toy language, read by a hand-written parser."""
    words = foreign.split()
    english: list[str] = []

    def thing() -> list[str]:
        noun = inverse(toy_language.NOUNS)[words.pop(0)]
        many = words[0] == toy_language.MANY and bool(words.pop(0))
        adjective = inverse(toy_language.ADJECTIVES).get(words[0])
        if adjective:
            words.pop(0)
        article = inverse(toy_language.ARTICLES)[words.pop(0)]
        return Thing(article, adjective, noun, many).english()

    while words:
        if words[0] in toy_language.LINKS.values():
            english.append(inverse(toy_language.LINKS)[words.pop(0)])
        time = inverse(toy_language.TIMES).get(words[0])
        if time:
            words.pop(0)
        subject, thing_seen = thing(), thing()
        denied = ["not"] if words[0] == toy_language.DENIED and words.pop(0) else []
        verb = inverse(toy_language.VERBS)[words.pop(0)]
        english += [*subject, "did", *denied, verb, *thing_seen, *([time] if time else [])]
    return " ".join(english)


def inverse(words: dict[str, str]) -> dict[str, str]:
    return {foreign: english for english, foreign in words.items()}


def test_the_toy_language_loses_nothing() -> None:
    drawn = toy_language.pairs(3000, generator(4))
    assert len({english for english, _ in drawn}) == 3000
    assert all(back(foreign) == english for english, foreign in drawn)
    first = Clause(Thing("the", "young", "king", True), "see", Thing("a", None, "dog", False), True, "today")
    assert " ".join(first.english()) == "the young kings did not see a dog today"
    assert " ".join(first.foreign()) == "odi rego mu vanu sa waro un ne vidar"


def test_pairs_are_what_the_catalogue_says() -> None:
    prepared = prepare("toy-language", held_out=0.05)
    arrays = prepared.arrays()
    known = CATALOGUE["toy-language"]
    assert len(arrays["test_x"]) == known.test_examples
    assert len(prepared.meta["vocabulary"]) <= known.tokens
    assert "counts" not in prepared.meta
    sources = {tuple(row) for row in arrays["train_x"].tolist()}
    assert not sources & {tuple(row) for row in arrays["test_x"].tolist()}


# --- files


def small(data_set: DataSet, paths: dict[str, Path]) -> Raw:
    """The raw arrays of files that are not the real ones."""
    return catalogue.load(data_set, paths)


def test_messages_are_read_by_lines(tmp_path: Path) -> None:
    path = tmp_path / messages.SPAM_FILE
    path.write_text("".join(f"{'spam' if n % 3 else 'ham'}\tword{n} again\n" for n in range(20)))
    raw = small(CATALOGUE["sms-spam"], {path.name: path})
    assert len(raw.arrays["train_x"]) == 16
    assert len(raw.arrays["test_x"]) == 4
    path.write_text("egg\tword\n")
    with pytest.raises(DataError, match="sms-spam: has the class 'egg'"):
        small(CATALOGUE["sms-spam"], {path.name: path})


def test_pairs_are_read_from_an_archive(tmp_path: Path) -> None:
    path = tmp_path / translations.TATOEBA_FILE
    lines = [f"Go {n}.\tVa {n} !\n" for n in range(40)] + ["Go 1.\tAllez 1 !\n", f"{'long ' * 6}\tlong\n"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fra.txt", "".join(lines))
    raw = translations.load_tatoeba({path.name: path})
    assert bytes(raw.arrays["text"]).decode().split("\n") == [line.strip("\n") for line in lines[:40]] + [""]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "")
    with pytest.raises(DataError, match=r"member 'fra\.txt' cannot be read"):
        translations.load_tatoeba({path.name: path})


LINES = "".join(f"Go {n}.\tVa {n} !\n" for n in range(40)).encode()
FLAGS, METHOD, CRC, PACKED, SIZE, BODY = 6, 8, 14, 18, 22, 30 + len("fra.txt")
"""Where a member's own header has them, and where what is packed begins (APPNOTE.TXT 4.3.7)."""


def zipped(body: bytes = LINES, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo("fra.txt"), body, method)
    return file.getvalue()


def claiming(found: bytes, place: int, value: bytes) -> bytes:
    """The archive with a field of its member's header changed, in the directory at the end too."""
    changed, directory = bytearray(found), found.index(b"PK\1\2")
    for begin in (place, directory + place + 2):
        changed[begin : begin + len(value)] = value
    return bytes(changed)


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"no archive", "cannot be read"),
        (zipped()[:-30], "cannot be read"),
        (zipped()[:60], "cannot be read"),
        (claiming(zipped(), FLAGS, b"\x01"), "is encrypted"),
        (claiming(zipped(), METHOD, b"\x63"), "packed by method 99"),
        (zipped(method=zipfile.ZIP_BZIP2), "packed by method 12"),
        (zipped(method=zipfile.ZIP_LZMA), "packed by method 14"),
        (zipped()[:BODY] + b"\xff" * 20 + zipped()[BODY + 20 :], "cannot be read"),
        (claiming(zipped(), CRC, b"1234"), "Bad CRC-32"),
        (claiming(zipped(), SIZE, b"\xff\xff\xff\x7f"), "2147483647 bytes, more than the 67108864"),
        (claiming(zipped(), SIZE, b"\x10\0\0\0"), "cannot be read"),
        (claiming(zipped(), SIZE, b"\xff\xff\0\0"), "truncated: 580 of 65535"),
        (claiming(zipped(), PACKED, b"\x10\0\0\0"), "cannot be read"),
    ],
    ids=itertools.count(),
)
def test_an_archive_that_is_not_what_it_should_be_is_refused_with_its_member(
    tmp_path: Path, archive: bytes, words: str
) -> None:
    path = tmp_path / translations.TATOEBA_FILE
    path.write_bytes(archive)
    with pytest.raises(DataError) as caught:
        translations.load_tatoeba({path.name: path})
    assert str(caught.value).startswith(f"{path}: member 'fra.txt' ")
    assert words in str(caught.value)


def test_a_small_archive_that_unpacks_to_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / translations.TATOEBA_FILE
    bomb = zipped(bytes(1 << 27))
    for archive in (bomb, claiming(bomb, SIZE, b"\0\1\0\0")):
        path.write_bytes(archive)
        tracemalloc.start()
        with pytest.raises(DataError, match=r"member 'fra\.txt'"):
            translations.load_tatoeba({path.name: path})
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 1 << 22


def test_an_archive_with_any_byte_changed_is_the_same_text_or_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "some.zip", zipped()
    refused = 0
    for place in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
            try:
                assert zip_member(path, "fra.txt", 1 << 20) == LINES
            except DataError:
                refused += 1
    assert refused > len(whole)


def test_another_text_than_expected_is_told() -> None:
    other = replace(CATALOGUE["tiny-shakespeare"], load=lambda _: Raw(as_bytes("ab" * 2000)))
    with pytest.raises(DataError, match="tiny-shakespeare: has 7 tokens, not the 70 expected"):
        small(other, {})
    assert languages.LENGTH == 64
