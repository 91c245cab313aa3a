"""What the loaders of the data sets accept, by tiny files of their forms, and what they refuse."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from harness.data import catalogue
from harness.data.archives import Limits, tar_files
from harness.data.catalogue import CATALOGUE, array_shapes
from harness.data.data_set import DataSet, Raw
from harness.data.disk import DataError
from harness.data.images import read_image
from harness.data.prepared import prepare
from harness.data.sets import blood, classified, nuclei, scenes, tables
from harness.data.split import drawn_for_test
from harness.errors import UsageError
from harness.spec.data import Data

LIMITS = Limits(members=8, member_bytes=1000, total_bytes=50_000)

Member = tuple[str, bytes]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESPEC_CACHE", str(tmp_path / "cache"))


def pack(path: Path, members: list[Member], *odd: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, body in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
        for entry in odd:
            archive.addfile(entry)
    return path


def picture(pixels: npt.NDArray[np.uint8], kind: str = "PNG", mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(stream, kind)
    return stream.getvalue()


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# --- archives


def test_an_archive_gives_its_files_in_order_and_no_folders(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("a")
    folder.type = tarfile.DIRTYPE
    path = pack(tmp_path / "good.tar.gz", [("a/two", b"22"), ("./a/one", b"1"), ("empty", b"")], folder)
    assert list(tar_files(path, LIMITS)) == [("a/two", b"22"), ("a/one", b"1"), ("empty", b"")]


def _entry(name: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


@pytest.mark.parametrize(
    ("members", "odd", "said"),
    [
        ([("../out", b"1")], [], r"'../out' climbs out"),
        ([("a/../../out", b"1")], [], "climbs out"),
        ([("/etc/out", b"1")], [], "climbs out"),
        ([("a\\..\\out", b"1")], [], "climbs out"),
        ([], [_entry("link", tarfile.SYMTYPE)], "'link' is neither a file nor a folder"),
        ([], [_entry("link", tarfile.LNKTYPE)], "neither a file nor a folder"),
        ([], [_entry("device", tarfile.CHRTYPE)], "neither a file nor a folder"),
        ([("a", b"1"), ("./a", b"2")], [], "'./a' comes twice"),
        ([(f"{number}", b"") for number in range(9)], [], "more than 8 members"),
        ([("big", bytes(1001))], [], "1001 bytes, more than the 1000"),
    ],
)
def test_an_archive_that_does_what_it_should_not_is_refused(
    members: list[Member], odd: list[tarfile.TarInfo], said: str, tmp_path: Path
) -> None:
    path = pack(tmp_path / "odd.tar.gz", members, *odd)
    with pytest.raises(DataError, match=said) as caught:
        list(tar_files(path, LIMITS))
    assert "odd.tar.gz" in str(caught.value)


def _bomb() -> bytes:
    return gzip.compress(bytes(10_000_000))


def _long_name_bomb() -> bytes:
    """A header that asks for its name to be read from ten million bytes."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 10_000_000
    return gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_000_000))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (_long_name_bomb(), "unpacks to more than 50000 bytes"),
        (_bomb(), "unpacks to more than 50000 bytes"),
        (b"no gzip", "damaged or truncated"),
        (b"", "damaged or truncated"),
        (gzip.compress(b"no tar" * 200), "damaged or truncated"),
    ],
)
def test_what_unpacks_to_too_much_or_is_no_archive_is_refused(body: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.tar.gz"
    path.write_bytes(body)
    with pytest.raises(DataError, match=said):
        list(tar_files(path, LIMITS))


@pytest.mark.parametrize("left", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_archive_is_refused(left: float, tmp_path: Path) -> None:
    path = pack(tmp_path / "cut.tar.gz", [(f"{number}", noise(900).tobytes()) for number in range(5)])
    body = path.read_bytes()
    path.write_bytes(body[: int(left * len(body))])
    with pytest.raises(DataError, match="truncated"):
        list(tar_files(path, LIMITS))


# --- images


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_images_come_as_bytes_with_the_channels_asked_for(kind: str) -> None:
    colour, grey = noise(5, 7, 3), noise(5, 7)
    np.testing.assert_array_equal(read_image(picture(colour, kind), "it", 3), colour)
    np.testing.assert_array_equal(read_image(picture(grey, kind), "it", 1), grey[..., np.newaxis])
    assert read_image(picture(colour, kind), "it", 1).shape == (5, 7, 1)
    np.testing.assert_array_equal(read_image(picture(grey, kind), "it", 3), np.stack([grey] * 3, 2))


def test_opacity_is_left_out_and_size_is_height_by_width() -> None:
    image = noise(6, 8, 4)
    np.testing.assert_array_equal(read_image(picture(image), "it", 3), image[..., :3])
    assert read_image(picture(image), "it", 3, (3, 4)).shape == (3, 4, 3)
    flat = np.full((6, 8, 3), 77, np.uint8)
    assert np.all(read_image(picture(flat), "it", 3, (5, 2)) == 77)


def test_a_photograph_is_turned_upright() -> None:
    stream = io.BytesIO()
    image = Image.fromarray(noise(4, 6, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(stream, "PNG", exif=exif)
    assert read_image(stream.getvalue(), "it", 3).shape == (6, 4, 3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no image",
        picture(noise(64, 64, 3))[:-3000],
        picture(noise(64, 64, 3), "JPEG")[:1500],
        picture(noise(64, 64, 3))[:100] + b"\0" * 1000 + picture(noise(64, 64, 3))[1100:],
    ],
)
def test_a_truncated_or_damaged_image_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(DataError, match=r"^cell\.png: no image, damaged or truncated"):
        read_image(body, "cell.png", 3)


def test_deep_and_huge_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(4, 4).astype(np.uint16) * 256).save(stream, "PNG")
    with pytest.raises(DataError, match="8 bits a channel"):
        read_image(stream.getvalue(), "it", 1)
    monkeypatch.setattr("harness.data.images.MOST_PIXELS", 15)
    with pytest.raises(DataError, match="4 x 4 pixels are more than 15"):
        read_image(picture(noise(4, 4, 3)), "it", 3)


# --- splits


def test_a_stratified_split_has_each_class_in_its_share_and_never_all_of_it() -> None:
    classes = np.array([0] * 100 + [1] * 50 + [2])
    test = drawn_for_test(len(classes), 0.2, classes)
    assert [int(np.sum(test & (classes == each))) for each in range(3)] == [20, 10, 0]
    assert not drawn_for_test(1, 0.9, np.zeros(1)).any()
    assert drawn_for_test(10, 0.3).sum() == 3
    np.testing.assert_array_equal(test, drawn_for_test(len(classes), 0.2, classes))


# --- tables

HEART_ROW = "63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,0.0,6.0"


def _heart(path: Path, *rows: str) -> Raw:
    (path / tables.HEART_FILE).write_text("\n".join(rows) + "\n")
    return tables.load_heart_disease({tables.HEART_FILE: path / tables.HEART_FILE})


def test_heart_disease_has_two_classes_and_nan_for_what_is_missing(tmp_path: Path) -> None:
    rows = [f"{HEART_ROW},{degree}" for degree in (0, 0, 0, 0, 0, 1, 2, 3, 4, 4)]
    rows[3] = rows[3].replace("233.0", "?")
    arrays = _heart(tmp_path, *rows, "").arrays
    assert arrays["train_x"].shape == (8, 13)
    assert sorted(arrays["train_y"]) == [0] * 4 + [1] * 4
    assert sorted(arrays["test_y"]) == [0, 1]
    assert np.isnan(arrays["train_x"]).sum() + np.isnan(arrays["test_x"]).sum() == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (HEART_ROW, "line 2 has 13 fields, not 14"),
        (f"{HEART_ROW},5", "row 2 has the class 5"),
        (f"{HEART_ROW},?", "row 2 has the class nan"),
        (f"{HEART_ROW.replace('63.0', 'old')},1", "line 2 holds 'old'"),
        (f"{HEART_ROW.replace('63.0', 'inf')},1", "line 2 holds 'inf'"),
    ],
)
def test_a_wrong_row_of_a_table_is_named(row: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        _heart(tmp_path, f"{HEART_ROW},0", row)


def test_german_credit_reads_numbers_between_spaces(tmp_path: Path) -> None:
    path = tmp_path / tables.GERMAN_FILE
    path.write_text("".join(f"  {' '.join(['3'] * 24)}   {each} \n" for each in [1] * 7 + [2] * 3))
    arrays = tables.load_german_credit({tables.GERMAN_FILE: path}).arrays
    assert arrays["train_x"].shape == (8, 24)
    assert sorted(np.concatenate([arrays["train_y"], arrays["test_y"]])) == [0] * 7 + [1] * 3
    path.write_text("")
    with pytest.raises(DataError, match="has no rows"):
        tables.load_german_credit({tables.GERMAN_FILE: path})


Arrays = dict[str, npt.NDArray[Any]]


def _set_of(raw: Arrays, **changed: Any) -> DataSet:
    fields: dict[str, Any] = {
        "name": "tiny",
        "title": "",
        "source": "",
        "licence": "",
        "train_examples": len(raw["train_x"]),
        "test_examples": len(raw["test_x"]),
        "shape": raw["train_x"].shape[1:],
        "classes": ("a", "b"),
        "value_range": None,
        "load": lambda _: Raw(raw),
        "sources": lambda: {"arrays": repr(raw)},
        "scale": "standard",
    }
    return DataSet(**(fields | changed))


def test_standard_scale_and_medians_follow_from_what_is_left_for_training_alone() -> None:
    random = np.random.default_rng(1)
    raw: Arrays = {
        "train_x": random.normal(50, 9, (40, 3)),
        "train_y": np.zeros(40, np.uint8),
        "test_x": random.normal(0, 1, (9, 3)),
        "test_y": np.zeros(9, np.uint8),
    }
    raw["train_x"][:, 2] = 5
    raw["train_x"][3, 0] = raw["test_x"][0, 1] = np.nan
    prepared = prepare(_set_of(raw, missing="median"), held_out=0.25)
    held = np.sort(np.random.Generator(np.random.PCG64([0, 0, 1])).permutation(40)[:10])
    left = np.delete(raw["train_x"], held, axis=0)
    medians = np.nanmedian(left, axis=0)
    left = np.where(np.isnan(left), medians, left)
    test = np.where(np.isnan(raw["test_x"]), medians, raw["test_x"])
    deviation = np.where(left.std(axis=0) == 0, 1, left.std(axis=0))
    found = prepared.arrays()
    np.testing.assert_allclose(found["train_x"], (left - left.mean(0)) / deviation, atol=1e-6)
    np.testing.assert_allclose(found["test_x"], (test - left.mean(0)) / deviation, rtol=1e-6)
    assert np.all(found["train_x"][:, 2] == 0)
    assert prepared.meta["counts"] == {"missing values, each the training median of its column": 2}
    np.testing.assert_allclose(prepared.meta["standardised"]["x"]["mean"], left.mean(0))
    assert prepared == prepare(_set_of(raw, missing="median"), held_out=0.25)


def test_missing_values_without_a_rule_and_columns_without_a_value_are_refused() -> None:
    raw: Arrays = {name: np.ones((4, 2)) for name in ("train_x", "test_x")}
    raw |= {name: np.zeros(4, np.uint8) for name in ("train_y", "test_y")}
    raw["train_x"][:, 1] = np.nan
    with pytest.raises(DataError, match="tiny: 4 values are missing"):
        prepare(_set_of(raw))
    with pytest.raises(DataError, match="no training example has a value of feature 1"):
        prepare(_set_of(raw, missing="median"))


def test_a_value_is_standardised_with_the_table_and_the_raw_one_can_be_had() -> None:
    scaled = prepare("diabetes")
    arrays = scaled.arrays()
    assert {name: array.shape for name, array in arrays.items()} == {
        "train_x": (354, 10),
        "train_value": (354, 1),
        "test_x": (88, 10),
        "test_value": (88, 1),
    }
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert abs(arrays["train_value"].mean()) < 1e-6
    assert arrays["train_value"].std() == pytest.approx(1, abs=1e-5)
    raw = prepare("diabetes", scale="none").arrays()
    moments = scaled.meta["standardised"]["value"]
    back = arrays["test_value"] * moments["deviation"] + moments["mean"]
    np.testing.assert_allclose(back, raw["test_value"], rtol=1e-5)
    assert raw["train_value"].min() >= 25
    with pytest.raises(UsageError, match='no bounds that "unit" could scale'):
        prepare("diabetes", scale="unit")


def test_breast_cancer_is_stratified() -> None:
    arrays = prepare("breast-cancer").arrays()
    shares = [arrays[f"{split}_y"].mean() for split in ("train", "test")]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)
    assert arrays["test_x"].shape == (113, 30)


