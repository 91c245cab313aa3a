"""Pairs to be translated: a toy language, and sentences in English and French."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.data.archives import zip_member
from harness.data.data_set import DataSet, File, Raw
from harness.data.order import generator
from harness.data.text import as_bytes, decoded, drawn_by_text, fields, of_bytes, translated
from harness.data.tokens import Kind
from harness.data.toy_language import pairs

TOY_PAIRS, TOY_SEED = 6000, 0
TEST_FRACTION = 0.05
TATOEBA_FILE, TATOEBA_MEMBER = "fra-eng.zip", "fra.txt"
MOST_CHARACTERS = 25
_MOST_BYTES = 1 << 26


def _draw_toy(_: Mapping[str, Path]) -> Raw:
    drawn = pairs(TOY_PAIRS, generator(TOY_SEED, 0, 6))
    return Raw(as_bytes("".join(f"{english}\t{foreign}\n" for english, foreign in drawn)))


def load_tatoeba(paths: Mapping[str, Path]) -> Raw:
    """The lines of the archive's `fra.txt`, English and French with a tab between, whose English has at most
    25 characters; of several translations of one sentence the first.
    """
    path = paths[TATOEBA_FILE]
    where = f"{path}: member {TATOEBA_MEMBER!r}"
    text = decoded(zip_member(path, TATOEBA_MEMBER, _MOST_BYTES), where)
    found: dict[str, str] = {}
    for english, french in fields(text, 2, where):
        if len(english) <= MOST_CHARACTERS:
            found.setdefault(english, french)
    return Raw(as_bytes("".join(f"{english}\t{french}\n" for english, french in found.items())))


def paired(data_set: DataSet, length: int, kind: Kind, vocabulary: int) -> DataSet:
    """Lines of a sentence and its translation as x, `lengths`, `target`, y and `weights`
    (`harness.data.text.translated`). The test set is 5 % of the different sentences.
    """

    def finish(raw: Raw) -> Raw:
        lines = [(line[0], line[1]) for line in fields(of_bytes(raw.arrays), 2, data_set.name)]
        test = drawn_by_text([source for source, _ in lines], TEST_FRACTION)
        return translated(lines, test, kind, vocabulary, length, data_set.name)

    return replace(
        data_set,
        shape=(length,),
        beside={"lengths": (), "target": (length,), "y": (length,), "weights": (length,)},
        tokens=vocabulary,
        numbers=vocabulary,
        finish=finish,
        at=lambda data: paired(
            data_set, data.length or length, data.tokens or kind, data.vocabulary or vocabulary
        ),
        options={"length": length, "tokens": kind, "vocabulary": vocabulary},
    )


def _base(name: str, title: str, source: str, licence: str, examples: int) -> DataSet:
    test = round(TEST_FRACTION * examples)
    return DataSet(
        name=name,
        title=title,
        source=source,
        licence=licence,
        train_examples=examples - test,
        test_examples=test,
        shape=(),
        classes=(),
        value_range=None,
        load=_draw_toy,
        target="none",
        scale="none",
        takes=("length", "tokens", "vocabulary"),
        integers=("x", "lengths", "target", "y"),
    )


SETS = (
    paired(
        replace(
            _base(
                "toy-language",
                "A small English and its translation into an invented, reversible tongue",
                "generated (harness/data/toy_language.py)",
                "none needed: generated",
                TOY_PAIRS,
            ),
            content_sha256="03481e964729663606c4ffdca1fb8be9685add7d4da024ca579d3749c46d2c82",
        ),
        length=24,
        kind="words",
        vocabulary=112,
    ),
    paired(
        replace(
            _base(
                "tatoeba-fra-eng",
                "Tatoeba, English to French: sentences of at most 25 characters, their first translation",
                "tatoeba.org, by www.manythings.org/anki (2017-09-29)",
                "CC BY 2.0",
                34_802,
            ),
            load=load_tatoeba,
            files=(
                File(
                    TATOEBA_FILE,
                    2_951_390,
                    "16c4f7d0df9e7c5e6c54cdb0447f3f4a18a55052ff5e2e0b27dd4a06c0e49d04",
                    (),
                ),
            ),
            found_in="the file of 2017-09-29 of www.manythings.org/anki, which offers newer ones",
        ),
        length=20,
        kind="bpe",
        vocabulary=2000,
    ),
)
