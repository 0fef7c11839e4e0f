"""Metrics of pictures, against scikit-image and by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import jitted
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jaxdl.errors import UsageError
from jaxdl.metrics import images
from jaxdl.metrics.images import inner_pixels, luma

RNG = np.random.default_rng(0)
Y = RNG.uniform(size=(2, 40, 47, 3)).astype(np.float32)
# Smooth pictures: what SSIM is made for, and where variances are small beside means.
Y[1] = 0.8 + 0.01 * np.sin(np.arange(47) / 3)[None, :, None]
X = np.clip(Y + 0.05 * RNG.standard_normal(Y.shape), 0, 1).astype(np.float32)
psnr, ssim = jitted(images.psnr), jitted(images.ssim)
power_spectrum = jitted(images.power_spectrum)
spectral_distance = jitted(images.spectral_distance)
patch_distance = jitted(images.patch_distance)
NAMED = {f.__name__: f for f in (psnr, ssim, spectral_distance, patch_distance)}


def similarity(x, y, peak=1.0):
    options = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False}
    return structural_similarity(x, y, data_range=peak, channel_axis=-1, **options)


def test_psnr_and_ssim_are_those_of_scikit_image():
    signal, similar = jax.jit(lambda x, y: (psnr(x, y), ssim(x, y)))(X, Y)
    for i, (x, y) in enumerate(zip(X.astype(np.float64), Y.astype(np.float64), strict=True)):
        assert signal[i] == pytest.approx(peak_signal_noise_ratio(y, x, data_range=1), rel=1e-5)
        assert similar[i] == pytest.approx(similarity(x, y), rel=2e-4)
    assert psnr(255 * X, 255 * Y, peak=255.0) == pytest.approx(np.asarray(signal), rel=1e-5)
    assert ssim(255 * X, 255 * Y, peak=255.0) == pytest.approx(np.asarray(similar), rel=1e-4)
    assert np.isposinf(psnr(X, X)).all() and ssim(X, X) == pytest.approx(1)


@pytest.mark.parametrize('name', NAMED)
def test_pixels_that_do_not_count_change_nothing(name):
    measure = partial(spectral_distance, side=8) if name == 'spectral_distance' else NAMED[name]
    counts = inner_pixels((40, 47), np.array([[40, 47], [36, 41]]), border=2)
    other = np.where(counts[..., None], X, 7.0)
    found = measure(other, jnp.asarray(Y), counts=counts)
    # The second picture cut to what counts; windows begin where they did in the whole.
    start = 0 if name in ('spectral_distance', 'patch_distance') else 2
    inside = counts[1:, start:34, start:39]
    cut = (a[1:, start:34, start:39] for a in (X, Y))
    assert found[1] == pytest.approx(float(measure(*cut, counts=inside)[0]), rel=1e-4)
    assert not np.allclose(found, measure(X, jnp.asarray(Y)), rtol=1e-4)
    assert np.isnan(measure(X, jnp.asarray(Y), counts=np.zeros((1, 40, 47), bool))).all()


def test_luma_is_that_of_the_recommendation():
    black, white, red = luma(jnp.array([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]]))[:, 0] * 255
    assert [float(x) for x in (black, white, red)] == pytest.approx([16, 235, 81.481], rel=1e-5)
    with pytest.raises(UsageError, match='luma: pictures of 1 channels; of 3'):
        luma(jnp.zeros((2, 1)))


def test_the_spectrum_of_a_wave_lies_at_its_frequency():
    place = np.arange(64)
    wave = np.sin(2 * np.pi * 5 * (place[:, None] + 0 * place[None]) / 32)
    power = power_spectrum(jnp.asarray(wave, jnp.float32)[None, :, :, None])[0]
    assert power.argmax() == 4 and power[4] > 50 * power[8:].max()
    noise = jnp.asarray(RNG.standard_normal((1, 256, 256, 1)), jnp.float32)
    flat = power_spectrum(noise)[0]
    # White noise has the power of the taper everywhere: (sum of sin^4)^2 = (3 n / 8)^2.
    assert flat[2:] == pytest.approx((3 * 32 / 8) ** 2, rel=0.1)
    assert spectral_distance(noise, 0.1 * noise)[0] == pytest.approx(20, rel=1e-3)


def test_the_spectrum_tells_sharp_and_wrong_from_smooth_and_near():
    noise = jnp.asarray(RNG.standard_normal((1, 96, 96, 1)), jnp.float32)
    other = jnp.asarray(RNG.standard_normal((1, 96, 96, 1)), jnp.float32)
    smooth = 0.5 * noise
    assert psnr(smooth, noise)[0] > psnr(other, noise)[0] + 5
    for distance in (spectral_distance, patch_distance):
        assert distance(other, noise)[0] < 0.3 * distance(smooth, noise)[0]
        assert distance(noise, noise)[0] == 0


def test_the_patch_distance_is_a_distance_of_sorted_projections():
    x, y = (RNG.standard_normal((1, 16, 13, 1)).astype(np.float32) for _ in range(2))
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((7, 7, 1, 64)).reshape(49, 64)
    directions -= directions.mean(0)
    directions /= np.linalg.norm(directions, axis=0)

    def projected(z):
        corners = [(i, j) for i in range(0, 10, 3) for j in range(0, 7, 3)]
        patches = np.stack([z[0, i : i + 7, j : j + 7, 0].ravel() for i, j in corners])
        return np.sort((patches - patches.mean(1, keepdims=True)) @ directions, axis=0)

    want = np.abs(projected(x) - projected(y)).mean()
    assert patch_distance(x, y)[0] == pytest.approx(want, rel=1e-4)
    assert patch_distance(x + 3, x)[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize('name', NAMED)
def test_pictures_must_be_of_one_shape(name):
    with pytest.raises(UsageError, match=rf'{name}: pictures \[2, 40, 47, 3\] and \[1, 40'):
        NAMED[name](X, Y[:1])
    if name == 'spectral_distance':
        with pytest.raises(UsageError, match='ssim: windows of 11x11 in pictures'):
            ssim(X[:, :9], Y[:, :9])
        with pytest.raises(UsageError, match='windows of side=41 in pictures'):
            spectral_distance(X, Y, side=41)
