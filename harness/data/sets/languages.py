"""Texts whose language is to be learnt: sentences from a grammar of known entropy, and Shakespeare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.data.data_set import DataSet, Raw, mirrored
from harness.data.disk import DataError
from harness.data.grammar import SENTENCES, Grammar
from harness.data.order import generator
from harness.data.text import Language, as_bytes, cut_by_time, of_bytes, parts_of, read_text, windows_in

LENGTH = 64
SENTENCES_CHARACTERS = 200_000
SENTENCES_SEED = 0
SHAKESPEARE_FILE = "input.txt"


def _draw_sentences(_: Mapping[str, Path]) -> Raw:
    return Raw(as_bytes(SENTENCES.draw(SENTENCES_CHARACTERS, generator(SENTENCES_SEED, 0, 4))))


def load_shakespeare(paths: Mapping[str, Path]) -> Raw:
    """The file's text."""
    return Raw(as_bytes(read_text(paths[SHAKESPEARE_FILE])))


def windowed(data_set: DataSet, characters: int, length: int, grammar: Grammar | None = None) -> DataSet:
    """A text of so many `characters`, which are its tokens, in windows of `length`: x, y, `characters`
    (`harness.data.text.windows`). The last tenth of the text is the test part. Where the `grammar` is known,
    `bits` (time,) are what each token of y is worth to who knows it (`Grammar.surprise`).
    """

    def finish(raw: Raw) -> Raw:
        text = of_bytes(raw.arrays)
        language = Language.of(text, "characters", None, length, data_set.name)
        if len(language.vocabulary) != data_set.tokens:
            raise DataError(
                f"{data_set.name}: has {len(language.vocabulary)} tokens, not the {data_set.tokens} expected"
            )
        found = language.raw()
        if grammar is None:
            return found
        arrays = dict(found.arrays)
        for split, part in zip(("train", "test"), cut_by_time(text), strict=True):
            places = range(0, len(language.parts[split]["x"]) * length, length)
            arrays[f"{split}_bits"] = grammar.surprise([part[at : at + length + 1] for at in places])
        return replace(found, arrays=arrays)

    train, test = (windows_in(size, length) for size in parts_of(characters))
    bits = {} if grammar is None else {"bits": (length,)}
    return replace(
        data_set,
        train_examples=train,
        test_examples=test,
        shape=(length,),
        beside={"y": (length,), "characters": (), **bits},
        finish=finish,
        at=lambda data: windowed(data_set, characters, data.length or LENGTH, grammar),
        options={"length": length},
    )


def _language(name: str, title: str, source: str, licence: str, tokens: int) -> DataSet:
    """What windows are made of."""
    return DataSet(
        name=name,
        title=title,
        source=source,
        licence=licence,
        train_examples=0,
        test_examples=0,
        shape=(),
        classes=(),
        value_range=None,
        load=_draw_sentences,
        target="none",
        scale="none",
        takes=("length",),
        integers=("x", "y"),
        tokens=tokens,
        numbers=tokens,
        overlap=0,
    )


SETS = (
    windowed(
        replace(
            _language(
                "sentences",
                "Sentences from a grammar of known entropy, by characters",
                "generated (harness/data/grammar.py)",
                "none needed: generated",
                33,
            ),
            content_sha256="c5ef1a23e1549d6535b068a8d0eff2a234a141e815c9dd9d01e3e8ed6f31a7d8",
        ),
        SENTENCES_CHARACTERS,
        LENGTH,
        SENTENCES,
    ),
    windowed(
        replace(
            _language(
                "tiny-shakespeare",
                "Tiny Shakespeare, by characters",
                "A. Karpathy, char-rnn, from the works of W. Shakespeare",
                "public domain",
                70,
            ),
            load=load_shakespeare,
            files=mirrored(
                ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",),
                (
                    SHAKESPEARE_FILE,
                    1_115_394,
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                ),
            ),
        ),
        1_115_394,
        LENGTH,
    ),
)
