"""Downloading a source file from its mirrors, one after the other, until one gives the right content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pooch  # type: ignore[import-untyped]
import requests

from harness.data.data_set import File
from harness.data.disk import DataError, file_sha256, sync

# Called with the file's name, the bytes that have arrived and the bytes there will be.
Progress = Callable[[str, int, int], None]

CONNECT_SECONDS = 10
READ_SECONDS = 60


class DownloadFailed(DataError):
    """No mirror gave the file; `reasons` has one line for each mirror."""

    def __init__(self, file: File, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        tried = "\n".join(f"  {reason}" for reason in reasons) or "  it has no mirror"
        super().__init__(f"{file.name} could not be downloaded:\n{tried}")


class _TooLong(Exception):
    """More arrives than the file has: a login page, or another file."""


class _Sink:
    """Counts what arrives on its way to the disk, and stops at more than the file can hold."""

    def __init__(self, file: File, handle: IO[bytes], progress: Progress | None) -> None:
        self.file, self.handle, self.progress, self.received_bytes = file, handle, progress, 0

    def write(self, chunk: bytes) -> None:
        self.received_bytes += len(chunk)
        if self.received_bytes > self.file.bytes:
            raise _TooLong
        self.handle.write(chunk)
        if self.progress is not None:
            self.progress(self.file.name, self.received_bytes, self.file.bytes)

    def flush(self) -> None:
        """Left to the end: one flush a chunk would only slow the download."""


def rejected_path(path: Path) -> Path:
    """Where a file with the wrong content is kept for inspection, never read again."""
    return path.with_name(path.name + ".rejected")


def download(file: File, folder: Path, progress: Progress | None = None) -> Path:
    """Download `file` into `folder` (which exists) and return its path, complete and verified.

    Raises `DownloadFailed` with every mirror's reason, and `OSError` where the disk cannot take it. What
    arrives in full but with the wrong checksum is kept at `rejected_path`.
    """
    reasons = []
    for url in file.mirrors:
        reason = _attempt(url, file, folder / file.name, progress)
        if reason is None:
            return folder / file.name
        reasons.append(f"{url}: {reason}")
    raise DownloadFailed(file, tuple(reasons))


def _attempt(url: str, file: File, target: Path, progress: Progress | None) -> str | None:
    """Why this mirror did not give the file; None where it did."""
    partial = target.with_name(target.name + ".partial")
    fetch = pooch.HTTPDownloader(
        chunk_size=1 << 16,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        # The checksum is of the file as it is stored, so no server may pack or unpack it on the way.
        headers={"Accept-Encoding": "identity"},
    )
    try:
        with partial.open("wb") as handle:
            sink = _Sink(file, handle, progress)
            try:
                fetch(url, sink, None)
            except _TooLong:
                return f"another file: more than the {file.bytes} bytes expected"
            except requests.RequestException as error:
                return _plain(error, sink.received_bytes, file.bytes)
        if sink.received_bytes < file.bytes:
            return f"truncated, or another file: {sink.received_bytes} of {file.bytes} bytes"
        found = file_sha256(partial)
        if found != file.sha256:
            os.replace(partial, rejected_path(target))
            return f"wrong checksum: SHA-256 {found}, expected {file.sha256}; kept as {rejected_path(target)}"
        sync(partial)
        os.replace(partial, target)
        sync(target.parent)
        return None
    finally:
        partial.unlink(missing_ok=True)


def _plain(error: requests.RequestException, received_bytes: int, expected_bytes: int) -> str:
    """What happened, without the layers of libraries it happened in."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if received_bytes or isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"truncated: the connection ended before all {expected_bytes} bytes had come"
    if isinstance(error, requests.Timeout):
        return f"no answer (waited {CONNECT_SECONDS} s to connect, {READ_SECONDS} s for data)"
    cause = error.args[0] if error.args else error
    return f"no connection ({str(getattr(cause, 'reason', cause)).rpartition(': ')[2]})"
