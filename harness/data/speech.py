"""Recordings as sequences of log-mel energies: what is heard when, in bands as the ear has them."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.disk import DataError

WINDOW_SECONDS, HOP_SECONDS = 0.032, 0.016
BANDS = 40
LEAST_ENERGY = 1e-8
"""Added to an energy before its logarithm: -80 dB of the loudest sine."""
MOST_BYTES = 1 << 26

MIXED = "recordings of several channels, their mean taken"
RESAMPLED = "recordings at another rate, resampled"
CUT = "recordings longer than the seconds, cut there"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sound:
    """Samples (samples,) in [-1, 1], and how many are a second. `rules` are those that changed it."""

    samples: Floats
    rate: int
    rules: tuple[str, ...] = ()


def read_wav(body: bytes, where: str) -> Sound:
    """A WAV file of 8 to 32 bits or of floats, its channels averaged. Raises `DataError`, beginning with
    `where`, for what is none, damaged, truncated, longer than 64 MiB or without a sample.
    """
    from scipy.io import wavfile

    if len(body) > MOST_BYTES:
        raise DataError(f"{where}: {len(body)} bytes are more than {MOST_BYTES}")
    try:
        with warnings.catch_warnings():
            # An early end and the like: what SciPy only warns of.
            warnings.simplefilter("error", wavfile.WavFileWarning)
            rate, samples = wavfile.read(io.BytesIO(body))
    except wavfile.WavFileWarning as warning:
        if "Chunk (non-data) not understood" not in str(warning):
            raise DataError(f"{where}: damaged or truncated ({warning})") from warning
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, samples = wavfile.read(io.BytesIO(body))
    except Exception as error:
        # SciPy's reader tells of a bad file in whatever way the bytes lead it to.
        raise DataError(f"{where}: no WAV file, damaged or truncated ({error})") from error
    if not samples.size:
        raise DataError(f"{where}: has no samples")
    sound = _in_unit(samples)
    if not np.all(np.isfinite(sound)):
        raise DataError(f"{where}: holds samples that are no numbers")
    if sound.ndim == 1:
        return Sound(sound, int(rate))
    return Sound(sound.mean(1), int(rate), (MIXED,) if sound.shape[1] > 1 else ())


def _in_unit(samples: npt.NDArray[Any]) -> Floats:
    """Samples of any type in [-1, 1]; SciPy leaves 24 bits in the upper part of 32."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    if samples.dtype.kind == "u":
        return (samples.astype(np.float64) - 128) / 128
    return samples.astype(np.float64) / -float(np.iinfo(samples.dtype).min)


def at_rate(sound: Sound, rate: int) -> Sound:
    """The sound with so many samples a second, by polyphase filtering."""
    if sound.rate == rate:
        return sound
    from scipy.signal import resample_poly

    shared = math.gcd(rate, sound.rate)
    samples = resample_poly(sound.samples, rate // shared, sound.rate // shared)
    return Sound(np.asarray(samples), rate, (*sound.rules, RESAMPLED))


def mel_filters(rate: int, size: int, bands: int = BANDS) -> Floats:
    """Triangles over a spectrum of `size` samples: (size // 2 + 1, bands). Their corners lie evenly between 0
    and half the rate on the mel scale 2595 log10(1 + f / 700) (O'Shaughnessy 1987), and each is 1 at its top.
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = np.arange(size // 2 + 1)[:, np.newaxis] * rate / size
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    filters: Floats = np.maximum(0.0, np.minimum(rising, falling))
    return filters


@dataclass
class LogMel:
    """Features of recordings at one `rate`, each cut or padded to `seconds`.

    A step is 16 ms, and sees 32 ms through a Hann window; its numbers are the logarithms of the energy in 40
    mel bands, less their mean over the recording, so that neither loudness nor microphone shows. Steps behind
    a recording's end are zeros. `counts` grows by the rules that changed a recording.
    """

    rate: int
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def window(self) -> int:
        """Samples that a step sees."""
        return round(WINDOW_SECONDS * self.rate)

    @property
    def hop(self) -> int:
        """Samples from one step to the next."""
        return round(HOP_SECONDS * self.rate)

    @property
    def steps(self) -> int:
        """Steps of each recording."""
        return max(1, math.ceil(self.seconds * self.rate / self.hop))

    def of(self, sounds: Sequence[Sound]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Features (recordings, steps, bands), and how many steps of each are no padding, at least 1."""
        from scipy.fft import rfft
        from scipy.signal.windows import hann

        shape, filters = hann(self.window, sym=False), mel_filters(self.rate, self.window)
        most = round(self.seconds * self.rate)
        x = np.zeros((len(sounds), self.steps, BANDS), np.float32)
        lengths = np.empty(len(sounds), np.int32)
        for place, given in enumerate(sounds):
            sound = at_rate(given, self.rate)
            rules = (*sound.rules, *((CUT,) if len(sound.samples) > most else ()))
            for rule in rules:
                self.counts[rule] = self.counts.get(rule, 0) + 1
            samples = sound.samples[:most]
            count = lengths[place] = math.ceil(len(samples) / self.hop)
            padded = np.zeros((count - 1) * self.hop + self.window)
            padded[: len(samples)] = samples[: len(padded)]
            frames = np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop]
            energy = np.abs(rfft(frames * shape, axis=1)) ** 2 / (shape.sum() / 2) ** 2
            heard = np.log(energy @ filters + LEAST_ENERGY)
            x[place, :count] = heard - heard.mean(0)
        return x, lengths
