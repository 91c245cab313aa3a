"""Checksums, locks and writes that survive a crash, for the cache that all runs of one user share."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import OnespecError


class DataError(OnespecError):
    """Data that cannot be had, or are not what they should be."""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` against every other process; waits until it is free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def cache_writes(folder: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission below `folder` into advice."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot use the cache folder {folder}: {error.strerror or error}. "
            "Make room or permission there, or set ONESPEC_CACHE to another folder."
        ) from error
