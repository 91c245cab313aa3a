"""Data sets arrive verified or not at all, and the order of the batches is what it says."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import gzip
import hashlib
import json
import multiprocessing
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from harness.cli import data as data_command
from harness.data import catalogue
from harness.data.catalogue import CATALOGUE, DataSet, File
from harness.data.disk import DataError
from harness.data.files import obtain, state
from harness.data.idx import VALUE_TYPES, read_idx
from harness.data.order import batch_order
from harness.data.prepared import prepare
from harness.data.sets.classified import load_idx_images
from harness.errors import OnespecError, UsageError

TRAIN, TEST, SIDE = 50, 20, 4
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def idx_bytes(array: npt.NDArray[Any]) -> bytes:
    codes = {np.dtype(text): code for code, text in VALUE_TYPES.items()}
    big = array.astype(array.dtype.newbyteorder(">"))
    header = struct.pack(f">HBB{array.ndim}I", 0, codes[big.dtype], array.ndim, *array.shape)
    return header + big.tobytes()


@dataclasses.dataclass
class Mirror:
    """A web server on this machine: what it answers by path, and what it was asked for."""

    url: str
    answers: dict[str, tuple[int, int | None, bytes]] = dataclasses.field(default_factory=dict)
    asked: list[str] = dataclasses.field(default_factory=list)

    def serve(self, name: str, body: bytes, status: int = 200, length: int | None = None) -> None:
        self.answers["/" + name] = (status, length, body)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            status, length, body = served.answers.get(self.path, (404, None, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Mirror(f"http://127.0.0.1:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONESPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache"


@pytest.fixture
def contents() -> dict[str, bytes]:
    """The four files of a small set in MNIST's form."""
    rng = np.random.default_rng(0)
    made = {}
    for prefix, count in (("train", TRAIN), ("t10k", TEST)):
        images = rng.integers(0, 256, (count, SIDE, SIDE), np.uint8)
        labels = rng.integers(0, 10, count, np.uint8)
        made[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(idx_bytes(images))
        made[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(idx_bytes(labels))
    return made


AddSet = Callable[..., DataSet]


@pytest.fixture
def add_set(contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> AddSet:
    """Add the small set to the catalogue, with the mirrors given."""

    def add(*mirrors: str, name: str = "small", of: dict[str, bytes] = contents) -> DataSet:
        files = tuple(
            File(file, len(body), hashlib.sha256(body).hexdigest(), tuple(url + file for url in mirrors))
            for file, body in of.items()
        )
        dataset = dataclasses.replace(
            CATALOGUE["mnist"], name=name, files=files, shape=(SIDE, SIDE, 1), load=load_idx_images
        )
        monkeypatch.setitem(CATALOGUE, name, dataset)
        return dataset

    return add


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in contents.items():
        (folder / name).write_bytes(body)
    return folder


def serve_all(mirror: Mirror, contents: dict[str, bytes]) -> None:
    for name, body in contents.items():
        mirror.serve(name, body)


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    data_command.configure(parser)
    return data_command.run(parser.parse_args(words))


# --- the order of the batches


@given(
    examples=st.integers(1, 200),
    part=st.floats(0.001, 1),
    epochs=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_epoch_shows_distinct_examples_in_full_batches(
    examples: int, part: float, epochs: int, seed: int
) -> None:
    size = max(1, int(part * examples))
    order = batch_order(examples, size, epochs, seed)
    assert order.dtype == np.int32
    assert order.shape == (epochs, examples // size, size)
    for epoch in order:
        assert len(np.unique(epoch)) == epoch.size
        assert 0 <= epoch.min() <= epoch.max() < examples
    np.testing.assert_array_equal(order, batch_order(examples, size, epochs, seed))


@given(examples=st.integers(50, 300), seed=st.integers(0, 2**32 - 1))
def test_epochs_and_seeds_differ_and_more_epochs_only_add(examples: int, seed: int) -> None:
    order = batch_order(examples, 5, 3, seed)
    assert not np.array_equal(order[0], order[1])
    assert not np.array_equal(order[1], order[2])
    assert not np.array_equal(order[0], batch_order(examples, 5, 1, (seed + 1) % 2**32)[0])
    np.testing.assert_array_equal(order, batch_order(examples, 5, 4, seed)[:3])


def test_no_batch_size_means_the_full_batch() -> None:
    order = batch_order(7, None, 2, 0)
    assert order.shape == (2, 1, 7)
    np.testing.assert_array_equal(np.sort(order[1, 0]), np.arange(7))


def test_the_order_is_the_documented_one_and_stays_so() -> None:
    drawn = np.random.Generator(np.random.PCG64([3, 1])).permutation(8)
    np.testing.assert_array_equal(batch_order(8, 4, 2, 3)[1].ravel(), drawn)
    assert batch_order(8, 4, 2, 3).tolist() == [[[6, 7, 2, 1], [4, 5, 3, 0]], [[2, 1, 4, 0], [5, 7, 6, 3]]]


@pytest.mark.parametrize(
    ("examples", "batch_size", "epochs", "seed", "said"),
    [
        (50, 64, 1, 0, "a batch of 64 is larger than the training set of 50 examples"),
        (50, 0, 1, 0, "batch size must be at least 1, not 0"),
        (50, 5, 0, 0, "number of epochs must be at least 1, not 0"),
        (0, None, 1, 0, "number of examples must be at least 1, not 0"),
        (2**31, 5, 1, 0, "more than an int32 can number"),
        (50, 5, 1, -1, "seed must lie in"),
        (50, 5, 1, 2**32, "seed must lie in"),
    ],
)
def test_an_impossible_order_is_refused(
    examples: int, batch_size: int | None, epochs: int, seed: int, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        batch_order(examples, batch_size, epochs, seed)


# --- IDX


@given(
    array=npst.arrays(
        st.sampled_from([np.dtype(text).newbyteorder("=") for text in VALUE_TYPES.values()]),
        npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
    ),
    packed=st.booleans(),
)
def test_idx_gives_back_every_type_and_shape(
    array: npt.NDArray[Any], packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.idx"
    body = idx_bytes(array)
    path.write_bytes(gzip.compress(body) if packed else body)
    read = read_idx(path)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not an IDX file: it begins with nothing"),
        (b"<html>", "not an IDX file: it begins with 3c 68 74 6d"),
        (b"\0\0\x07\x01" + GOOD[4:], "not an IDX file"),
        (b"\0\0\x08\x00" + GOOD[4:], "not an IDX file"),
        (GOOD[:10], "the header of 3 dimensions is cut short"),
        (GOOD[:-1], "23 of the 24 bytes"),
        (GOOD + b"\0", "holds more than the 24 bytes"),
        (gzip.compress(GOOD[:-1]), "23 of the 24 bytes"),
        (gzip.compress(GOOD + b"\0"), "holds more than the 24 bytes"),
        (gzip.compress(GOOD)[:-9], "damaged or truncated gzip"),
        (gzip.compress(GOOD)[:-8] + b"\0" * 8, "damaged or truncated gzip"),
        (b"\x1f\x8bnot gzip", "damaged or truncated gzip"),
        (gzip.compress(struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3)), "too small for the shape"),
    ],
)
def test_what_is_not_whole_idx_is_refused_by_name(body: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "images.idx"
    path.write_bytes(body)
    with pytest.raises(DataError, match=said) as caught:
        read_idx(path)
    assert "images.idx" in str(caught.value)


def test_images_and_labels_must_belong_together(tmp_path: Path, contents: dict[str, bytes]) -> None:
    contents[LABELS] = gzip.compress(idx_bytes(np.zeros(TRAIN - 1, np.uint8)))
    folder = write(tmp_path / "odd", contents)
    with pytest.raises(DataError, match=rf"{LABELS}: holds the shape \(49,\) for 50 images"):
        load_idx_images({name: folder / name for name in contents})
    (folder / IMAGES).write_bytes(contents[LABELS])
    with pytest.raises(DataError, match=rf"{IMAGES}: .* not \(images, height, width\)"):
        load_idx_images({name: folder / name for name in contents})


# --- finding and downloading


def test_files_are_downloaded_once_and_then_come_from_the_cache(
    mirror: Mirror, contents: dict[str, bytes], add_set: AddSet, cache: Path
) -> None:
    serve_all(mirror, contents)
    dataset = add_set(mirror.url)
    seen: dict[str, tuple[int, int]] = {}
    found = obtain(dataset, progress=lambda name, received, total: seen.update({name: (received, total)}))
    assert {name: path.read_bytes() for name, path in found.items()} == contents
    assert {path.parent for path in found.values()} == {cache / "data" / "small"}
    assert seen == {name: (len(body), len(body)) for name, body in contents.items()}
    assert obtain(dataset) == found
    assert len(mirror.asked) == len(contents)


def test_a_dead_mirror_and_an_empty_one_are_passed_over(
    mirror: Mirror, contents: dict[str, bytes], add_set: AddSet
) -> None:
    serve_all(mirror, contents)
    found = obtain(add_set("http://127.0.0.1:1/", mirror.url + "none/", mirror.url))
    assert found[IMAGES].read_bytes() == contents[IMAGES]


def test_a_wrong_checksum_names_the_file_and_both_sums_and_keeps_the_file_aside(
    mirror: Mirror, contents: dict[str, bytes], add_set: AddSet, cache: Path
) -> None:
    dataset = add_set(mirror.url)
    wrong = contents[IMAGES][:-1] + b"!"
    serve_all(mirror, contents | {IMAGES: wrong})
    with pytest.raises(DataError, match="wrong checksum") as caught:
        obtain(dataset)
    said = str(caught.value)
    aside = cache / "data" / "small" / f"{IMAGES}.rejected"
    assert IMAGES in said
    assert hashlib.sha256(wrong).hexdigest() in said
    assert hashlib.sha256(contents[IMAGES]).hexdigest() in said
    assert str(aside) in said
    assert aside.read_bytes() == wrong
    assert not (aside.parent / IMAGES).exists()
    serve_all(mirror, contents)
    assert obtain(dataset)[IMAGES].read_bytes() == contents[IMAGES]


def test_a_wrong_checksum_on_one_mirror_leaves_the_next_to_be_tried(
    mirror: Mirror, contents: dict[str, bytes], add_set: AddSet
) -> None:
    for name, body in contents.items():
        mirror.serve("bad/" + name, body[:-1] + b"!")
        mirror.serve("good/" + name, body)
    found = obtain(add_set(mirror.url + "bad/", mirror.url + "good/"))
    assert found[IMAGES].read_bytes() == contents[IMAGES]


@pytest.mark.parametrize("announced", ["the whole length", "what is sent"])
def test_a_truncated_download_is_said_and_leaves_nothing_behind(
    mirror: Mirror, contents: dict[str, bytes], add_set: AddSet, cache: Path, announced: str
) -> None:
    whole, half = len(contents[IMAGES]), contents[IMAGES][: len(contents[IMAGES]) // 2]
    mirror.serve(IMAGES, half, length=whole if announced == "the whole length" else None)
    with pytest.raises(DataError, match=rf"{IMAGES}: truncated.*{whole} bytes"):
        obtain(add_set(mirror.url))
    assert [path.name for path in (cache / "data" / "small").iterdir()] == [".lock"]


def test_more_bytes_than_the_file_has_are_not_taken(
    mirror: Mirror, contents: dict[str, bytes], add_set: AddSet
) -> None:
    mirror.serve(IMAGES, contents[IMAGES] + b"more")
    with pytest.raises(DataError, match=f"another file: more than the {len(contents[IMAGES])} bytes"):
        obtain(add_set(mirror.url))


def test_without_a_network_every_mirror_and_the_way_out_are_named(
    mirror: Mirror, contents: dict[str, bytes], add_set: AddSet
) -> None:
    mirror.serve(IMAGES, b"", status=503)
    with pytest.raises(DataError) as caught:
        obtain(add_set("http://127.0.0.1:1/", mirror.url))
    said = str(caught.value)
    assert f"http://127.0.0.1:1/{IMAGES}: no connection" in said
    assert "Connection refused" in said
    assert f"{mirror.url}{IMAGES}: the server answered 503" in said
    assert "--data-dir DIR" in said
    assert all(name in said for name in contents)


def test_a_file_that_nobody_offers_comes_with_the_command_that_makes_it() -> None:
    with pytest.raises(DataError) as caught:
        obtain(CATALOGUE["bccd"])
    said = str(caught.value)
    assert "github.com/Shenggan/BCCD_Dataset at d272fb1" in said
    assert "-c BCCD | gzip -n9 > BCCD.tar.gz" in said
    assert state(CATALOGUE["bccd"]) == "to be got by hand"


def test_a_set_is_looked_for_in_the_folder_that_it_names(
    tmp_path: Path, contents: dict[str, bytes], add_set: AddSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = dataclasses.replace(add_set(), folder="a-longer-name")
    monkeypatch.setitem(CATALOGUE, "small", elsewhere)
    write(tmp_path / "mine" / "a-longer-name", contents)
    assert obtain(elsewhere, tmp_path / "mine")[IMAGES].parent.name == "a-longer-name"


@pytest.mark.parametrize("layout", ["small", "."])
def test_a_data_dir_is_read_in_both_layouts_and_nothing_is_written(
    layout: str, tmp_path: Path, contents: dict[str, bytes], add_set: AddSet, cache: Path
) -> None:
    write(tmp_path / "mine" / layout, contents)
    found = obtain(add_set(), tmp_path / "mine")
    assert found[IMAGES] == tmp_path / "mine" / layout / IMAGES
    assert not cache.exists()


def test_another_sets_files_in_a_data_dir_are_passed_over(
    tmp_path: Path, mirror: Mirror, contents: dict[str, bytes], add_set: AddSet, cache: Path
) -> None:
    other = {name: gzip.compress(body) for name, body in contents.items()}
    add_set(name="other", of=other)
    serve_all(mirror, contents)
    found = obtain(add_set(mirror.url), write(tmp_path / "mine", other))
    assert {path.parent for path in found.values()} == {cache / "data" / "small"}


@pytest.mark.parametrize(
    ("damage", "said"),
    [(lambda body: body[:-5], "truncated"), (lambda body: body[:-1] + b"!", "wrong checksum")],
)
def test_a_wrong_file_in_a_data_dir_is_an_error_and_is_left_alone(
    damage: Callable[[bytes], bytes], said: str, tmp_path: Path, contents: dict[str, bytes], add_set: AddSet
) -> None:
    folder = write(tmp_path / "mine", contents | {IMAGES: damage(contents[IMAGES])})
    with pytest.raises(DataError, match=rf"{IMAGES}: {said}"):
        obtain(add_set(), folder)
    assert (folder / IMAGES).read_bytes() == damage(contents[IMAGES])


def test_a_data_dir_that_is_not_there_is_wrong_usage(tmp_path: Path, add_set: AddSet) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        obtain(add_set(), tmp_path / "nowhere")


def test_a_damaged_file_in_the_cache_is_set_aside_and_downloaded_again(
    mirror: Mirror, contents: dict[str, bytes], add_set: AddSet
) -> None:
    serve_all(mirror, contents)
    dataset = add_set(mirror.url)
    path = obtain(dataset)[IMAGES]
    path.write_bytes(b"damaged")
    assert obtain(dataset)[IMAGES].read_bytes() == contents[IMAGES]
    assert path.with_name(f"{IMAGES}.rejected").read_bytes() == b"damaged"


def test_a_cache_that_cannot_be_written_gets_advice(
    cache: Path, mirror: Mirror, add_set: AddSet, tmp_path: Path
) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot use the cache folder .* ONESPEC_CACHE"):
        obtain(add_set(mirror.url))
    with pytest.raises(DataError, match=r"cannot use the cache folder .* ONESPEC_CACHE"):
        prepare("digits")


# --- prepared arrays


def test_the_real_digits_are_split_scaled_and_laid_out_as_promised() -> None:
    arrays = prepare("digits", held_out=0.2, seed=1).arrays()
    shapes = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    assert shapes == {
        "train_x": ((1150, 8, 8, 1), "float32"),
        "train_y": ((1150,), "int32"),
        "validation_x": ((287, 8, 8, 1), "float32"),
        "validation_y": ((287,), "int32"),
        "test_x": ((360, 8, 8, 1), "float32"),
        "test_y": ((360,), "int32"),
    }
    for split in ("train", "validation", "test"):
        assert arrays[f"{split}_x"].min() == 0
        assert arrays[f"{split}_x"].max() == 1
        assert set(arrays[f"{split}_y"]) == set(range(10))
    assert np.ptp(np.bincount(arrays["test_y"])) <= 2


def test_every_real_digit_is_in_exactly_one_part() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    arrays = prepare("digits", held_out=0.3, seed=5, scale="none").arrays()
    found = [
        (x.tobytes(), int(y))
        for split in ("train", "validation", "test")
        for x, y in zip(arrays[f"{split}_x"], arrays[f"{split}_y"], strict=True)
    ]
    real = [
        (x.astype(np.float32).tobytes(), int(y)) for x, y in zip(digits.images, digits.target, strict=True)
    ]
    assert sorted(found) == sorted(real)


def test_the_test_set_is_fixed_and_the_validation_set_follows_the_seed() -> None:
    one, other = (prepare("digits", held_out=0.2, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(one.arrays()["test_x"], other.arrays()["test_x"])
    assert not np.array_equal(one.arrays()["validation_x"], other.arrays()["validation_x"])
    assert one.fingerprint != other.fingerprint
    assert one.folder != other.folder


def test_the_held_out_part_is_the_documented_permutation() -> None:
    whole, parted = prepare("digits").arrays(), prepare("digits", held_out=0.2, seed=9).arrays()
    drawn = np.random.Generator(np.random.PCG64([9, 0, 1])).permutation(1437)[:287]
    np.testing.assert_array_equal(parted["validation_x"], whole["train_x"][np.sort(drawn)])
    np.testing.assert_array_equal(parted["validation_y"], whole["train_y"][np.sort(drawn)])


def test_nothing_held_out_means_no_validation_set_whatever_the_seed() -> None:
    assert prepare("digits", seed=1).folder == prepare("digits", seed=2).folder
    assert not [name for name in prepare("digits").arrays() if name.startswith("validation")]


def test_the_fingerprint_is_of_the_content_alone(
    tmp_path: Path, contents: dict[str, bytes], add_set: AddSet
) -> None:
    add_set(name="one")
    repacked = {name: gzip.compress(gzip.decompress(body), 1) for name, body in contents.items()}
    add_set(name="two", of=repacked)
    write(tmp_path / "mine" / "one", contents)
    write(tmp_path / "mine" / "two", repacked)
    one, two = (prepare(name, held_out=0.2, data_dir=tmp_path / "mine") for name in ("one", "two"))
    assert one.folder != two.folder
    assert one.fingerprint == two.fingerprint
    assert len(bytes.fromhex(one.fingerprint)) == 32


def test_bytes_are_scaled_by_255_in_float32(
    tmp_path: Path, contents: dict[str, bytes], add_set: AddSet
) -> None:
    folder = write(tmp_path / "mine", contents)
    add_set()
    pixels = read_idx(folder / IMAGES)[..., np.newaxis]
    x = prepare("small", data_dir=folder).arrays()["train_x"]
    np.testing.assert_array_equal(x, pixels.astype(np.float32) / np.float32(255))


def test_what_is_prepared_is_described_and_not_made_twice() -> None:
    first = prepare("digits", held_out=0.2)
    stamps = {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    again = prepare("digits", held_out=0.2)
    assert again == first
    assert {path.name: path.stat().st_mtime_ns for path in again.folder.iterdir()} == stamps
    meta = json.loads((first.folder / "meta.json").read_text())
    assert meta["fingerprint"] == first.fingerprint
    assert meta["classes"] == list("0123456789")
    assert meta["preparation"]["held_out"] == {"fraction": 0.2, "seed": 0}
    for name, described in meta["arrays"].items():
        array = np.load(first.path(name), allow_pickle=False)
        assert described["shape"] == list(array.shape)
        assert described["dtype"] == array.dtype.name
        assert described["sha256"] == hashlib.sha256(array.tobytes()).hexdigest()
        assert described["bytes"] == first.path(name).stat().st_size


def _flip_last_byte(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("train_x.npy", Path.unlink),
        ("train_x.npy", lambda path: path.write_bytes(path.read_bytes()[:-1])),
        ("train_x.npy", lambda path: path.write_bytes(b"")),
        ("test_y.npy", _flip_last_byte),
        ("meta.json", Path.unlink),
        ("meta.json", lambda path: path.write_text("{}")),
        ("meta.json", lambda path: path.write_text(path.read_text()[:100])),
        ("meta.json", lambda path: path.write_text(path.read_text().replace("287", "286"))),
    ],
)
def test_a_damaged_cache_entry_is_noticed_and_made_again(file: str, damage: Callable[[Path], object]) -> None:
    prepared = prepare("digits", held_out=0.2)
    before = {name: array.copy() for name, array in prepared.arrays().items()}
    damage(prepared.folder / file)
    again = prepare("digits", held_out=0.2)
    assert again == prepared
    for name, array in again.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_full_disk_gets_advice_and_leaves_nothing_half_made(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match=r"No space left on device.*ONESPEC_CACHE"):
        prepare("digits")
    assert all(path.name.endswith(".lock") for path in (cache / "prepared").iterdir())


def test_an_interrupted_preparation_is_begun_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare("digits").folder
    partial = folder.with_name(f".{folder.name}.partial")
    folder.rename(partial)
    assert prepare("digits").folder == folder
    assert not partial.exists()


def test_the_fingerprint_of_digits_is_the_one_that_records_hold() -> None:
    recorded = "653b5bd297faace7de5c4dda84478187b3712308d09d19f7c01ddcb3668a4ec4"
    prepared = prepare("digits", held_out=0.2)
    assert prepared.fingerprint == recorded
    assert prepared.folder.name == "digits-0a7e141ea7fb156b"


def _prepare_digits(_: int) -> str:
    return prepare("digits", held_out=0.2).fingerprint


def test_two_processes_may_prepare_the_same_at_once() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert len(set(pool.map(_prepare_digits, range(2), chunksize=1))) == 1


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"name": "mnits"}, "unknown data set 'mnits'. Did you mean 'mnist'?"),
        ({"name": "digits", "scale": "units"}, "unknown scale 'units'. Did you mean 'unit'?"),
        ({"name": "digits", "held_out": 1.0}, "must lie in 0 ... 1"),
        ({"name": "digits", "held_out": -0.1}, "must lie in 0 ... 1"),
        ({"name": "digits", "held_out": float("nan")}, "must lie in 0 ... 1"),
        ({"name": "digits", "held_out": 0.0001}, "leaves a part empty"),
        ({"name": "digits", "held_out": 0.9999}, "leaves a part empty"),
        ({"name": "digits", "held_out": 0.1, "seed": -1}, "seed must lie in"),
    ],
)
def test_a_wrong_request_is_answered_with_what_is_right(request_: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        prepare(**request_)
    assert said in str(caught.value)


def test_digits_other_than_the_pinned_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        CATALOGUE, "digits", dataclasses.replace(CATALOGUE["digits"], content_sha256="0" * 64)
    )
    with pytest.raises(DataError, match="gives other data than expected"):
        prepare("digits")
    assert command("check", "digits") == 1


# --- the command


def test_list_says_where_each_set_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, contents: dict[str, bytes], add_set: AddSet
) -> None:
    add_set()
    assert command("list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(CATALOGUE)
    assert rows["digits"]["state"] == "embedded"
    assert rows["mnist"]["state"] == "to be downloaded"
    assert rows["mnist"]["examples"] == {"train": 60000, "test": 10000}
    assert rows["diabetes"]["target"] == "value"

    folder = write(tmp_path / "mine", contents)
    assert command("list", "--data-dir", str(folder), "small") == 0
    assert "in data dir" in capsys.readouterr().out
    (folder / IMAGES).unlink()
    assert command("list", "small", "--json", "--data-dir", str(folder)) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "to be downloaded (1 of 4 files)"
    (folder / IMAGES).write_bytes(b"short")
    assert command("list", "small", "--json", "--data-dir", str(folder)) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "damaged"


def test_fetch_downloads_what_it_can_and_says_what_it_could_not(
    capsys: pytest.CaptureFixture[str], mirror: Mirror, contents: dict[str, bytes], add_set: AddSet
) -> None:
    serve_all(mirror, contents)
    add_set("http://127.0.0.1:1/", name="lost")
    add_set(mirror.url)
    assert command("fetch", "lost", "small", "--json") == 1
    output = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads(output.out)}
    assert rows["lost"]["state"] == "failed"
    assert "no connection" in rows["lost"]["problem"]
    assert "onespec: lost: " in output.err
    assert [Path(path).name for path in rows["small"]["files"]] == list(contents)
    assert command("fetch", "small", "digits") == 0


def test_check_tells_right_from_wrong_from_absent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, contents: dict[str, bytes], add_set: AddSet
) -> None:
    add_set()
    assert command("check", "small", "digits") == 0
    folder = write(tmp_path / "mine", contents)
    assert command("check", "small", "--data-dir", str(folder)) == 0
    (folder / LABELS).write_bytes(contents[LABELS][:-1] + b"!")
    (folder / IMAGES).unlink()
    capsys.readouterr()
    assert command("check", "small", "--json", "--data-dir", str(folder)) == 1
    output = capsys.readouterr()
    verdicts = {row["file"]: row["checksum"] for row in json.loads(output.out)}
    assert verdicts[IMAGES] is None
    assert verdicts[LABELS] == "wrong"
    assert verdicts["t10k-images-idx3-ubyte.gz"] == "right"
    assert f"{folder / LABELS}: wrong checksum" in output.err


@pytest.mark.parametrize("words", [("list", "mnits"), ("check", "--data-dir", "/nowhere/at/all")])
def test_wrong_words_are_wrong_usage(words: tuple[str, ...]) -> None:
    with pytest.raises(OnespecError) as caught:
        command(*words)
    assert caught.value.exit_code == 2


def test_every_set_of_the_catalogue_can_be_had_and_is_pinned() -> None:
    for name, dataset in CATALOGUE.items():
        assert dataset.name == name
        assert dataset.embedded == (dataset.content_sha256 is not None)
        assert all(len(bytes.fromhex(checksum)) == 32 for checksum in dataset.checksums.values())
        for file in dataset.files:
            assert file.bytes > 0
            assert all(url.endswith("/" + file.name) for url in file.mirrors)
            assert file.mirrors or dataset.packing or dataset.found_in
        assert catalogue.named(name) is dataset