# --- CIFAR-10


def _cifar_batch(labels: list[int]) -> bytes:
    records = noise(len(labels), 3073)
    records[:, 0] = labels
    return records.tobytes()


def _cifar(path: Path, changed: dict[str, bytes | None]) -> Raw:
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    batches = {name: _cifar_batch([place, 9]) for place, name in enumerate(names)} | changed
    members = [(f"cifar-10-batches-bin/{name}", body) for name, body in batches.items() if body is not None]
    pack(path / classified.CIFAR_FILE, [*members, ("cifar-10-batches-bin/readme.html", b"read me")])
    return classified.load_cifar10({classified.CIFAR_FILE: path / classified.CIFAR_FILE})


def test_cifar_is_read_batch_after_batch_with_its_colours_last(tmp_path: Path) -> None:
    arrays = _cifar(tmp_path, {}).arrays
    assert arrays["train_x"].shape == (10, 32, 32, 3)
    assert arrays["test_x"].shape == (2, 32, 32, 3)
    assert arrays["train_y"].tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    planes = np.frombuffer(_cifar_batch([0, 9]), np.uint8).reshape(2, 3073)[1, 1:].reshape(3, 32, 32)
    np.testing.assert_array_equal(arrays["train_x"][1, :, :, 2], planes[2])


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("test_batch.bin", None, "has no test_batch.bin"),
        ("data_batch_3.bin", _cifar_batch([1])[:-1], "data_batch_3.bin' has 3072 bytes, no whole number"),
        ("data_batch_3.bin", b"", "has 0 bytes"),
        ("data_batch_2.bin", _cifar_batch([1, 10]), "example 1 has the class 10"),
    ],
)
def test_a_wrong_batch_of_cifar_is_named(name: str, body: bytes | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        _cifar(tmp_path, {name: body})


# --- scenes


def test_scenes_have_whole_objects_in_their_boxes_that_do_not_overlap() -> None:
    images, objects, masks = scenes.scenes(50, np.random.default_rng(3))
    assert (images.shape, objects.shape, masks.shape) == ((50, 64, 64, 3), (50, 4, 5), (50, 64, 64, 1))
    there = objects[..., 0] >= 0
    assert set(there.sum(axis=1)) == {1, 2, 3, 4}
    assert np.all(objects[~there] == [-1, 0, 0, 0, 0])
    assert np.all(there[:, :-1] >= there[:, 1:])
    inside = np.zeros_like(masks)
    for example, rows in enumerate(objects):
        for kind, across, down, width, height in rows[rows[:, 0] >= 0]:
            left, right = (round(64 * (across + side * width / 2)) for side in (-1, 1))
            top, bottom = (round(64 * (down + side * height / 2)) for side in (-1, 1))
            assert 0 <= left < right <= 64
            assert 0 <= top < bottom <= 64
            box = masks[example, top:bottom, left:right]
            assert not inside[example, top:bottom, left:right].any()
            inside[example, top:bottom, left:right] = 1
            assert box.any(axis=0).all()
            assert box.any(axis=1).all()
            assert box.mean() == pytest.approx([np.pi / 4, 1, 0.5][int(kind)], abs=0.13)
    assert not masks[inside == 0].any()


@pytest.mark.parametrize("name", ["shapes-detect", "shapes-segment"])
def test_the_scenes_are_the_pinned_ones(name: str) -> None:
    arrays = prepare(name).arrays()
    assert {name: array.shape[1:] for name, array in arrays.items() if name.startswith("test")} == {
        f"test_{name}": shape for name, shape in array_shapes(CATALOGUE[name]).items()
    }
    assert (len(arrays["train_x"]), len(arrays["test_x"])) == (1000, 200)
    assert all(array.dtype == np.float32 for array in arrays.values())


# --- BCCD


def _annotation(*objects: tuple[str, Any, Any, Any, Any], size: tuple[Any, Any] = (40, 30)) -> bytes:
    boxes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>"
        f"<ymax>{bottom}</ymax></bndbox></object>"
        for name, left, top, right, bottom in objects
    )
    extent = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation>{extent}{boxes}</annotation>".encode()


