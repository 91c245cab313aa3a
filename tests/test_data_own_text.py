"""A user's own text, or table with a column of texts: read by its rules, refused by file, line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import catalogue
from harness.data.catalogue import DataSet, array_shapes
from harness.data.disk import DataError
from harness.data.prepared import prepare
from harness.data.tokens import SPECIALS, UNKNOWN
from harness.errors import UsageError
from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.data import Data

SONG = "row row row your boat\ngently down the stream\n" * 30


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESPEC_CACHE", str(tmp_path / "cache"))


def data(**fields: Any) -> Data:
    return codec.decode(Data, fields)


def text(folder: Path, body: str | bytes = SONG, **fields: Any) -> DataSet:
    (folder / "song.txt").write_bytes(body.encode() if isinstance(body, str) else body)
    return catalogue.of(data(**{"text": "song.txt", "length": 10, **fields}), folder)


def mails(folder: Path, body: str | bytes, **fields: Any) -> DataSet:
    (folder / "mails.csv").write_bytes(body.encode() if isinstance(body, str) else body)
    named = {"csv": "mails.csv", "column": "message", "target": "label", "length": 6}
    return catalogue.of(data(**{**named, **fields}), folder)


def rows(count: int = 20) -> str:
    return "id,message,label\n" + "".join(
        f'{n},"win, number {n}",spam\n{n},see you at {n},ham\n' for n in range(count // 2)
    )


# --- a text


def test_a_text_becomes_a_data_set(tmp_path: Path) -> None:
    found = text(tmp_path)
    assert (found.name, found.scale, found.tokens) == ("song", "none", len(SPECIALS) + len(set(SONG)))
    assert found.outputs == found.tokens
    assert array_shapes(found) == {"x": (10,), "y": (10,), "characters": ()}
    prepared = prepare(found, held_out=0)
    arrays = prepared.arrays()
    assert len(arrays["train_x"]) == found.train_examples == (round(0.8 * len(SONG)) - 1) // 10
    assert len(arrays["test_x"]) == found.test_examples
    assert len(prepared.meta["vocabulary"]) == found.tokens


@pytest.mark.parametrize(("tokens", "most"), [("words", 12), ("bpe", 40)])
def test_a_text_is_made_of_what_is_asked_for(tokens: str, most: int, tmp_path: Path) -> None:
    found = text(tmp_path, tokens=tokens, vocabulary=most, length=4)
    assert found.tokens <= most
    arrays = prepare(found, held_out=0).arrays()
    assert arrays["train_characters"].max() > 4
    assert max(arrays["train_x"].max(), arrays["test_y"].max()) < found.tokens


def test_a_character_that_is_new_at_the_end_is_not_known(tmp_path: Path) -> None:
    arrays = prepare(text(tmp_path, "ab" * 90 + "z" * 20, length=5), held_out=0).arrays()
    assert UNKNOWN not in arrays["train_x"]
    assert np.all(arrays["test_y"][-1] == UNKNOWN)


def test_content_and_reading_decide_not_the_place_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    first, other = prepare(text(tmp_path)), prepare(text(tmp_path / "there"))
    assert first.fingerprint == other.fingerprint
    assert prepare(text(tmp_path, length=11)).fingerprint != first.fingerprint
    assert prepare(text(tmp_path, SONG.replace("row", "sow"))).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", r"song\.txt: is empty"),
        ("  \n \n", r"song\.txt: is empty"),
        (b"caf\xe9\n" * 9, r"song\.txt: is not in UTF-8 .*byte 3, line 1\)\. Convert it"),
        ("too short", r"song\.txt: its train part has 7 tokens, too few for a window of 10"),
        ("enough to learn from", r"song\.txt: its test part has 4 tokens, too few"),
    ],
)
def test_a_text_that_cannot_be_used_is_told(body: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        text(tmp_path, body)


def test_a_text_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.txt: cannot be read: No such file"):
        catalogue.of(data(text="nowhere.txt", length=4), tmp_path)


# --- a column of texts


def test_a_column_of_texts_becomes_a_data_set(tmp_path: Path) -> None:
    found = mails(tmp_path, rows())
    assert (found.classes, found.shape, found.outputs) == (("ham", "spam"), (6,), 2)
    assert (found.train_examples, found.test_examples) == (16, 4)
    prepared = prepare(found, held_out=0.25)
    arrays = prepared.arrays()
    assert arrays["train_x"].shape == (12, 6)
    assert arrays["validation_lengths"].shape == (4,)
    assert arrays["train_lengths"].max() == 5
    assert len(prepared.meta["vocabulary"]) == found.tokens


def test_a_quoted_text_may_have_several_lines(tmp_path: Path) -> None:
    body = rows() + '99,"one\nmore, ""last""\ntext",ham\n'
    assert mails(tmp_path, body).train_examples + mails(tmp_path, body).test_examples == 21


@pytest.mark.parametrize(
    ("body", "fields", "said"),
    [
        ("", {}, "is empty"),
        ("id,message,label\n", {}, "a header and no rows"),
        (rows() + "9,hello\n", {}, "line 22 has 2 fields, the header 3"),
        (rows() + "9, ,ham\n", {}, "line 22, column 'message': the value is missing"),
        (rows() + "9,hello,\n", {}, "line 22, column 'label': the value is missing"),
        (rows().replace("spam", "ham"), {}, "the column 'label' has one class, 'ham'"),
        (rows(2), {}, "of its 2 different texts leaves a part empty"),
        (rows() + '9,"hello\n', {}, "is not CSV"),
        (rows().encode() + b"9,\xff,ham\n", {}, "is not in UTF-8"),
    ],
)
def test_a_mistake_in_a_column_of_texts_is_told(
    body: str | bytes, fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        mails(tmp_path, body, **fields)
    assert "mails.csv: " in str(caught.value)


def test_a_wrong_column_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mails.csv: unknown column 'massage'. Did you mean 'message'"):
        mails(tmp_path, rows(), column="massage")


# --- how a spec names them


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": "a.txt"}, "length: is missing"),
        ({"text": "a.txt", "wav": "a", "length": 4}, "wav: text names data already"),
        ({"text": "a.txt", "length": 0}, "length: must be positive"),
        ({"text": "a.txt", "length": 4, "column": "c"}, "column: goes with csv"),
        ({"text": "a.txt", "length": 4, "horizon": 2}, "horizon: has no meaning for text"),
        ({"text": "a.txt", "length": 4, "tokens": "letters"}, "tokens: unknown value 'letters'"),
        ({"csv": "a.csv", "column": "c", "target": "t"}, "length: is missing"),
        ({"csv": "a.csv", "column": "c", "length": 4}, "target: is missing"),
        ({"csv": "a.csv", "column": "c", "target": "t", "length": 4, "kind": "value"}, "kind: is 'class'"),
        ({"csv": "a.csv", "target": "t", "kind": "class", "length": 4}, "length: is for a text"),
        ({"wav": "a", "rate": 8000}, "seconds: is missing"),
        ({"wav": "a", "seconds": 1.0}, "rate: is missing"),
        ({"wav": "a", "seconds": 1.0, "rate": 8000, "length": 4}, "length: has no meaning for wav"),
        ({"name": "fsdd", "rate": 8000}, "rate: goes with wav"),
    ],
)
def test_a_wrong_field_is_told_by_its_name(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        data(**fields)


def test_what_is_left_out_is_written_down_where_it_has_a_meaning() -> None:
    song = codec.encode(data(text="some/song.txt", length=8))
    assert (song["name"], song["tokens"], song["test"]) == ("song", "characters", 0.2)
    assert "vocabulary" not in song
    table = codec.encode(data(csv="a.csv", column="c", target="t", length=8))
    assert (table["kind"], table["tokens"], table["vocabulary"]) == ("class", "words", 2000)
    one, two = (data(text=path, length=8) for path in ("a/b.txt", "c.txt"))
    assert one.without_place() == two.without_place() != data(text="c.txt", length=9).without_place()
