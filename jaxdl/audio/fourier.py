"""Short-time Fourier transforms of waves [..., N], and waves from magnitudes.

A spectrum is [..., T, F]: T frames, F = size / 2 + 1 frequencies from 0 to half the sampling rate.
Frame t is centred on sample t * hop of a wave that is followed and preceded by zeros, so a row that
is padded with zeros has the spectrum of the row alone in its first `frame_count(N)` frames.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UsageError
from jaxdl.keys import Key

Array = jax.Array


def hann(length: int) -> np.ndarray:
    """The periodic window w_n = (1 - cos(2 pi n / length)) / 2, float32 [length]."""
    return ((1 - np.cos(2 * np.pi * np.arange(length) / length)) / 2).astype(np.float32)


def frame_count(samples: Any, *, hop: int) -> Any:
    """How many frames a wave of so many samples has: 1 + samples // hop. Numbers or arrays."""
    return 1 + samples // hop


def stft(x: Array, *, size: int = 512, hop: int = 128, window: Any = None) -> Array:
    """The short-time Fourier transform, complex64 [..., 1 + N // hop, size / 2 + 1].

    X_tf = sum_n w_n x_(t hop + n - size/2) exp(-2 pi i f n / size).

    window: [size] or shorter, then in the middle of zeros; None: Hann's, periodic.
    """
    w = _window(size, hop, window)
    count = frame_count(x.shape[-1], hop=hop)
    # A frame is some blocks of `hop` samples in a row: cutting and adding need no gather.
    blocks = math.ceil(size / hop)
    needed = (count + blocks - 1) * hop
    left = size // 2
    padded = _padded(x, left, max(0, needed - left - x.shape[-1]))[..., :needed]
    grid = padded.reshape(*x.shape[:-1], count + blocks - 1, hop)
    frames = jnp.concatenate([grid[..., j : j + count, :] for j in range(blocks)], axis=-1)
    return jnp.fft.rfft(_times(frames[..., :size], w), axis=-1)


def istft(spectrum: Array, *, hop: int = 128, window: Any = None, length: int | None = None) -> Any:
    """The wave whose short-time Fourier transform is nearest to [..., T, F]: [..., length].

    x_n = sum_t w_(n - t hop) y_t(n - t hop) / sum_t w_(n - t hop)^2, y_t the inverse transform of a
    frame (Griffin and Lim 1984, eq. 6). Where no window reaches, it is 0.

    length: in samples; None: (T - 1) * hop.
    """
    count, bins = spectrum.shape[-2:]
    size = 2 * (bins - 1)
    w = _window(size, hop, window)
    frames = _times(jnp.fft.irfft(spectrum, n=size, axis=-1), w)
    weights = _overlapped(jnp.broadcast_to(w**2, (count, size)), hop)
    reached = weights > np.finfo(np.float32).tiny
    y = _overlapped(frames, hop)
    scale = jnp.where(reached, 1 / jnp.where(reached, weights, 1), 0)
    y = _times(y, scale)[..., size // 2 :]
    length = (count - 1) * hop if length is None else length
    return _padded(y, 0, max(0, length - y.shape[-1]))[..., :length]


def griffin_lim(
    magnitude: Array,
    *,
    key: Key | None = None,
    hop: int = 128,
    window: Any = None,
    iterations: int = 32,
    momentum: float = 0.99,
    length: int | None = None,
) -> Array:
    """A wave [..., length] of given magnitudes [..., T, F], whose phases are found.

    Griffin and Lim 1984, section III.B, for momentum 0; Perraudin et al. 2013, algorithm 2, with
    momentum a / (1 + a): each iteration takes the phases of the transform of the wave so far, gone
    on in the direction of the last change.

    key: draws the first phases; None: they are 0.
    """

    def wave(phases: Array) -> Array:
        return istft(magnitude * phases, hop=hop, window=window)

    size = 2 * (magnitude.shape[-1] - 1)
    if key is None:
        phases = jnp.ones(magnitude.shape, jnp.complex64)
    else:
        phases = jnp.exp(2j * jnp.pi * jax.random.uniform(key, magnitude.shape))
    pull = momentum / (1 + momentum)

    def iteration(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        phases, before = carry
        rebuilt = stft(wave(phases), size=size, hop=hop, window=window)
        ahead = rebuilt - pull * before
        return (ahead / (jnp.abs(ahead) + 1e-16), rebuilt), None

    start = (phases, jnp.zeros(magnitude.shape, jnp.complex64))
    (phases, _), _ = jax.lax.scan(iteration, start, None, length=iterations)
    return istft(magnitude * phases, hop=hop, window=window, length=length)


def _window(size: int, hop: int, window: Any) -> np.ndarray:
    """The window in the middle of `size` samples."""
    if size < 2 or size % 2:
        raise UsageError(f'stft: size={size}; an even number of samples')
    if hop < 1:
        raise UsageError(f'stft: hop={hop}; 1 or more samples')
    w = hann(size) if window is None else np.asarray(window, np.float32)
    if w.ndim != 1 or not 1 <= len(w) <= size:
        raise UsageError(f'stft: a window of shape {list(w.shape)}; 1 to size={size} samples')
    before = (size - len(w)) // 2
    return np.pad(w, (before, size - len(w) - before))


def _padded(x: Array, before: int, after: int) -> Array:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)])


def _times(x: Array, last: Any) -> Array:
    """x times numbers of its last axis."""
    return x * jnp.reshape(jnp.asarray(last), (1,) * (x.ndim - 1) + (-1,))


def _overlapped(frames: Array, hop: int) -> Array:
    """Frames [..., T, size] added where they are, [..., (T - 1 + ceil(size / hop)) * hop]."""
    count, size = frames.shape[-2:]
    blocks = math.ceil(size / hop)
    cut = _padded(frames, 0, blocks * hop - size)
    cut = cut.reshape(*cut.shape[:-1], blocks, hop)
    total = jnp.zeros((*frames.shape[:-2], count + blocks - 1, hop), frames.dtype)
    for j in range(blocks):
        total = total.at[..., j : j + count, :].add(cut[..., j, :])
    return total.reshape(*frames.shape[:-2], -1)
