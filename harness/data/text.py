"""Texts as arrays: windows of a language, labelled texts, and pairs to be translated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.data_set import Raw
from harness.data.digest import Arrays
from harness.data.disk import DataError
from harness.data.order import generator
from harness.data.tokens import END, PAD, SPECIALS, START, Kind, Vocabulary, learn

CUT = "texts longer than the length, cut there"
TEXT_TEST_FRACTION = 0.1
"""Of a text that is one piece: its end."""


def as_bytes(text: str) -> dict[str, npt.NDArray[Any]]:
    """A text as the array that a source's checksum is taken of: its UTF-8."""
    return {"text": np.frombuffer(text.encode(), np.uint8)}


def of_bytes(arrays: Arrays) -> str:
    """The text that `as_bytes` was given."""
    return bytes(arrays["text"]).decode()


def decoded(body: bytes, where: object) -> str:
    """The text of UTF-8; a byte order mark is left out, and lines end in \\n. Raises `DataError`, beginning
    with `where`, for another encoding, for a NUL, and where there is no text.
    """
    try:
        text = body.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + 1
        raise DataError(
            f"{where}: is not in UTF-8 ({error.reason} at byte {error.start}, line {line}). Convert it, as "
            "`iconv -f latin1 -t utf-8` does"
        ) from error
    if "\0" in text:
        raise DataError(f"{where}: line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL: no text")
    if not text.strip():
        raise DataError(f"{where}: is empty")
    return text


