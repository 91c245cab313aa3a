"""A run on disk: `run.json`, and `records.jsonl`, appended and synced record by record."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import OnespecError, UsageError

SCHEMA = 1

Record = dict[str, Any]


def superseded(record: Record) -> bool:
    """Whether the record is of a disturbed attempt, and its job was to be run again."""
    return bool(record.get("superseded"))


class StoreError(OnespecError):
    """The results folder does not take what has to be written."""


class Store:
    """The folder of one run. Every record in it is whole: see `open`."""

    def __init__(self, folder: Path) -> None:
        # Workers run in the checkout, wherever the command was given.
        self.folder = folder = folder.absolute()
        self.records_path = folder / "records.jsonl"

    @property
    def work(self) -> Path:
        """Jobs, inputs and logs: what the run needs and its readers do not."""
        return self.folder / "work"

    @staticmethod
    def create(folder: Path, meta: Mapping[str, Any]) -> Store:
        """Make a run's folder. Raises UsageError where it already holds something or cannot be made."""
        store = Store(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UsageError(
                    f"{folder} is not empty. Choose another --out, or finish that run with --resume {folder}"
                )
            store.work.mkdir()
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be written: {error.strerror}. Choose another place with --out"
            ) from None
        store._write("run.json", meta)
        return store

    @staticmethod
    def open(folder: Path) -> Store:
        """An existing run, to be resumed. Raises UsageError where there is none, or it is still running.

        A record cut short by a crash is moved to `records.damaged`, so that its job is run again and nothing
        is lost.
        """
        store = Store(folder)
        if not (folder / "run.json").is_file():
            raise UsageError(f"{folder} holds no run: there is no run.json in it")
        store.work.mkdir(exist_ok=True)
        with store.locked():
            store._set_damaged_aside()
        return store

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run against a second writer. Raises UsageError where there is one."""
        with (self.work / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"another process is writing to {self.folder}") from None
            yield

    def meta(self) -> dict[str, Any]:
        """What `run.json` says."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.folder / 'run.json'} cannot be read: {error}") from None
        if found.get("schema") != SCHEMA:
            raise UsageError(f"{self.folder} has schema {found.get('schema')!r}; this onespec reads {SCHEMA}")
        return found

    def made_by(self) -> str:
        """The command that began the run, and alone can finish it."""
        return str(self.meta().get("made_by", "run"))

    def amend(self, changes: Mapping[str, Any]) -> None:
        """Put what has become known into `run.json`; it is on the disk when this returns."""
        self._write("run.json", {**self.meta(), **changes})

    def records(self) -> list[Record]:
        """Every whole record, in the order of writing."""
        if not self.records_path.exists():
            return []
        lines = self.records_path.read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if _is_record(line)]

    def finished(self) -> int:
        """How many jobs have a record that counts."""
        return len({record["job"] for record in self.records() if not superseded(record)})

    def append(self, record: Record) -> None:
        """Write one record; it is on the disk when this returns.

        Raises StoreError where the disk does not take it; what was there before stays whole.
        """
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        try:
            with self.records_path.open("ab") as file:
                before = file.tell()
                try:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    with suppress(OSError):
                        os.truncate(self.records_path, before)
                    raise
        except OSError as error:
            raise self._cannot_write(error) from None

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        partial = self.folder / f"{name}.partial"
        try:
            with partial.open("w") as file:
                json.dump(data, file, indent=1, allow_nan=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.folder / name)
        except OSError as error:
            raise self._cannot_write(error) from None

    def _cannot_write(self, error: OSError) -> StoreError:
        cause = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror)
        if not (self.folder / "run.json").is_file():
            return StoreError(
                f"{self.folder} cannot be written: {cause}. Nothing has run; choose another place with --out"
            )
        return StoreError(
            f"{self.folder} cannot be written: {cause}. All earlier records are whole; once there is room or "
            f"access again, finish with: onespec {self.made_by()} --resume {self.folder}"
        )

    def _set_damaged_aside(self) -> None:
        if not self.records_path.exists():
            return
        whole: list[bytes] = []
        damaged: list[bytes] = []
        for line in self.records_path.read_bytes().splitlines(keepends=True):
            (whole if _is_record(line) else damaged).append(line)
        if not damaged:
            return
        try:
            with (self.folder / "records.damaged").open("ab") as file:
                file.write(b"".join(line if line.endswith(b"\n") else line + b"\n" for line in damaged))
                file.flush()
                os.fsync(file.fileno())
            partial = self.folder / "records.jsonl.partial"
            with partial.open("wb") as file:
                file.write(b"".join(whole))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.records_path)
        except OSError as error:
            raise self._cannot_write(error) from None


def _is_record(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
