"""Resampling against direct convolutions in NumPy."""

import jax
import numpy as np
import pytest
from jitted import Jitted

import jaxdl.nn.resample
from jaxdl.errors import UsageError

resample = Jitted(jaxdl.nn.resample)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 8, 3)).astype(np.float32)
UNEVEN = (0.1, 0.7, -0.2, 0.3, 0.4)  # not symmetric: a mirrored filter would show


def line(x, taps, up, down, padding):
    """Of one row: zeros between, zeros around, np.convolve, every `down`-th."""
    spread = np.zeros(len(x) * up)
    spread[::up] = x
    return np.convolve(np.pad(spread, padding), taps, 'valid')[::down]


def directly(x, taps, up, down, padding):
    for axis in (1, 2):
        x = np.apply_along_axis(line, axis, x, taps, up, down, padding)
    return x


@pytest.mark.parametrize(
    ('taps', 'up', 'down', 'padding'),
    [
        (resample.BINOMIAL, 1, 1, (2, 2)),
        (resample.BINOMIAL, 2, 1, (1, 1)),
        (UNEVEN, 1, 2, (2, 3)),
        (UNEVEN, 2, 1, (3, 1)),
        (UNEVEN, 3, 2, (0, 4)),
        (UNEVEN[:2], 1, 3, (0, 0)),
    ],
)
def test_it_is_a_convolution_between_zeros(taps, up, down, padding):
    found = resample.upfirdn(X, tuple(taps), up=up, down=down, padding=padding)
    want = directly(X.astype(np.float64), taps, up, down, padding)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_what_is_constant_stays_so_and_sizes_are_doubled_and_halved():
    flat = np.ones((1, 8, 6, 1), np.float32)
    large, small = resample.upsample(flat), resample.downsample(flat)
    assert large.shape == (1, 16, 12, 1) and small.shape == (1, 4, 3, 1)
    np.testing.assert_allclose(large[:, 2:-2, 2:-2], 1, rtol=1e-6)
    np.testing.assert_allclose(small[:, 1:-1, 1:-1], 1, rtol=1e-6)


def test_an_image_that_moves_by_two_moves_what_is_made_of_it_by_one():
    x = np.zeros((1, 16, 16, 1), np.float32)
    x[0, 4:9, 4:9] = RNG.normal(size=(5, 5, 1))
    small, moved = (np.asarray(resample.downsample(y)) for y in (x, np.roll(x, (2, 4), (1, 2))))
    np.testing.assert_allclose(moved, np.roll(small, (1, 2), (1, 2)), atol=1e-6)
    large = np.asarray(resample.upsample(small))
    np.testing.assert_allclose(resample.upsample(moved), np.roll(large, (2, 4), (1, 2)), atol=1e-6)


def test_an_image_smaller_than_the_filter_is_refused():
    with pytest.raises(UsageError, match='too few for 4 taps'):
        jax.eval_shape(jaxdl.nn.resample.upfirdn, jax.ShapeDtypeStruct((1, 3, 9, 1), np.float32))
