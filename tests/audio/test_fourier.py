"""Short-time Fourier transforms: by the definition, there and back, and against librosa."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.audio.fourier import frame_count, griffin_lim, hann, istft, stft
from jaxdl.errors import UsageError

X = np.random.default_rng(0).normal(size=(2, 501)).astype(np.float32)
SIZES = [(64, 16, None), (64, 20, None), (32, 32, None), (64, 16, 48)]


def window_of(length):
    return None if length is None else hann(length)


@pytest.mark.parametrize(('size', 'hop', 'short'), SIZES)
def test_it_is_the_sum_in_the_docstring(size, hop, short):
    found = stft(X, size=size, hop=hop, window=window_of(short))
    w = np.zeros(size)
    length = short or size
    w[(size - length) // 2 :][:length] = hann(length)
    assert found.shape == (2, frame_count(501, hop=hop), size // 2 + 1)
    n, f = np.arange(size), np.arange(size // 2 + 1)
    wave = np.exp(-2j * np.pi * np.outer(n, f) / size)
    padded = np.pad(X, ((0, 0), (size, 2 * size)))
    for t in range(found.shape[1]):
        frame = padded[:, size + t * hop - size // 2 :][:, :size]
        np.testing.assert_allclose(found[:, t], (frame * w) @ wave, atol=2e-5)


@pytest.mark.parametrize(('size', 'hop', 'short'), [s for s in SIZES if s[1] < s[0]])
def test_there_and_back(size, hop, short):
    window = window_of(short)
    there = stft(X, size=size, hop=hop, window=window)
    back = istft(there, hop=hop, window=window, length=501)
    np.testing.assert_allclose(back[:, : 501 - size // 2], X[:, : 501 - size // 2], atol=1e-5)


def test_parseval():
    """Windows whose squares add to 3/8 size / hop keep the energy, but for what is cut off."""
    quiet = np.pad(X, ((0, 0), (64, 64)))
    found = np.abs(stft(quiet, size=64, hop=16)) ** 2
    both = found[..., 0] + found[..., -1] + 2 * found[..., 1:-1].sum(-1)
    energy = both.sum(-1) / 64 / (3 / 8 * 64 / 16)
    np.testing.assert_allclose(energy, (X**2).sum(-1), rtol=1e-5)


def test_padding_changes_no_frame_of_the_row():
    longer = np.pad(X, ((0, 0), (0, 333)))
    alone, padded = stft(X, size=64, hop=20), stft(longer, size=64, hop=20)
    np.testing.assert_allclose(padded[:, : alone.shape[1]], alone, atol=1e-6)


def test_a_tone_is_where_its_frequency_is():
    tone = np.sin(2 * np.pi * 10 * np.arange(640) / 64).astype(np.float32)
    spectrum = np.abs(stft(tone, size=64, hop=16))[5:-5]
    assert (spectrum.argmax(-1) == 10).all()
    np.testing.assert_allclose(spectrum.max(-1), 64 / 4, rtol=1e-5)  # half the sum of the window


def misfit(wave, magnitude):
    return float(jnp.linalg.norm(jnp.abs(stft(wave, size=64, hop=16)) - magnitude))


def test_griffin_and_lim_never_gets_worse_and_the_fast_one_is_faster():
    magnitude = jnp.abs(stft(X[0], size=64, hop=16))
    make = jax.jit(
        lambda n, momentum: griffin_lim(magnitude, hop=16, iterations=n, momentum=momentum),
        static_argnums=(0, 1),
    )
    plain = [misfit(make(n, 0.0), magnitude) for n in (0, 2, 8, 32)]
    assert plain == sorted(plain, reverse=True) and plain[-1] < plain[0] / 2
    assert misfit(make(32, 0.99), magnitude) < 0.9 * plain[-1]


def test_phases_are_drawn_from_the_key():
    magnitude = jnp.abs(stft(X[0], size=64, hop=16))
    one, same, other = (
        griffin_lim(magnitude, key=jax.random.key(k), hop=16, iterations=1) for k in (0, 0, 1)
    )
    assert (one == same).all() and not jnp.allclose(one, other, atol=1e-2)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'size': 63}, 'size=63; an even number'),
        ({'hop': 0}, 'hop=0; 1 or more'),
        ({'size': 64, 'window': np.ones(65)}, r'a window of shape \[65\]; 1 to size=64'),
    ],
)
def test_errors(options, message):
    with pytest.raises(UsageError, match=message):
        stft(X, **options)


@pytest.mark.slow  # its import takes longer than all tests here
@pytest.mark.parametrize(('size', 'hop', 'short'), SIZES)
def test_librosa(size, hop, short):
    librosa = pytest.importorskip('librosa')
    options = {'hop_length': hop, 'win_length': short or size}
    theirs = librosa.stft(X, n_fft=size, **options)
    ours = stft(X, size=size, hop=hop, window=window_of(short))
    np.testing.assert_allclose(ours, theirs.swapaxes(-1, -2), atol=1e-5)
    if hop < size:
        inner = slice(0, 501 - size // 2)
        back = librosa.istft(theirs, n_fft=size, length=501, **options)
        found = istft(ours, hop=hop, window=window_of(short), length=501)
        np.testing.assert_allclose(found[:, inner], back[:, inner], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('momentum', [0.0, 0.99])
def test_librosas_griffin_and_lim(momentum):
    librosa = pytest.importorskip('librosa')
    magnitude = np.abs(stft(X, size=64, hop=16))
    theirs = librosa.griffinlim(
        magnitude.swapaxes(-1, -2), n_iter=4, hop_length=16, momentum=momentum, init=None
    )
    ours = griffin_lim(magnitude, hop=16, iterations=4, momentum=momentum)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
