"""Recordings: what a WAV file may be, what is heard in it, and the data sets made of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.io import wavfile

from harness.data import catalogue
from harness.data.catalogue import CATALOGUE, array_shapes
from harness.data.data_set import DataSet
from harness.data.disk import DataError
from harness.data.order import generator
from harness.data.prepared import prepare
from harness.data.sets import recordings
from harness.data.speech import BANDS, CUT, MIXED, RESAMPLED, LogMel, Sound, at_rate, mel_filters, read_wav
from harness.errors import UsageError
from harness.spec.data import Data

RATE = 8000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESPEC_CACHE", str(tmp_path / "cache"))


def wav(samples: npt.NDArray[Any], rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    wavfile.write(stream, rate, samples)
    return stream.getvalue()


def sine(hertz: float, seconds: float = 0.25, rate: int = RATE) -> npt.NDArray[np.float64]:
    return np.asarray(0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate))


# --- files


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
def test_samples_of_every_kind_lie_between_minus_one_and_one(kind: type[Any]) -> None:
    wave = sine(440)
    stored = {
        np.uint8: np.round(wave * 128 + 128),
        np.int16: np.round(wave * 32768),
        np.int32: np.round(wave * 2.0**31),
        np.float32: wave,
    }[kind].astype(kind)
    found = read_wav(wav(stored), "it")
    assert (found.rate, found.rules) == (RATE, ())
    assert np.allclose(found.samples, wave, atol=0.005 if kind is np.uint8 else 1e-4)


def test_channels_are_averaged_and_it_is_told() -> None:
    wave = np.round(sine(440) * 32768)
    found = read_wav(wav(np.stack([wave, 0 * wave], 1).astype(np.int16)), "it")
    assert found.rules == (MIXED,)
    assert np.allclose(found.samples, sine(440) / 2, atol=1e-4)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it: no WAV file"),
        (b"RIFF", "it: no WAV file"),
        (b"no sound at all", "it: no WAV file"),
        (wav(np.zeros(0, np.int16)), "it: has no samples"),
        (wav(np.full(9, np.nan, np.float32)), "it: holds samples that are no numbers"),
    ],
)
def test_what_is_no_recording_is_told(body: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_wav(body, "it")


@pytest.mark.parametrize("left", [0.1, 0.5, 0.9])
def test_a_truncated_recording_is_refused(left: float) -> None:
    body = wav(np.round(sine(440) * 32768).astype(np.int16))
    with pytest.raises(DataError, match=r"it: (no WAV file, )?damaged or truncated"):
        read_wav(body[: int(left * len(body))], "it")


def test_another_rate_is_resampled_and_it_is_told() -> None:
    found = at_rate(Sound(sine(440, rate=44_100), 44_100), RATE)
    assert found.rules == (RESAMPLED,)
    assert found.rate == RATE
    middle = slice(200, -200)
    assert np.allclose(found.samples[middle], sine(440)[: len(found.samples)][middle], atol=0.01)
    same = Sound(sine(440), RATE)
    assert at_rate(same, RATE) is same


# --- features


def test_mel_filters_are_triangles_side_by_side() -> None:
    filters = mel_filters(RATE, 2048)
    assert filters.shape == (1025, BANDS)
    tops = filters.argmax(0) * RATE / 2048
    mels = 2595 * np.log10(1 + tops / 700)
    assert np.all(np.diff(tops) > 0)
    assert np.allclose(np.diff(mels), np.diff(mels).mean(), rtol=0.12)
    inside = filters[int(tops[0] * 2048 / RATE) + 1 : int(tops[-1] * 2048 / RATE)]
    assert np.allclose(inside.sum(1), 1)


def test_a_tone_is_heard_in_its_band_when_it_sounds() -> None:
    both = np.concatenate([sine(500), sine(2000)])
    features, (length,) = LogMel(RATE, 1.0).of([Sound(both, RATE)])
    assert features.shape == (1, 63, BANDS)
    assert length == 32
    tops = mel_filters(RATE, 256).argmax(0) * RATE / 256
    early, late = features[0, 4:10].mean(0).argmax(), features[0, 22:28].mean(0).argmax()
    assert abs(tops[early] - 500) < 70
    assert abs(tops[late] - 2000) < 150
    assert np.all(features[0, length:] == 0)
    assert np.allclose(features[0, :length].mean(0), 0, atol=1e-5)


def test_loudness_does_not_show() -> None:
    made = LogMel(RATE, 0.25)
    noise = generator(0).normal(size=2000) * 0.1
    (loud, quiet), _ = made.of([Sound(noise, RATE), Sound(noise / 4, RATE)])
    assert np.abs(loud).max() > 1
    assert np.allclose(loud, quiet, atol=0.1)


def test_recordings_are_cut_and_padded_and_counted() -> None:
    made = LogMel(RATE, 0.1)
    _, lengths = made.of([Sound(sine(440, 0.3), RATE), Sound(sine(440, 0.05), RATE), Sound(np.ones(1), RATE)])
    assert lengths.tolist() == [made.steps, 4, 1]
    assert made.counts == {CUT: 1}


# --- sets


def test_words_of_tones_are_what_the_catalogue_says() -> None:
    prepared = prepare("tones", held_out=0.1)
    arrays = prepared.arrays()
    known = CATALOGUE["tones"]
    assert arrays["train_x"].shape[1:] == array_shapes(known)["x"]
    assert arrays["train_lengths"].dtype == np.int32
    assert arrays["train_lengths"].min() >= 1
    assert np.bincount(arrays["test_y"]).tolist() == [20] * 10
    assert "counts" in prepared.meta or arrays["train_lengths"].max() <= known.shape[0]
    longer = catalogue.of(Data("tones", seconds=0.8), Path())
    assert longer.shape == (50, BANDS)


def test_a_vowel_is_loud_at_its_formants() -> None:
    sounds = [recordings.tone_word(word, generator(1)) for word in ("iii", "aaa")]
    spectra = [np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) for sound in sounds]
    hertz = [np.fft.rfftfreq(len(sound), 1 / RATE) for sound in sounds]
    shares = [
        float((spectrum[(at > 500) & (at < 1300)] ** 2).sum() / (spectrum**2).sum())
        for spectrum, at in zip(spectra, hertz, strict=True)
    ]
    assert shares[1] > 3 * shares[0]
    assert all(np.abs(sound).max() < 32768 for sound in sounds)


def pack(path: Path, names: dict[str, bytes]) -> dict[str, Path]:
    with tarfile.open(path, "w:gz") as archive:
        for name, body in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return {recordings.FSDD_FILE: path}


def test_the_official_split_of_spoken_digits_is_kept(tmp_path: Path) -> None:
    tone = wav(np.round(sine(300, 0.1) * 32768).astype(np.int16))
    names = {f"recordings/{digit}_ann_{n}.wav": tone for digit in range(3) for n in (0, 4, 5, 12)}
    raw = recordings.load_fsdd(pack(tmp_path / "a.tar.gz", names))
    assert raw.arrays["train_y"].tolist() == raw.arrays["test_y"].tolist() == [0, 0, 1, 1, 2, 2]
    assert raw.arrays["train_sizes"].tolist() == [800] * 6
    whole = catalogue.load(CATALOGUE["fsdd"], pack(tmp_path / "a.tar.gz", names))
    assert whole.arrays["test_x"].shape == (6, 63, BANDS)


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("0_ann.wav", b"", "is called otherwise than"),
        ("0_ann_0.wav", b"", "no WAV file"),
        ("0_ann_0.wav", wav(np.zeros(9, np.int16), 16_000), "is not of one channel with 8000"),
        ("0_ann_0.wav", wav(np.zeros((9, 2), np.int16)), "is not of one channel with 8000"),
        ("0_ann_0.wav", wav(np.ones(9, np.int16)), "has no recording for the train part"),
    ],
)
def test_an_odd_recording_in_the_archive_is_named(name: str, body: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        recordings.load_fsdd(pack(tmp_path / "a.tar.gz", {f"recordings/{name}": body}))


# --- a user's own


def own(folder: Path, **fields: Any) -> DataSet:
    return catalogue.of(Data(**{"wav": "birds", "seconds": 0.5, "rate": RATE, **fields}), folder)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    for place in range(5):
        for name, hertz in (("owl", 400), ("wren", 3000)):
            path = tmp_path / "birds" / name / f"{place}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wav(np.round(sine(hertz + 10 * place) * 32768).astype(np.int16)))
    return tmp_path


def test_a_folder_of_recordings_becomes_a_data_set(birds: Path) -> None:
    found = own(birds)
    assert (found.name, found.classes, found.tokens) == ("birds", ("owl", "wren"), 0)
    assert (found.train_examples, found.test_examples) == (8, 2)
    prepared = prepare(found, held_out=0)
    arrays = prepared.arrays()
    assert arrays["train_x"].shape == (8, *found.shape)
    assert arrays["train_lengths"].tolist() == [16] * 8
    assert "counts" not in prepared.meta


def test_stereo_and_other_rates_are_brought_to_one_form_and_told(birds: Path) -> None:
    before = prepare(own(birds), held_out=0)
    wave = np.round(sine(3000, rate=16_000) * 32768).astype(np.int16)
    (birds / "birds" / "wren" / "0.wav").write_bytes(wav(np.stack([wave, wave], 1), 16_000))
    after = prepare(own(birds), held_out=0)
    assert after.meta["counts"] == {MIXED: 1, RESAMPLED: 1}
    assert after.fingerprint != before.fingerprint
    assert prepare(own(birds, seconds=0.2), held_out=0).meta["counts"][CUT] == 10


def test_a_file_that_is_no_recording_is_named(birds: Path) -> None:
    (birds / "birds" / "owl" / "notes.txt").write_text("hoot")
    with pytest.raises(DataError, match=r"birds/owl/notes\.txt: no WAV file"):
        prepare(own(birds))
    with pytest.raises(UsageError, match="beers: there is no such folder"):
        own(birds, wav="beers")
