"""Spectra as the ear has them: mel filters, their logarithms, and cepstra.

From waves [..., N] of a sampling rate in Hz to features [..., T, n], see `jaxdl.audio.fourier` for
the frames. The defaults are for speech at 8 kHz: windows of 32 ms every 10 ms.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.audio.fourier import stft
from jaxdl.errors import UsageError
from jaxdl.lengths import within

Array = jax.Array

RATE, SIZE, HOP, MELS = 8000, 256, 80, 40


class Scale(NamedTuple):
    """A scale of pitch: from Hz to mel, and back; functions of NumPy's arrays."""

    mel: Callable[[Any], Any]
    hertz: Callable[[Any], Any]


_KNEE, _STEP = 15.0, math.log(6.4) / 27  # Slaney: 1,000 Hz is 15 mel, 6,400 Hz is 27 further


def _slaney_mel(hertz: Any) -> Any:
    f = np.asarray(hertz, np.float64)
    above = _KNEE + np.log(np.maximum(f, 1000) / 1000) / _STEP
    return np.where(f < 1000, 3 * f / 200, above)


def _slaney_hertz(mel: Any) -> Any:
    m = np.asarray(mel, np.float64)
    return np.where(m < _KNEE, 200 * m / 3, 1000 * np.exp(_STEP * np.maximum(m - _KNEE, 0)))


def _htk_mel(hertz: Any) -> Any:
    return 2595 * np.log10(1 + np.asarray(hertz, np.float64) / 700)


def _htk_hertz(mel: Any) -> Any:
    return 700 * (10 ** (np.asarray(mel, np.float64) / 2595) - 1)


SLANEY = Scale(_slaney_mel, _slaney_hertz)  # linear to 1 kHz (Slaney 1998, Auditory Toolbox)
HTK = Scale(_htk_mel, _htk_hertz)  # 2595 log10(1 + f / 700) (O'Shaughnessy 1987; HTK)


def mel_filters(
    *,
    rate: int = RATE,
    size: int = SIZE,
    mels: int = MELS,
    low: float = 0.0,
    high: float | None = None,
    scale: Scale = SLANEY,
    slaney_norm: bool = True,
) -> np.ndarray:
    """Triangles over the frequencies of a spectrum, float32 [size / 2 + 1, mels].

    Each rises from the middle of the one before to its own and falls to that of the next; the
    middles are evenly spaced in mel between `low` and `high` Hz (None: half the rate).

    slaney_norm: each has the area 1 Hz (Slaney's); else the height 1 (HTK's).
    """
    high = rate / 2 if high is None else high
    if not 0 <= low < high <= rate / 2:
        raise UsageError(f'mel_filters: from low={low} to high={high} Hz; 0 to half of rate={rate}')
    points = scale.hertz(np.linspace(scale.mel(low), scale.mel(high), mels + 2))
    widths, f = np.diff(points), np.linspace(0, rate / 2, size // 2 + 1)
    ramps = points[:, None] - f
    rising, falling = -ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling))
    empty = np.flatnonzero(filters.max(1) == 0)
    if len(empty):
        raise UsageError(
            f'mel_filters: no frequency of size={size} lies in {len(empty)} of mels={mels} filters;'
            ' take fewer filters or a larger size'
        )
    if slaney_norm:
        filters *= (2 / (points[2:] - points[:-2]))[:, None]
    return filters.T.astype(np.float32)


def power_spectrogram(
    x: Array, *, size: int = SIZE, hop: int = HOP, window: Any = None, power: float = 2.0
) -> Array:
    """|STFT|^power of waves [..., N], float32 [..., T, size / 2 + 1]."""
    spectrum = stft(x, size=size, hop=hop, window=window)
    square = spectrum.real**2 + spectrum.imag**2
    return square if power == 2 else square ** (power / 2)


