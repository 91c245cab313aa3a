"""Checksums of arrays: of the values themselves, so that no file format or NumPy version enters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def text_sha256(text: str) -> str:
    """SHA-256 of a text's UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def describe(array: npt.NDArray[Any]) -> dict[str, Any]:
    """`{"shape", "dtype", "sha256"}`; the checksum is of the values in C order, little-endian."""
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "sha256": hashlib.sha256(plain.data).hexdigest(),
    }


def fingerprint(descriptions: Mapping[str, Mapping[str, Any]]) -> str:
    """One SHA-256 for a set of named arrays, from what `describe` says of each."""
    kept = ("shape", "dtype", "sha256")
    return text_sha256(
        canonical_json({name: {key: of[key] for key in kept} for name, of in descriptions.items()})
    )
