"""Tokens: what texts are made of, learnt from the training part, and how texts become numbers and back.

Every vocabulary begins with the same five tokens that no text has; `MARK` stands for the space before a word,
so that the text is its tokens side by side, whatever they are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.data.disk import DataError

Kind = Literal["characters", "words", "bpe"]

SPECIALS = ("<pad>", "<unknown>", "<start>", "<end>", "<mask>")
PAD, UNKNOWN, START, END, MASK = range(len(SPECIALS))

MARK = "\u2581"
"""Before a word, as in SentencePiece."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens by number, and how a text is taken apart: its normal form (NFKC) is."""

    tokens: tuple[str, ...]
    encode: Callable[[str], list[int]]


def learn(kind: Kind, texts: Iterable[str], most: int | None) -> Vocabulary:
    """The vocabulary of the training part's `texts`, of `most` tokens with the specials.

    `characters` are in the order of their numbers; all of them, where `most` is None. Of `words` (what stands
    between white space) the most frequent are kept, and `bpe` merges the most frequent pairs (Sennrich et al.
    2016, by the library tokenizers) of a word's tokens. What is not in it is `<unknown>`. The same texts
    always give the same vocabulary.
    """
    if most is not None and most <= len(SPECIALS):
        raise DataError(f"a vocabulary of {most} has no room: {len(SPECIALS)} tokens are special")
    return _characters(texts, most) if kind == "characters" else _by_library(kind, texts, most)


def normal(text: str) -> str:
    """The text in the form that tokens are taken from: NFKC, which writes what looks alike alike."""
    return unicodedata.normalize("NFKC", text)


def decode(numbers: Iterable[int], vocabulary: Sequence[str], unknown: str = "\u2047") -> str:
    """The text of tokens up to the first `<end>`; padding and `<start>` are left out."""
    found = []
    for number in numbers:
        if number == END:
            break
        if number in (PAD, START):
            continue
        found.append(unknown if number == UNKNOWN or number >= len(vocabulary) else vocabulary[number])
    return "".join(found).replace(MARK, " ").strip(" ")


def _characters(texts: Iterable[str], most: int | None) -> Vocabulary:
    counts: dict[str, int] = {}
    for text in texts:
        for character in normal(text):
            counts[character] = counts.get(character, 0) + 1
    kept = sorted(counts, key=lambda character: (-counts[character], character))
    kept = sorted(kept if most is None else kept[: most - len(SPECIALS)])
    numbers = {character: number for number, character in enumerate(kept, len(SPECIALS))}
    return Vocabulary(
        (*SPECIALS, *kept), lambda text: [numbers.get(character, UNKNOWN) for character in normal(text)]
    )


def _by_library(kind: Literal["words", "bpe"], texts: Iterable[str], most: int | None) -> Vocabulary:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="first"),
        ]
    )

    def made(model: models.Model) -> Tokenizer:
        found = Tokenizer(model)
        found.normalizer = normalizers.NFKC()
        found.pre_tokenizer = split
        return found

    about: dict[str, Any] = {"special_tokens": list(SPECIALS), "show_progress": False}
    if most is not None:
        about["vocab_size"] = most
    if kind == "words":
        learner = made(models.WordLevel(unk_token=SPECIALS[UNKNOWN]))
        learner.train_from_iterator(texts, trainers.WordLevelTrainer(**about))
    else:
        learner = made(models.BPE(unk_token=SPECIALS[UNKNOWN]))
        if most is not None:
            about["limit_alphabet"] = most - len(SPECIALS)
        learner.train_from_iterator(texts, trainers.BpeTrainer(**about))
    # A text that happens to hold "<end>" must not end there: only the learner knows the specials.
    tokenizer = made(learner.model)
    numbers = learner.get_vocab()
    tokens = tuple(sorted(numbers, key=lambda token: numbers[token]))
    return Vocabulary(tokens, lambda text: list(tokenizer.encode(text).ids))
