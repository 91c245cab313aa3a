"""A user's own table or folder of images: read by its rules, refused by file, line and column."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data import catalogue
from harness.data.catalogue import DataSet, array_shapes
from harness.data.disk import DataError
from harness.data.prepared import Prepared, prepare
from harness.errors import OnespecError, UsageError
from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.data import Data


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESPEC_CACHE", str(tmp_path / "cache"))


def data(**fields: Any) -> Data:
    return codec.decode(Data, fields)


def table(folder: Path, text: str | bytes, **fields: Any) -> DataSet:
    (folder / "mine.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return catalogue.of(data(**({"csv": "mine.csv", "target": "t", "kind": "class"} | fields)), folder)


def rows(*targets: object) -> str:
    return "a,t,b\n" + "".join(f"{place},{target},{place * place}\n" for place, target in enumerate(targets))


# --- tables


def test_a_table_becomes_a_data_set(tmp_path: Path) -> None:
    found = table(tmp_path, rows(*["yes", "no"] * 10))
    assert (found.name, found.target, found.scale) == ("mine", "class", "standard")
    assert found.classes == ("no", "yes")
    assert (found.train_examples, found.test_examples) == (16, 4)
    assert array_shapes(found) == {"x": (2,), "y": ()}
    arrays = prepare(found, held_out=0.25, scale="none").arrays()
    assert {name: array.shape for name, array in arrays.items()} == {
        "train_x": (12, 2),
        "train_y": (12,),
        "validation_x": (4, 2),
        "validation_y": (4,),
        "test_x": (4, 2),
        "test_y": (4,),
    }
    assert sorted(arrays["test_y"]) == [0, 0, 1, 1]
    for split in ("train", "validation", "test"):
        x, y = arrays[f"{split}_x"], arrays[f"{split}_y"]
        np.testing.assert_array_equal(x[:, 1], x[:, 0] ** 2)
        np.testing.assert_array_equal(y, x[:, 0].astype(int) % 2 == 0)


def test_classes_that_are_numbers_stand_in_their_order(tmp_path: Path) -> None:
    assert table(tmp_path, rows(*["10", "9", "-1"] * 4)).classes == ("-1", "9", "10")
    assert table(tmp_path, rows(*["10", "9", "x"] * 4)).classes == ("10", "9", "x")


def test_a_value_is_a_number_and_is_standardised(tmp_path: Path) -> None:
    found = table(tmp_path, rows(*range(100, 120)), kind="value", test=0.1)
    assert array_shapes(found) == {"x": (2,), "value": (1,)}
    assert found.outputs == 1
    arrays = prepare(found).arrays()
    assert arrays["test_value"].shape == (2, 1)
    assert arrays["train_value"].std() == pytest.approx(1, abs=1e-6)


def test_quotes_spaces_empty_lines_and_a_byte_order_mark_are_understood(tmp_path: Path) -> None:
    text = '\ufeffa , t,"b, c"\r\n 1 ,"x, ""y""", 1e3\r\n\r\n2,z,-.5\r\n3,z,0\r\n4,"x, ""y""",1\r\n'
    found = table(tmp_path, text, test=0.4)
    assert found.classes == ('x, "y"', "z")
    assert found.shape == (2,)