CELL = ("RBC", 10, 6, 30, 12)


def _bccd(path: Path, changed: dict[str, bytes | None]) -> dict[str, Path]:
    members: dict[str, bytes | None] = {
        "ImageSets/Main/trainval.txt": b"one\ntwo\n",
        "ImageSets/Main/test.txt": b"three\n",
    }
    for name in ("one", "two", "three"):
        members[f"JPEGImages/{name}.jpg"] = picture(noise(30, 40, 3), "JPEG")
        members[f"Annotations/{name}.xml"] = _annotation(CELL)
    members |= changed
    file = path / blood.FILE
    return {
        blood.FILE: pack(file, [(f"BCCD/{name}", body) for name, body in members.items() if body is not None])
    }


def test_bccd_gives_boxes_in_shares_and_counts_what_its_rules_change(tmp_path: Path) -> None:
    many = _annotation(CELL, ("WBC", 5, 5, 5, 9), ("Platelets", -4, 3, 8, 33), ("WBC", 1, 7, 3, 7))
    raw = blood.load_bccd(_bccd(tmp_path, {"Annotations/two.xml": many}))
    assert raw.arrays["train_x"].shape == (2, 208, 208, 3)
    assert raw.arrays["test_x"].dtype == np.uint8
    first, second = raw.arrays["train_objects"]
    np.testing.assert_allclose(first[0], [0, 0.5, 0.3, 0.5, 0.2])
    assert np.all(first[1:] == [-1, 0, 0, 0, 0])
    np.testing.assert_allclose(second[1], [2, 0.1, 0.55, 0.2, 0.9])
    assert np.all(second[2:, 0] == -1)
    assert raw.counts == {blood.ZERO_SIZE: 2, blood.CUT: 1}


