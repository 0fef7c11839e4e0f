"""Batch functions against NumPy, and that they are pure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.augment import as_float, compose, shift, standardise

KEY = jax.random.key(3)


def images(n=6, size=5):
    pixels = np.random.default_rng(0).integers(1, 256, (n, size, size, 2), np.uint8)
    return {'x': jnp.asarray(pixels), 'y': jnp.arange(n)}


def test_as_float():
    batch = as_float()(KEY, images())
    assert batch['x'].dtype == jnp.float32
    np.testing.assert_allclose(batch['x'], np.asarray(images()['x']) / 255, rtol=1e-6)
    np.testing.assert_array_equal(batch['y'], images()['y'])


@pytest.mark.parametrize(
    ('mean', 'std'), [(3.0, 2.0), (np.array([1.0, 2.0]), np.array([4.0, 5.0]))]
)
def test_standardise(mean, std):
    x = np.asarray(images()['x'], np.float32)
    np.testing.assert_allclose(
        standardise(mean, std)(KEY, images())['x'], (x - mean) / std, rtol=1e-6
    )


def test_shift_is_a_translation_with_zeros():
    batch = images(40)
    moved = np.asarray(jax.jit(shift(2))(KEY, batch)['x'])
    seen = set()
    for image, result in zip(np.asarray(batch['x']), moved, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        found = {
            (dy - 2, dx - 2)
            for dy in range(5)
            for dx in range(5)
            if (padded[dy : dy + 5, dx : dx + 5] == result).all()
        }
        assert len(found) == 1
        seen |= found
    # All 5 x 5 shifts are drawn alike: 40 draws hit about 25 * (1 - (24/25)**40) = 20 of them.
    assert len(seen) > 12 and {dy for dy, _ in seen} == {-2, -1, 0, 1, 2}
    assert moved.dtype == np.uint8


def test_shift_depends_on_the_key():
    first, again, other = (
        jax.jit(shift(2))(k, images())['x'] for k in (KEY, KEY, jax.random.key(4))
    )
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).any()


def test_composition_is_in_order_and_each_has_its_own_key():
    def noise(key, batch):
        return {**batch, 'noise': (*batch.get('noise', ()), jax.random.uniform(key))}

    batch = compose(noise, as_float(scale=2.0), noise, standardise(1.0, 1.0))(KEY, images())
    np.testing.assert_array_equal(batch['x'], np.asarray(images()['x'], np.float32) * 2 - 1)
    assert len({float(draw) for draw in batch['noise']}) == 2


def test_compiled_and_mapped_over_seeds_is_the_same():
    transform = jax.jit(compose(shift(1), as_float()))
    keys = jax.random.split(KEY, 3)
    mapped = jax.jit(jax.vmap(transform, in_axes=(0, None)))(keys, images())
    for seed, key in enumerate(keys):
        np.testing.assert_array_equal(mapped['x'][seed], transform(key, images())['x'])
