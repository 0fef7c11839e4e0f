"""Bicubic resizing: known values, and against Pillow where the two have one convention."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdl.errors import UsageError
from jaxdl.nn.resize import cubic, pixel_shuffle, resize_bicubic

RNG = np.random.default_rng(0)


def test_the_kernel_interpolates():
    assert cubic(np.array([0.0, 1, 2, 3, -1])).tolist() == [1, 0, 0, 0, 0]
    assert cubic(np.array([0.5, -0.5, 1.5])).tolist() == [0.5625, 0.5625, -0.0625]


@pytest.mark.parametrize('size', [(12, 20), (6, 5), (48, 30), (7, 40)])
def test_it_is_pillows_away_from_the_border(size):
    """Pillow's kernel has a = -0.5 too, and is widened; beyond the border it takes nothing."""
    x = RNG.uniform(size=(24, 20)).astype(np.float32)
    theirs = np.asarray(Image.fromarray(x).resize(size[::-1], Image.Resampling.BICUBIC))
    ours = np.asarray(resize_bicubic(x[None, :, :, None], size))[0, :, :, 0]
    edge = [-(-2 * max(m, n) // n) for m, n in zip(size, x.shape, strict=True)]
    inner = tuple(slice(e, m - e) for e, m in zip(edge, size, strict=True))
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=2e-5)
    assert ours[inner].size >= 1


def test_straight_lines_stay_straight_and_borders_are_mirrored():
    line = jnp.arange(16.0)[None, :, None, None] * jnp.ones((1, 1, 3, 2))
    twice = resize_bicubic(line, (32, 3))[0, 4:-4, 0, 0]
    np.testing.assert_allclose(twice, (np.arange(32)[4:-4] + 0.5) / 2 - 0.5, rtol=1e-5)
    x = jnp.asarray(RNG.uniform(size=(1, 5, 6, 1)), jnp.float32)
    mirrored = jnp.pad(x, ((0, 0), (5, 5), (6, 6), (0, 0)), mode='symmetric')
    whole = resize_bicubic(mirrored, (60, 72))[:, 20:40, 24:48]
    np.testing.assert_allclose(resize_bicubic(x, (20, 24)), whole, atol=1e-5)
    assert resize_bicubic(x, (5, 6)) == pytest.approx(np.asarray(x))


def test_what_is_no_image_or_size_is_refused():
    with pytest.raises(UsageError, match=r'x is \[4, 4, 1\] and size=\(2, 2\)'):
        resize_bicubic(jnp.ones((4, 4, 1)), (2, 2))
    with pytest.raises(UsageError, match=r'size=\(0, 2\)'):
        resize_bicubic(jnp.ones((1, 4, 4, 1)), (0, 2))


def test_channels_become_places_in_torchs_order():
    x = RNG.uniform(size=(2, 3, 4, 12)).astype(np.float32)
    y = pixel_shuffle(jnp.asarray(x), 2)
    assert y.shape == (2, 6, 8, 3)
    for c in range(3):
        for i in range(2):
            for j in range(2):
                np.testing.assert_array_equal(y[:, i::2, j::2, c], x[..., 4 * c + 2 * i + j])
    with pytest.raises(UsageError, match=r'10 channels are no multiple of 2\^2'):
        pixel_shuffle(jnp.ones((1, 2, 2, 10)), 2)