ENTITIES = b"""<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><annotation>&c;</annotation>"""


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("Annotations/two.xml", None, "has no member 'BCCD/Annotations/two.xml'"),
        ("Annotations/two.xml", b"<annotation>", "two.xml': no XML that is read here"),
        ("Annotations/two.xml", ENTITIES, "no XML that is read here"),
        ("Annotations/two.xml", b"<annotation/>", "size/width is None"),
        ("Annotations/two.xml", _annotation(size=(0, 30)), "an image of 0 x 30 pixels"),
        ("Annotations/two.xml", _annotation(("Cell", 1, 1, 2, 2)), "object 1: unknown class 'Cell'"),
        ("Annotations/two.xml", _annotation(("RBC", 1, "high", 2, 2)), "bndbox/ymin is 'high'"),
        ("Annotations/two.xml", _annotation(("RBC", 1, "nan", 2, 2)), "bndbox/ymin is 'nan'"),
        ("Annotations/two.xml", _annotation(CELL, ("RBC", 9, 1, 2, 2)), "object 2: a box from 9, 1 to 2, 2"),
        ("Annotations/two.xml", _annotation(("RBC", 41, 1, 50, 2)), "lies outside of its image"),
        ("Annotations/two.xml", _annotation(*[CELL] * 31), "has 31 boxes, more than 30"),
        ("JPEGImages/two.jpg", None, "has no member 'BCCD/JPEGImages/two.jpg'"),
        ("JPEGImages/two.jpg", picture(noise(30, 40, 3), "JPEG")[:400], "two.jpg': no image, damaged"),
        ("ImageSets/Main/test.txt", b"", "the part 'test' names no image"),
    ],
)
def test_a_wrong_file_of_bccd_is_named(name: str, body: bytes | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        blood.load_bccd(_bccd(tmp_path, {name: body}))


# --- nuclei


def _mask(rows: slice, columns: slice) -> bytes:
    mask = np.zeros((256, 256), np.uint8)
    mask[rows, columns] = 255
    return picture(mask)


def _nuclei(path: Path, changed: dict[str, bytes | None]) -> Raw:
    members: dict[str, bytes | None] = {}
    for name in "abcde":
        image = np.full((256, 256, 4), 10 * ord(name) % 256, np.uint8)
        members |= {
            f"{name}/images/{name}.png": picture(image),
            f"{name}/masks/1.png": _mask(slice(0, 8), slice(0, 8)),
            f"{name}/masks/2.png": _mask(slice(4, 12), slice(4, 12)),
        }
    members |= changed
    pack(
        path / nuclei.FILE,
        [(f"stage1_train/{name}", body) for name, body in reversed(members.items()) if body is not None],
    )
    return nuclei.load_nuclei({nuclei.FILE: path / nuclei.FILE})


def test_the_masks_of_nuclei_are_joined_and_images_stand_in_the_order_of_their_ids(tmp_path: Path) -> None:
    arrays = _nuclei(tmp_path, {}).arrays
    assert arrays["train_x"].shape == (4, 256, 256, 3)
    assert arrays["test_mask"].shape == (1, 256, 256, 1)
    assert np.all(arrays["train_mask"].sum(axis=(1, 2, 3)) == 64 + 64 - 16)
    assert set(np.unique(arrays["train_mask"])) == {0, 1}
    firsts = [10 * ord(name) % 256 for name in "abcde"]
    found = arrays["train_x"][:, 0, 0, 0].tolist()
    assert found == [each for each in firsts if each in found]


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("b/masks/1.png", picture(noise(9, 9)), "b/masks/1.png' has 9 x 9 pixels, not 256 x 256"),
        ("b/images/b.png", None, r"not every mask an image: \['b'\]"),
        ("b/images/other.png", picture(noise(256, 256, 3)), "neither the one image nor a mask of b"),
        ("b/masks/1.png", b"no image", "no image, damaged or truncated"),
        ("readme", b"", "is not where an image or a mask is"),
    ],
)
def test_a_wrong_file_of_nuclei_is_named(name: str, body: bytes | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        _nuclei(tmp_path, {name: body})


# --- shapes

KINDS: dict[str, Callable[[tuple[int, ...]], dict[str, tuple[int, ...]]]] = {
    "digits": lambda x: {"x": x, "y": ()},
    "diabetes": lambda x: {"x": x, "value": (1,)},
    "nuclei": lambda x: {"x": x, "mask": (256, 256, 1)},
    "bccd": lambda x: {"x": x, "objects": (30, 5)},
}


@pytest.mark.parametrize("name", KINDS)
def test_the_shapes_follow_from_what_the_target_is(name: str) -> None:
    assert array_shapes(CATALOGUE[name]) == KINDS[name](CATALOGUE[name].shape)


def test_a_model_gives_a_number_a_class_or_one_for_a_value_and_a_mask() -> None:
    outputs = {name: CATALOGUE[name].outputs for name in ("digits", "diabetes", "nuclei", "bccd")}
    assert outputs == {"digits": 10, "diabetes": 1, "nuclei": 1, "bccd": 3}


# --- images at another size


def test_images_and_masks_come_at_the_size_asked_for() -> None:
    small = catalogue.of(Data("shapes-segment", size=(32, 16)), Path())
    assert array_shapes(small) == {"x": (32, 16, 3), "mask": (32, 16, 1)}
    found = prepare(small)
    arrays, whole = found.arrays(), prepare("shapes-segment").arrays()
    assert arrays["test_x"].shape == (200, 32, 16, 3)
    assert set(np.unique(arrays["test_mask"])) == {0.0, 1.0}, "a mask's pixels stay whole"
    assert abs(arrays["test_mask"].mean() - whole["test_mask"].mean()) < 0.01
    assert abs(arrays["test_x"].mean() - whole["test_x"].mean()) < 0.01
    assert found.meta["sources"] == {"arrays": CATALOGUE["shapes-segment"].content_sha256}
    assert prepare(catalogue.of(Data("shapes-segment", size=(16, 32)), Path())).folder != found.folder


def test_boxes_are_in_shares_and_stay_as_they_are() -> None:
    large = prepare(catalogue.of(Data("shapes-detect", size=(96, 96)), Path())).arrays()
    np.testing.assert_array_equal(large["test_objects"], prepare("shapes-detect").arrays()["test_objects"])


def test_photographs_of_blood_are_resized_once_from_the_original(tmp_path: Path) -> None:
    files = _bccd(tmp_path, {})
    raw = blood.load_bccd(files, (20, 30))
    assert raw.arrays["train_x"].shape[1:] == (20, 30, 3)
    resized = catalogue.of(Data("bccd", size=(20, 30)), Path())
    np.testing.assert_array_equal(resized.load(files).arrays["train_x"], raw.arrays["train_x"])


def test_a_table_has_no_size() -> None:
    with pytest.raises(UsageError, match="breast-cancer has no size to choose: leave it out"):
        catalogue.of(Data("breast-cancer", size=(8, 8)), Path())
