"""Reading IDX, the format of the MNIST files: a magic number, the dimensions, the values, all big-endian.

Source of the format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.data.disk import DataError

VALUE_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# RFC 1951's densest code: 258 bytes from two bits, rounded up.
_LARGEST_EXPANSION = 1032


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array of an IDX file, gzipped or plain, in native byte order and the file's own shape.

    Raises `DataError`, naming the file, where it is not IDX, is truncated, or holds more than it says.
    """
    try:
        with path.open("rb") as plain:
            gzipped = plain.read(2) == b"\x1f\x8b"
        if gzipped:
            with gzip.open(path, "rb") as unpacked:
                return _parse(unpacked, path, path.stat().st_size * _LARGEST_EXPANSION)
        with path.open("rb") as plain:
            return _parse(plain, path, path.stat().st_size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or truncated gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _parse(stream: _Readable, path: Path, most_bytes: int) -> npt.NDArray[Any]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in VALUE_TYPES or magic[3] == 0:
        raise DataError(f"{path}: not an IDX file: it begins with {magic.hex(' ') or 'nothing'}")
    header = stream.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise DataError(f"{path}: truncated: the header of {magic[3]} dimensions is cut short")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    dtype = np.dtype(VALUE_TYPES[magic[2]])
    expected_bytes = math.prod(shape) * dtype.itemsize
    # Checked before reading, because a reader reserves what it is asked for.
    if expected_bytes > most_bytes:
        raise DataError(f"{path}: truncated or damaged: too small for the shape {shape} it claims")
    values = stream.read(expected_bytes)
    if len(values) < expected_bytes:
        raise DataError(f"{path}: truncated: {len(values)} of the {expected_bytes} bytes of shape {shape}")
    if stream.read(1):
        raise DataError(f"{path}: holds more than the {expected_bytes} bytes of its shape {shape}")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))