def read_text(path: Path) -> str:
    """A file's text; see `decoded`."""
    try:
        return decoded(path.read_bytes(), path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def fields(text: str, columns: int, where: object) -> list[tuple[str, ...]]:
    """The lines of a text as fields between tabs, empty lines left out. Raises `DataError` for a line with
    another number of fields than `columns`, or with an empty one.
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        parts = tuple(part.strip() for part in line.split("\t"))
        if len(parts) != columns:
            raise DataError(f"{where}: line {number} has {len(parts)} fields between tabs, not {columns}")
        if not all(parts):
            raise DataError(f"{where}: line {number} has an empty field")
        found.append(parts)
    if not found:
        raise DataError(f"{where}: has no lines")
    return found


def drawn_by_text(texts: Sequence[str], fraction: float) -> npt.NDArray[np.bool_]:
    """Which texts are the test set: bool (texts,). Equal texts are all in it or all not, so that none that is
    trained on is asked for. Of the n different ones in their first order it is round(fraction * n), by the
    permutation that `order.generator(0, 0, 3)` draws.
    """
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    chosen = np.zeros(len(places), bool)
    chosen[generator(0, 0, 3).permutation(len(places))[: round(fraction * len(places))]] = True
    return chosen[[places[text] for text in texts]]


# --- a language


def parts_of(characters: int, test: float = TEXT_TEST_FRACTION) -> tuple[int, int]:
    """How many characters of a text are to learn from, and how many the test part."""
    away = round(test * characters)
    return characters - away, away


def cut_by_time(text: str, test: float = TEXT_TEST_FRACTION) -> tuple[str, str]:
    """The text's beginning, to learn from, and its end, the test part."""
    place, _ = parts_of(len(text), test)
    return text[:place], text[place:]


def windows_in(numbers: int, length: int) -> int:
    """How many windows of `length` there are, each with the token after it."""
    return max(0, (numbers - 1) // length)


def windows(numbers: Sequence[int], vocabulary: Vocabulary, length: int) -> dict[str, npt.NDArray[Any]]:
    """Windows side by side: x (windows, length), y the token after each, and `characters` (windows,), how
    many of them the tokens of y are. What does not fill a window at the end is left out.
    """
    count = windows_in(len(numbers), length)
    ids = np.array(numbers[: count * length + 1], np.int32)
    y = ids[1:].reshape(count, length)
    sizes = np.array([1 if number < len(SPECIALS) else len(t) for number, t in enumerate(vocabulary.tokens)])
    return {"x": ids[:-1].reshape(count, length), "y": y, "characters": sizes[y].sum(1).astype(np.float32)}


@dataclass(frozen=True)
class Language:
    """A text's windows by split, with its vocabulary."""

    parts: dict[str, dict[str, npt.NDArray[Any]]]
    vocabulary: tuple[str, ...]

    @staticmethod
    def of(
        text: str,
        kind: Kind,
        most: int | None,
        length: int,
        where: object,
        test_share: float = TEXT_TEST_FRACTION,
    ) -> Language:
        """Raises `DataError` where a part has no whole window."""
        train, test = cut_by_time(text, test_share)
        vocabulary = learn(kind, [train], most)
        parts = {}
        for split, part in (("train", train), ("test", test)):
            numbers = vocabulary.encode(part)
            parts[split] = windows(numbers, vocabulary, length)
            if not len(parts[split]["x"]):
                raise DataError(
                    f"{where}: its {split} part has {len(numbers)} tokens, too few for a window of {length} "
                    "and the token after it"
                )
        return Language(parts, vocabulary.tokens)

    def raw(self) -> Raw:
        """As arrays."""
        return Raw(_named(self.parts), {}, self.vocabulary)


# --- labelled texts


def labelled(
    texts: Sequence[str],
    y: npt.NDArray[Any],
    test: npt.NDArray[np.bool_],
    kind: Kind,
    most: int | None,
    length: int,
    where: object,
) -> Raw:
    """x (texts, length): `<start>`, the tokens, padding; `lengths` (texts,), how many of them are no padding;
    y. A text of more tokens is cut and counted; one without any is an error.
    """
    vocabulary = learn(kind, [text for text, away in zip(texts, test, strict=True) if not away], most)
    rows, cut = [], 0
    for place, text in enumerate(texts):
        numbers = vocabulary.encode(text)
        if not numbers:
            raise DataError(f"{where}: text {place + 1} has no token: {text[:40]!r}")
        cut += len(numbers) + 1 > length
        rows.append([START, *numbers][:length])
    arrays = {**_padded(rows, length), "y": y}
    parts = {
        split: {name: values[chosen] for name, values in arrays.items()}
        for split, chosen in (("train", ~test), ("test", test))
    }
    return Raw(_named(parts), {CUT: cut} if cut else {}, vocabulary.tokens)


def _padded(rows: Sequence[Sequence[int]], length: int) -> dict[str, npt.NDArray[Any]]:
    x = np.full((len(rows), length), PAD, np.int32)
    for place, row in enumerate(rows):
        x[place, : len(row)] = row
    return {"x": x, "lengths": np.array([len(row) for row in rows], np.int32)}


# --- pairs


def translated(
    pairs: Sequence[tuple[str, str]],
    test: npt.NDArray[np.bool_],
    kind: Kind,
    most: int | None,
    length: int,
    where: object,
) -> Raw:
    """One vocabulary for both sides. x (pairs, length): the source, `<end>`, padding; `lengths`; `target`:
    `<start>` and the translation; y: the translation and `<end>`; `weights`: 1 at the tokens of y, 0 at its
    padding. Longer ones are cut and counted; one without a token is an error.
    """
    kept = [pair for pair, away in zip(pairs, test, strict=True) if not away]
    vocabulary = learn(kind, [text for pair in kept for text in pair], most)
    sources, targets, cut = [], [], 0
    for place, pair in enumerate(pairs):
        source, target = (vocabulary.encode(text) for text in pair)
        if not source or not target:
            raise DataError(f"{where}: pair {place + 1} has a side without a token: {pair}")
        cut += max(len(source), len(target)) >= length
        sources.append([*source, END][:length])
        targets.append([START, *target, END])
    y = _padded([row[1 : length + 1] for row in targets], length)
    arrays = {
        **_padded(sources, length),
        "target": _padded([row[:-1][:length] for row in targets], length)["x"],
        "y": y["x"],
        "weights": (np.arange(length) < y["lengths"][:, np.newaxis]).astype(np.float32),
    }
    parts = {
        split: {name: values[chosen] for name, values in arrays.items()}
        for split, chosen in (("train", ~test), ("test", test))
    }
    return Raw(_named(parts), {CUT: cut} if cut else {}, vocabulary.tokens)


def _named(parts: dict[str, dict[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    return {f"{split}_{name}": values for split, part in parts.items() for name, values in part.items()}