@pytest.mark.parametrize(
    ("text", "fields", "said"),
    [
        ("", {}, "line 1 is empty"),
        ("a,t\n", {}, "a header and no rows"),
        ("a,,t\n1,2,3\n", {}, "line 1 names column 2 ''"),
        ("a,t,a\n1,2,3\n", {}, "line 1 names column 3 'a'"),
        ("t\n1\n", {}, "has only the column 't'"),
        ("a,t\n1,x\n2\n", {}, "line 3 has 1 fields, the header 2"),
        ("a,t\n1,x\n\n2,y,3\n", {}, "line 4 has 3 fields, the header 2"),
        ("a,t\n1,x\n,y\n", {}, "line 3, column 'a': the value is missing"),
        ("a,t\n1,x\n2, \n", {}, "line 3, column 't': the value is missing"),
        ("a,t\n1,x\n?,y\n", {}, r"line 3, column 'a': '\?' is not a number"),
        ("a,t\n1,x\nnan,y\n", {}, "line 3, column 'a': 'nan' is not a number"),
        ("a,t\n1,x\n1_0,y\n", {}, "line 3, column 'a': '1_0' is not a number"),
        ('a,t\n"1\n",x\nred,y\n', {}, "line 4, column 'a': 'red' is not a number"),
        ("a,t\n1,2\n2,high\n", {"kind": "value"}, "line 3, column 't': 'high' is not a number"),
        ('a,t\n1,"x\n', {}, "line 2 is not CSV"),
        (b"a,t\n1,\xff\n", {}, "is not in UTF-8"),
        ("a,t\n1,x\n2,x\n", {}, "has one class, 'x'"),
        ("a,t\n1,x\n2,y\n", {}, "of its 2 examples leaves a part empty"),
        ("a,t\n1,2\n2,3\n", {"kind": "value", "test": 0.9}, "leaves a part empty"),
    ],
)
def test_a_mistake_in_a_table_is_told_by_its_place(
    text: str | bytes, fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        table(tmp_path, text, **fields)
    assert "mine.csv: " in str(caught.value)


def test_a_wrong_column_or_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine.csv: unknown column 'prise'. Did you mean 'price'"):
        table(tmp_path, "a,price\n1,2\n", target="prise")
    with pytest.raises(UsageError, match=r"nowhere.csv: cannot be read: No such file"):
        catalogue.of(data(csv="nowhere.csv", target="t", kind="class"), tmp_path)


def test_content_and_reading_decide_not_the_place_of_a_table(tmp_path: Path) -> None:
    text = rows(*[70, 80] * 10)
    (tmp_path / "other").mkdir()
    first, other = prepare(table(tmp_path, text)), prepare(table(tmp_path / "other", text))
    assert first == other
    named = prepare(table(tmp_path, text, name="a/name"))
    assert named.folder != first.folder
    assert named.folder.parent == first.folder.parent
    assert named.fingerprint == first.fingerprint
    seen: list[Prepared] = [
        prepare(table(tmp_path, text, target="a", kind="value")),
        prepare(table(tmp_path, text, test=0.3)),
        prepare(table(tmp_path, text.replace("16", "17"))),
    ]
    assert len({first.fingerprint, *(each.fingerprint for each in seen)}) == 4


# --- folders of images


def save(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(stream, "PNG")
    path.write_bytes(stream.getvalue())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place in range(5):
        save(tmp_path / "pets" / "cat" / f"{place}.png", place)
        save(tmp_path / "pets" / "dog" / f"{place}.png", 100 + place, (5, 9))
    (tmp_path / "pets" / ".hidden").write_text("")
    (tmp_path / "pets" / "cat" / ".hidden").write_text("")
    return tmp_path


def pets(beside: Path, **fields: Any) -> DataSet:
    return catalogue.of(data(**({"images": "pets", "size": [4, 3]} | fields)), beside)


def test_a_folder_becomes_a_data_set(folder: Path) -> None:
    found = pets(folder)
    assert (found.name, found.classes, found.scale) == ("pets", ("cat", "dog"), "unit")
    assert (found.train_examples, found.test_examples) == (8, 2)
    assert array_shapes(found) == {"x": (4, 3, 3), "y": ()}
    arrays = prepare(found).arrays()
    assert arrays["train_x"].shape == (8, 4, 3, 3)
    assert arrays["test_y"].tolist() == [0, 1]
    for split in ("train", "test"):
        values = np.round(arrays[f"{split}_x"] * 255).astype(int)
        assert np.all(values == values[:, :1, :1, :1])
        np.testing.assert_array_equal(values[:, 0, 0, 0] >= 100, arrays[f"{split}_y"])
    assert array_shapes(pets(folder, channels=1)) == {"x": (4, 3, 1), "y": ()}
    assert prepare(pets(folder, channels=1)).arrays()["test_x"].shape == (2, 4, 3, 1)


def test_a_changed_image_makes_other_data(folder: Path) -> None:
    before = prepare(pets(folder))
    (folder / "pets").rename(folder / "moved")
    assert prepare(pets(folder, images="moved", name="pets")) == before
    save(folder / "moved" / "dog" / "3.png", 9)
    assert prepare(pets(folder, images="moved", name="pets")).fingerprint != before.fingerprint


def test_what_is_no_image_or_out_of_place_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="petz: there is no such folder"):
        pets(folder, images="petz")
    odd = folder / "pets" / "cat" / "notes.txt"
    odd.write_text("no image")
    found = pets(folder)
    with pytest.raises(DataError, match=r"pets/cat/notes\.txt: no image"):
        prepare(found)
    odd.unlink()
    with pytest.raises(DataError, match=r"notes\.txt: cannot be read: No such file"):
        prepare(found)
    (folder / "pets" / "cat" / "deep").mkdir()
    with pytest.raises(DataError, match="pets/cat/deep: is no file"):
        pets(folder)
    (folder / "pets" / "cat" / "deep").rename(folder / "pets" / "empty")
    with pytest.raises(DataError, match="pets/empty: the class has no images"):
        pets(folder)
    (folder / "pets" / "empty").rmdir()
    (folder / "pets" / "readme.txt").write_text("")
    with pytest.raises(DataError, match=r"readme\.txt: lies outside of the classes' folders"):
        pets(folder)


def test_one_class_is_none(tmp_path: Path) -> None:
    save(tmp_path / "pets" / "cat" / "0.png", 0)
    with pytest.raises(DataError, match="has 1 classes; two folders"):
        pets(tmp_path)


# --- how a spec names them


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "name: is missing: a data set's name, or csv, images, text or wav"),
        ({"csv": "a.csv", "images": "a"}, "images: csv names data already"),
        ({"csv": "a.csv", "kind": "class"}, "target: is missing"),
        ({"csv": "a.csv", "target": "t"}, "kind: is missing"),
        (
            {"csv": "a.csv", "target": "t", "kind": "klass"},
            "kind: unknown value 'klass'. Did you mean 'class'",
        ),
        ({"csv": "a.csv", "target": "t", "kind": "class", "size": [1, 1]}, "size: has no meaning for csv"),
        ({"csv": "a.csv", "target": "t", "kind": "class", "test": 0.0}, "test: must be positive"),
        (
            {"csv": "a.csv", "target": "t", "kind": "class", "test": 1.0},
            "test: must be at least 0 and below 1",
        ),
        ({"images": "a"}, "size: is missing"),
        ({"images": "a", "size": [4, 0]}, r"size\[1\]: must be at least 1, got 0"),
        ({"images": "a", "size": [4]}, "size: must have 2 items, got 1"),
        ({"images": "a", "size": [4, 4], "channels": 2}, "channels: unknown value '2'"),
        ({"images": "a", "size": [4, 4], "target": "t"}, "target: goes with csv"),
        ({"name": "digits", "test": 0.1}, "test: goes with csv, images, text or wav"),
        ({"name": "digits", "scale": "units"}, "scale: unknown value 'units'. Did you mean 'unit'"),
    ],
)
def test_a_wrong_field_is_told_by_its_name(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        data(**fields)


def test_what_is_left_out_is_written_down_where_it_has_a_meaning() -> None:
    assert codec.encode(data(name="digits")) == {"name": "digits", "held_out": 0.2, "seed": 0}
    assert codec.encode(data(csv="some/where/mine.csv", target="t", kind="value")) == {
        "name": "mine",
        "held_out": 0.2,
        "seed": 0,
        "csv": "some/where/mine.csv",
        "target": "t",
        "kind": "value",
        "test": 0.2,
    }
    images = codec.encode(data(images="pets", size=[8, 8]))
    assert (images["channels"], images["test"], images["name"]) == (3, 0.2, "pets")


def test_without_their_place_the_same_data_are_the_same() -> None:
    one, two = (data(csv=path, target="t", kind="class") for path in ("a/b.csv", "c.csv"))
    assert one != two
    assert one.without_place() == two.without_place()
    assert one.without_place() != data(csv="c.csv", target="u", kind="class").without_place()
    pets, dogs = (data(images=path, size=[8, 8]) for path in ("pets", "dogs"))
    assert pets.without_place() == dogs.without_place() != one.without_place()
    assert data(name="digits").without_place() == data(name="digits")


def test_a_catalogue_name_is_looked_up() -> None:
    assert catalogue.of(data(name="digits"), Path()) is catalogue.CATALOGUE["digits"]
    with pytest.raises(OnespecError, match="Did you mean 'digits'"):
        catalogue.of(data(name="digts"), Path())
