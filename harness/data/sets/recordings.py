"""Recordings, each of one word: words made of tones, and spoken digits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.archives import Limits, tar_files
from harness.data.data_set import DataSet, File, Raw
from harness.data.disk import DataError
from harness.data.order import generator
from harness.data.speech import BANDS, LogMel, Sound, read_wav

RATE = 8000
TONES_TRAIN, TONES_TEST, TONES_SEED = 800, 200, 0
WORDS = ("ai", "au", "ia", "iu", "ua", "ui", "aiu", "uia", "iai", "uau")
FSDD_FILE = "fsdd-1.0.9-recordings.tar.gz"
FSDD_TEST = 5
"""The recordings 0 to 4 of a speaker and digit are the test set, as the data set's authors have it."""

_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[a-z]+)_(?P<number>[0-9]+)\.wav")
_LIMITS = Limits(members=3_000, member_bytes=1 << 20, total_bytes=1 << 26)

_FORMANTS = {"a": (730, 1090), "i": (270, 2290), "u": (300, 870)}
"""Hertz of the first two, after Peterson and Barney (1952)."""
_TURN = 1 << 16
_SINE = np.round(np.sin(2 * np.pi * np.arange(_TURN) / _TURN) * 8192).astype(np.int64)

Ints = npt.NDArray[np.int64]


def tone_word(word: str, random: np.random.Generator) -> Ints:
    """A word, a vowel after the other, as samples of 16 bits: a voice of harmonics, louder the nearer they
    are to a vowel's formants, that glides from one vowel to the next. Pitch, size of the mouth, speed,
    loudness and noise differ from one recording to the next. Whole numbers throughout.
    """
    pitch = int(random.integers(90, 240))
    mouth = int(random.integers(88, 116))
    each = int(random.integers(500, 1100))
    loudness = int(random.integers(30, 100))
    bend = int(random.integers(-20, 21))
    size = each * len(word)
    time = np.arange(size, dtype=np.int64)
    at = np.arange(len(word)) * each + each // 2
    formants = [
        np.interp(time, at, [_FORMANTS[vowel][place] * mouth / 100 for vowel in word]).astype(np.int64)
        for place in range(2)
    ]
    hertz = pitch + bend * time // size
    phase = np.cumsum(hertz * _TURN // RATE)
    found = np.zeros(size, np.int64)
    for harmonic in range(1, 3600 // (pitch + abs(bend)) + 1):
        near = sum(1_000_000 // (400 + np.abs(harmonic * hertz - formant)) for formant in formants)
        found += near * near * _SINE[phase * harmonic % _TURN] >> 16
    found = found * 24_000 // np.abs(found).max() * np.minimum(np.minimum(time, size - 1 - time), 400) // 400
    noise = random.integers(-250, 251, size, np.int64)
    spoken: np.ndarray = found * loudness // 100 + noise
    return spoken


def _draw_tones(_: Mapping[str, Path]) -> Raw:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for stream, (split, count) in enumerate((("train", TONES_TRAIN), ("test", TONES_TEST))):
        random = generator(TONES_SEED, stream, 7)
        y = np.arange(count, dtype=np.int32) % len(WORDS)
        sounds = [tone_word(WORDS[label], random).astype(np.int16) for label in y]
        arrays |= {
            f"{split}_samples": np.concatenate(sounds),
            f"{split}_sizes": np.array([len(sound) for sound in sounds], np.int32),
            f"{split}_y": y,
        }
    return Raw(arrays)


def load_fsdd(paths: Mapping[str, Path]) -> Raw:
    """The archive's recordings `<digit>_<speaker>_<number>.wav`, in the order of digit, speaker and number;
    numbers below 5 are the test set.
    """
    path = paths[FSDD_FILE]
    found: dict[tuple[int, str, int], Sound] = {}
    for name, body in tar_files(path, _LIMITS):
        where = f"{path}: member {name!r}"
        match = _NAME.fullmatch(PurePosixPath(name).name)
        if match is None:
            raise DataError(f"{where} is called otherwise than <digit>_<speaker>_<number>.wav")
        sound = read_wav(body, where)
        if sound.rate != RATE or sound.rules:
            raise DataError(f"{where} is not of one channel with {RATE} samples a second")
        found[int(match["digit"]), match["speaker"], int(match["number"])] = sound
    arrays: dict[str, npt.NDArray[Any]] = {}
    for split in ("train", "test"):
        chosen = [key for key in sorted(found) if (key[2] < FSDD_TEST) == (split == "test")]
        if not chosen:
            raise DataError(f"{path}: has no recording for the {split} part")
        samples = [np.round(found[key].samples * 32768).astype(np.int16) for key in chosen]
        arrays |= {
            f"{split}_samples": np.concatenate(samples),
            f"{split}_sizes": np.array([len(each) for each in samples], np.int32),
            f"{split}_y": np.array([key[0] for key in chosen], np.int32),
        }
    return Raw(arrays)


def heard(data_set: DataSet, seconds: float) -> DataSet:
    """Recordings as log-mel energies x (steps, bands) and their `lengths` (`harness.data.speech.LogMel`)."""
    made = LogMel(RATE, seconds)

    def finish(raw: Raw) -> Raw:
        features = LogMel(RATE, seconds)
        arrays: dict[str, npt.NDArray[Any]] = {}
        for split in ("train", "test"):
            ends = np.cumsum(raw.arrays[f"{split}_sizes"])[:-1]
            parts = np.split(raw.arrays[f"{split}_samples"] / 32768, ends)
            x, lengths = features.of([Sound(part, RATE) for part in parts])
            arrays |= {
                f"{split}_x": x,
                f"{split}_lengths": lengths,
                f"{split}_y": raw.arrays[f"{split}_y"],
            }
        return Raw(arrays, {**raw.counts, **features.counts})

    return replace(
        data_set,
        shape=(made.steps, BANDS),
        beside={"lengths": ()},
        finish=finish,
        at=lambda data: heard(data_set, data.seconds or seconds),
        options={"seconds": seconds},
    )


SETS = (
    heard(
        DataSet(
            name="tones",
            title="Words of tones: two or three vowels, at any pitch, speed and loudness",
            source="generated (harness/data/sets/recordings.py)",
            licence="none needed: generated",
            train_examples=TONES_TRAIN,
            test_examples=TONES_TEST,
            shape=(),
            classes=WORDS,
            value_range=None,
            load=_draw_tones,
            content_sha256="084623af643106c2dc747a52f5640852e1ce0a076b02925d4b95723beca6007e",
            scale="standard",
            takes=("seconds",),
            integers=("y", "lengths"),
        ),
        0.5,
    ),
    heard(
        DataSet(
            name="fsdd",
            title="Free Spoken Digit Dataset 1.0.9: ten digits, five speakers, the official test set",
            source="Jakobovski/free-spoken-digit-dataset at v1.0.9",
            licence="CC BY-SA 4.0",
            train_examples=2250,
            test_examples=250,
            shape=(),
            classes=tuple("0123456789"),
            value_range=None,
            load=load_fsdd,
            files=(
                File(
                    FSDD_FILE,
                    11_933_407,
                    "d19bebbd92af3763cf7cd921c6a69ee00530364c764f1173bda9309b259da4a0",
                    (),
                ),
            ),
            scale="standard",
            takes=("seconds",),
            integers=("y", "lengths"),
            packing=(
                "recordings",
                "from github.com/Jakobovski/free-spoken-digit-dataset at v1.0.9, of which there are left the "
                "files that end in .wav",
            ),
        ),
        1.0,
    ),
)
