"""Texts of one class each: generated reviews, and text messages that are spam or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.data.data_set import DataSet, File, Raw
from harness.data.disk import DataError
from harness.data.order import generator
from harness.data.split import TEST_FRACTION
from harness.data.text import as_bytes, drawn_by_text, fields, labelled, of_bytes, read_text
from harness.data.tokens import Kind

REVIEWS, REVIEWS_SEED = 2500, 0
SPAM_FILE = "SMSSpamCollection"

_THINGS = ["film", "book", "meal", "room", "concert", "journey", "lecture", "garden"]
_GOOD = ["good", "lovely", "clever", "warm", "bright"]
_BAD = ["bad", "horrid", "dull", "cold", "grim"]
_FILLERS = (
    "we saw the {} on a {} day",
    "my friend had told me about the {} and its {} maker",
    "the {} came late and a {} crowd was there",
    "there was a {1} smell near the {0}",
)


def reviews(count: int, random: np.random.Generator) -> str:
    """Different reviews, a line each: its class, a tab, and its text.

    One clause of a review is its judgement, `the THING was [not] WORD`, at any place among up to three others
    that say nothing, whatever words they have. It is good where the word is a good one and there is no `not`,
    or a bad one and there is: counting words does not tell.
    """

    def pick(words: list[str] | tuple[str, ...]) -> str:
        return words[int(random.integers(len(words)))]

    found: dict[str, str] = {}
    while len(found) < count:
        good, negated = bool(random.integers(2)), bool(random.integers(2))
        words = _GOOD if good != negated else _BAD
        clauses = [
            pick(_FILLERS).format(pick(_THINGS), pick(_GOOD + _BAD)) for _ in range(int(random.integers(4)))
        ]
        judgement = f"the {pick(_THINGS)} was {'not ' if negated else ''}{pick(words)}"
        clauses.insert(int(random.integers(len(clauses) + 1)), judgement)
        found[" and ".join(clauses)] = "good" if good else "bad"
    return "".join(f"{label}\t{text}\n" for text, label in found.items())


def _draw_reviews(_: Mapping[str, Path]) -> Raw:
    return Raw(as_bytes(reviews(REVIEWS, generator(REVIEWS_SEED, 0, 5))))


def load_spam(paths: Mapping[str, Path]) -> Raw:
    """The file's lines: a class, a tab, and a message."""
    return Raw(as_bytes(read_text(paths[SPAM_FILE])))


def told_apart(data_set: DataSet, length: int, kind: Kind, vocabulary: int) -> DataSet:
    """Lines of a class and a text as x, `lengths` and y (`harness.data.text.labelled`). The test set is 20 %
    of the different texts.
    """

    def finish(raw: Raw) -> Raw:
        lines = fields(of_bytes(raw.arrays), 2, data_set.name)
        strange = next((label for label, _ in lines if label not in data_set.classes), None)
        if strange is not None:
            raise DataError(f"{data_set.name}: has the class {strange!r}, not one of {data_set.classes}")
        texts = [text for _, text in lines]
        y = np.array([data_set.classes.index(label) for label, _ in lines], np.int32)
        test = drawn_by_text(texts, TEST_FRACTION)
        return labelled(texts, y, test, kind, vocabulary, length, data_set.name)

    return replace(
        data_set,
        shape=(length,),
        beside={"lengths": ()},
        tokens=vocabulary,
        finish=finish,
        at=lambda data: told_apart(
            data_set, data.length or length, data.tokens or kind, data.vocabulary or vocabulary
        ),
        options={"length": length, "tokens": kind, "vocabulary": vocabulary},
    )


_FORMS = ("length", "tokens", "vocabulary")

SETS = (
    told_apart(
        DataSet(
            name="reviews",
            title="Reviews from a grammar: good or bad, where a word counts the other way behind `not`",
            source="generated (harness/data/sets/messages.py)",
            licence="none needed: generated",
            train_examples=2000,
            test_examples=500,
            shape=(),
            classes=("bad", "good"),
            value_range=None,
            load=_draw_reviews,
            content_sha256="dea2c654c1446b0b04dbb8c69ddcf22ed1ec01e3ddb5ce4121a2f1bb8dd3fa28",
            scale="none",
            takes=_FORMS,
            integers=("x", "y", "lengths"),
        ),
        length=48,
        kind="words",
        vocabulary=80,
    ),
    told_apart(
        DataSet(
            name="sms-spam",
            title="SMS Spam Collection: text messages, ham or spam",
            source="UCI 228, T. Almeida and J. Gomez Hidalgo",
            licence="CC BY 4.0",
            train_examples=4470,
            test_examples=1104,
            shape=(),
            classes=("ham", "spam"),
            value_range=None,
            load=load_spam,
            files=(
                File(
                    SPAM_FILE,
                    477_907,
                    "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
                    (),
                ),
            ),
            found_in="the archive at https://archive.ics.uci.edu/dataset/228",
            scale="none",
            takes=_FORMS,
            integers=("x", "y", "lengths"),
        ),
        length=64,
        kind="bpe",
        vocabulary=2000,
    ),
)
