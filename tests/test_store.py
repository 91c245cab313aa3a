"""The store: a record that was written is there, whole, whatever happens afterwards."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.store import Store, StoreError

META = {"schema": 1, "run": "r"}


def test_records_come_back_in_the_order_of_writing(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", META)
    for number in range(3):
        store.append({"job": str(number)})
    assert [record["job"] for record in Store.open(tmp_path / "run").records()] == ["0", "1", "2"]
    assert store.meta() == META


@given(cut=st.integers(1, 30))
def test_a_record_cut_anywhere_costs_itself_alone(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    store = Store.create(tmp_path_factory.mktemp("store") / "run", META)
    store.append({"job": "whole"})
    store.append({"job": "cut", "padding": "x" * 30})
    content = store.records_path.read_bytes()
    store.records_path.write_bytes(content[:-cut])
    opened = Store.open(store.folder)
    assert [record["job"] for record in opened.records()] == ["whole"]
    damaged = (store.folder / "records.damaged").read_bytes()
    assert damaged.rstrip(b"\n") == content.splitlines()[1][: len(content.splitlines()[1]) + 1 - cut]
    opened.append({"job": "again"})
    assert [record["job"] for record in opened.records()] == ["whole", "again"]


def test_a_damaged_line_in_the_middle_is_set_aside_too(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", META)
    store.append({"job": "a"})
    store.append({"job": "b"})
    first, second = store.records_path.read_text().splitlines()
    store.records_path.write_text(first[:5] + "\n" + second + "\n")
    assert [record["job"] for record in Store.open(store.folder).records()] == ["b"]


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", META)
    store.append({"job": "before"})
    kept = store.records_path.read_bytes()
    store.records_path.unlink()
    # Every write to this device fails for want of space.
    store.records_path.symlink_to("/dev/full")
    with pytest.raises(StoreError, match="the disk is full") as caught:
        store.append({"job": "lost"})
    assert f"onespec run --resume {store.folder}" in str(caught.value)
    store.records_path.unlink()
    store.records_path.write_bytes(kept)
    assert [record["job"] for record in Store.open(store.folder).records()] == ["before"]


def test_a_full_disk_names_the_command_that_began_the_run(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", {**META, "made_by": "calibrate"})
    store.records_path.symlink_to("/dev/full")
    with pytest.raises(StoreError) as caught:
        store.append({"job": "lost"})
    assert f"onespec calibrate --resume {store.folder}" in str(caught.value)


def test_a_run_that_could_not_begin_is_none_to_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harness.store.os.fsync", full)
    with pytest.raises(StoreError, match=r"the disk is full\. Nothing has run; .* with --out"):
        Store.create(tmp_path / "run", META)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="Choose another place with --out"):
        Store.create(Path("/proc/onespec"), META)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        Store.create(tmp_path, META)


def test_a_folder_without_a_run_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no run\.json"):
        Store.open(tmp_path)


def test_two_writers_exclude_each_other(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", META)
    with (
        store.locked(),
        pytest.raises(UsageError, match="another process"),
        Store.open(store.folder).locked(),
    ):
        pass


def test_a_run_that_is_being_written_is_left_as_it_is(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", META)
    store.append({"job": "whole"})
    with store.locked():
        with store.records_path.open("ab") as file:
            file.write(b'{"job": "half wri')
        with pytest.raises(UsageError, match="another process"):
            Store.open(store.folder)
        assert store.records_path.read_bytes().endswith(b"half wri")
        assert [record["job"] for record in store.records()] == ["whole"]


def test_a_record_that_is_not_json_is_refused_whole(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", META)
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.append({"job": "a", "seconds": float("nan")})
    assert store.records() == []


def test_a_run_of_another_schema_is_not_read(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", META)
    (store.folder / "run.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(UsageError, match="schema 99"):
        store.meta()
