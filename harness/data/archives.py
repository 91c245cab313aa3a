"""Reading .tar.gz and .zip archives in memory: nothing is written to the disk, and no archive is believed."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.data.disk import DataError


@dataclass(frozen=True)
class Limits:
    """The most that an archive may hold: members, bytes of one of them, and bytes unpacked in all."""

    members: int
    member_bytes: int
    total_bytes: int


class _Metered(io.BufferedIOBase):
    """An unpacking stream that ends in an error behind the limit, whatever the headers inside it claim."""

    def __init__(self, stream: gzip.GzipFile, path: Path, most_bytes: int) -> None:
        self.stream, self.path, self.most_bytes, self.left_bytes = stream, path, most_bytes, most_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        most = self.left_bytes + 1
        found = self.stream.read(most if size is None or size < 0 else min(size, most))
        self.left_bytes -= len(found)
        if self.left_bytes < 0:
            raise DataError(f"{self.path}: unpacks to more than {self.most_bytes} bytes")
        return found


def tar_files(path: Path, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file in a .tar.gz, in the archive's order.

    Raises `DataError`, naming archive and member, for what is damaged or truncated, for a name that is
    absolute or climbs out of the archive or comes twice, for links and devices, and beyond the limits.
    """
    try:
        with gzip.open(path, "rb") as unpacked:
            stream = _Metered(unpacked, path, limits.total_bytes)
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                yield from _files(archive, path, limits)
            # The checksum of the whole comes last.
            while stream.read(1 << 16):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or truncated archive ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def zip_member(path: Path, name: str, most_bytes: int) -> bytes:
    """The content of one file in a .zip, stored or deflated: the other methods unpack without a bound.

    Raises `DataError`, naming archive and member, for what is damaged, truncated, encrypted or packed by
    another method, and beyond `most_bytes`, whatever the archive claims.
    """
    where = f"{path}: member {name!r}"
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(name)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"{where} is packed by method {member.compress_type}; pack it by deflate")
            if member.file_size > most_bytes:
                raise DataError(
                    f"{where} unpacks to {member.file_size} bytes, more than the {most_bytes} expected"
                )
            with archive.open(member) as handle:
                # With a number to read no more than that is unpacked, whatever is packed.
                body = handle.read(member.file_size + 1)
    except (OSError, KeyError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    if len(body) != member.file_size:
        raise DataError(f"{where} is truncated: {len(body)} of {member.file_size} bytes")
    return body


def _files(archive: tarfile.TarFile, path: Path, limits: Limits) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for member in archive:
        where = f"{path}: member {member.name!r}"
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or "\\" in member.name:
            raise DataError(f"{where} climbs out of the archive")
        if not (member.isreg() or member.isdir()):
            raise DataError(f"{where} is neither a file nor a folder")
        if str(name) in seen:
            raise DataError(f"{where} comes twice")
        seen.add(str(name))
        if len(seen) > limits.members:
            raise DataError(f"{path}: holds more than {limits.members} members")
        if member.size > limits.member_bytes:
            raise DataError(f"{where} has {member.size} bytes, more than the {limits.member_bytes} expected")
        if member.isreg():
            handle = archive.extractfile(member)
            body = b"" if handle is None else handle.read()
            if len(body) != member.size:
                raise DataError(f"{where} is truncated: {len(body)} of {member.size} bytes")
            yield str(name), body