def mel_spectrogram(
    x: Array, *, filters: np.ndarray, hop: int = HOP, window: Any = None, power: float = 2.0
) -> Array:
    """The power in each of `mel_filters` [F, mels], [..., T, mels]."""
    size = 2 * (len(filters) - 1)
    return power_spectrogram(x, size=size, hop=hop, window=window, power=power) @ filters


def log_mel(
    x: Array, *, filters: np.ndarray, hop: int = HOP, window: Any = None, floor: float = 1e-6
) -> Array:
    """log(mel_spectrogram + floor), natural, [..., T, mels]; silence is log(floor)."""
    return jnp.log(mel_spectrogram(x, filters=filters, hop=hop, window=window) + floor)


def decibels(power: Array, *, floor: float = 1e-10) -> Array:
    """10 log10(max(power, floor)), dB over 1."""
    return 10 * jnp.log10(jnp.maximum(power, floor))


def dct(mels: int, coefficients: int) -> np.ndarray:
    """The orthonormal discrete cosine transform, type II, float32 [mels, coefficients].

    D_nk = s_k cos(pi k (n + 1/2) / mels), s_0 = sqrt(1 / mels), else sqrt(2 / mels).
    """
    if not 1 <= coefficients <= mels:
        raise UsageError(f'dct: coefficients={coefficients}; 1 to mels={mels}')
    n, k = np.arange(mels)[:, None], np.arange(coefficients)[None]
    scale = np.where(k == 0, np.sqrt(1 / mels), np.sqrt(2 / mels))
    return np.asarray(scale * np.cos(np.pi * k * (n + 0.5) / mels), np.float32)


def mfcc(
    x: Array,
    *,
    filters: np.ndarray,
    coefficients: int = 13,
    hop: int = HOP,
    window: Any = None,
    floor: float = 1e-10,
) -> Array:
    """Mel-frequency cepstral coefficients (Davis and Mermelstein 1980): [..., T, coefficients].

    The DCT (II, orthonormal) of the mel spectrogram in dB.
    """
    power = mel_spectrogram(x, filters=filters, hop=hop, window=window)
    return decibels(power, floor=floor) @ dct(filters.shape[1], coefficients)


def magnitude_of_mel(mel: Array, *, filters: np.ndarray) -> Array:
    """Magnitudes [..., T, F] whose mel power is near to `mel` [..., T, mels], not a logarithm.

    The least-squares power, negative ones set to 0, and the root of it: for `griffin_lim`.
    """
    inverse = np.asarray(np.linalg.pinv(filters.astype(np.float64)), np.float32)
    return jnp.sqrt(jnp.maximum(mel @ inverse, 0))


def standardised(x: Array, lengths: Array, *, eps: float = 1e-5) -> Array:
    """Each row's features [B, T, n] of mean 0 and deviation 1 over its own frames; 0 beyond.

    Of the cepstra this is cepstral mean and variance normalisation, which takes away what a
    microphone adds.
    """
    keep = within(lengths, x.shape[1])[..., None]
    count = jnp.maximum(lengths, 1)[:, None, None]
    mean = jnp.where(keep, x, 0).sum(1, keepdims=True) / count
    centred = jnp.where(keep, x - mean, 0)
    variance = (centred**2).sum(1, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + eps)


def with_deltas(x: Array, *, reach: int = 2) -> Array:
    """Features [..., T, n] and their slopes over time, [..., T, 2 n] (Furui 1986; HTK's formula).

    d_t = sum_k k (x_(t+k) - x_(t-k)) / (2 sum_k k^2), k = 1 .. reach; the ends go on as they are.
    """
    steps = x.shape[-2]
    around = [(0, 0)] * (x.ndim - 2) + [(reach, reach), (0, 0)]
    padded = jnp.pad(x, around, mode='edge')

    def moved(k: int) -> Array:
        return padded[..., reach + k : reach + k + steps, :]

    slope = sum(k * (moved(k) - moved(-k)) for k in range(1, reach + 1))
    return jnp.concatenate([x, slope / (2 * sum(k * k for k in range(1, reach + 1)))], axis=-1)
