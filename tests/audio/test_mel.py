"""Mel spectra and cepstra: known values, and librosa's."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from jaxdl.audio.mel import (
    HTK,
    SLANEY,
    dct,
    decibels,
    log_mel,
    magnitude_of_mel,
    mel_filters,
    mel_spectrogram,
    mfcc,
    power_spectrogram,
    standardised,
    with_deltas,
)
from jaxdl.errors import UsageError

X = np.random.default_rng(0).normal(size=(2, 1600)).astype(np.float32)
OPTIONS = {'slaney': {}, 'htk': {'scale': HTK, 'slaney_norm': False, 'low': 50.0, 'high': 3800.0}}


def test_scales_at_known_pitches():
    np.testing.assert_allclose(HTK.mel([0, 700, 1000]), [0, 2595 * np.log10(2), 999.9855])
    np.testing.assert_allclose(SLANEY.mel([0, 500, 1000, 6400]), [0, 7.5, 15, 42])
    f = np.linspace(0, 8000, 50)
    for scale in (HTK, SLANEY):
        np.testing.assert_allclose(scale.hertz(scale.mel(f)), f, atol=1e-9)


def test_filters_are_triangles_of_area_or_height_one():
    area = mel_filters(rate=8000, size=4096, mels=20)
    np.testing.assert_allclose(area.sum(0) * 8000 / 4096, 1, rtol=2e-3)
    high = mel_filters(rate=8000, size=4096, mels=20, slaney_norm=False)
    assert (high.max(0) > 0.9).all() and high.max() <= 1
    # Between the first and the last middle, triangles of height one add to one.
    inner = slice(high[:, 0].argmax() + 1, high[:, -1].argmax())
    np.testing.assert_allclose(high[inner].sum(1), 1, atol=1e-5)


def test_dct_is_orthonormal_and_scipys():
    full = dct(16, 16)
    np.testing.assert_allclose(full.T @ full, np.eye(16), atol=1e-6)
    x = X[:, :16]
    theirs = scipy.fft.dct(x, type=2, norm='ortho')[:, :5]
    np.testing.assert_allclose(x @ dct(16, 5), theirs, atol=1e-5)


def test_decibels():
    np.testing.assert_allclose(decibels(np.float32([1, 100, 1e-3, 0])), [0, 20, -30, -100])


def test_magnitudes_come_back_where_there_are_as_many_filters():
    filters = mel_filters(rate=8000, size=64, mels=8)
    mel = mel_spectrogram(X, filters=filters)
    again = magnitude_of_mel(mel, filters=filters) ** 2 @ filters
    assert again.shape == mel.shape
    assert np.abs(again - mel).max() < 0.2 * mel.max()


def test_padding_has_no_part_in_what_is_standardised():
    x = np.random.default_rng(1).normal(3, 5, size=(2, 9, 4)).astype(np.float32)
    found = standardised(x, jnp.array([9, 5]))
    np.testing.assert_allclose(found[0].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(found[0].std(0), 1, atol=1e-4)
    np.testing.assert_allclose(found[1, :5], standardised(x[1:, :5], jnp.array([5]))[0], atol=1e-6)
    assert not found[1, 5:].any()


def test_slopes_of_a_line():
    line = np.arange(9, dtype=np.float32)[:, None] * [1.0, -3.0]
    found = with_deltas(line.astype(np.float32))
    np.testing.assert_allclose(found[2:-2, 2:], np.tile([1.0, -3.0], (5, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'low': 5000.0}, 'low=5000.0 to high=4000.0 Hz; 0 to half of rate=8000'),
        ({'mels': 200}, r'size=256 lies in \d+ of mels=200 filters; take fewer'),
    ],
)
def test_errors(options, message):
    with pytest.raises(UsageError, match=message):
        mel_filters(**options)


@pytest.mark.slow
@pytest.mark.parametrize('kind', OPTIONS)
def test_librosa(kind):
    librosa = pytest.importorskip('librosa')
    options = OPTIONS[kind]
    theirs = {
        'sr': 8000,
        'n_fft': 256,
        'n_mels': 24,
        'fmin': options.get('low', 0.0),
        'fmax': options.get('high'),
        'htk': kind == 'htk',
        'norm': 'slaney' if options.get('slaney_norm', True) else None,
    }
    filters = mel_filters(mels=24, **options)
    np.testing.assert_allclose(filters, librosa.filters.mel(**theirs).T, atol=1e-7)
    power = power_spectrogram(X).swapaxes(-1, -2)
    spectrum = np.abs(librosa.stft(X, n_fft=256, hop_length=80)) ** 2
    np.testing.assert_allclose(power, spectrum, rtol=1e-4, atol=1e-4)
    mel = librosa.feature.melspectrogram(y=X, hop_length=80, **theirs)
    np.testing.assert_allclose(
        mel_spectrogram(X, filters=filters).swapaxes(-1, -2), mel, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        log_mel(X, filters=filters, floor=1e-6), np.log(mel + 1e-6).swapaxes(-1, -2), atol=1e-4
    )
    cepstra = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=13)
    np.testing.assert_allclose(mfcc(X, filters=filters).swapaxes(-1, -2), cepstra, atol=2e-3)
