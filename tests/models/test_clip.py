"""CLIP: sizes, where a text ends, other towers. That it is transformers' is in tests/parity."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pace import mostly_slow

from jaxdl.models.clip import (
    CLIP,
    ImageTower,
    TextTower,
    clip_vit_b_16,
    clip_vit_b_32,
    clip_vit_l_14,
    quick_gelu,
)
from jaxdl.models.lenet import LeNet
from jaxdl.net import unboxed

TEXTS = partial(TextTower, 11, 6, 8, 1, 2, 12)
IMAGES = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
TOKENS = jax.random.randint(jax.random.key(1), (3, 6), 0, 11)
LENGTHS = jnp.array([6, 2, 4])


@pytest.mark.parametrize(
    ('make', 'published'),
    mostly_slow(
        [(clip_vit_b_32, 151_277_313), (clip_vit_b_16, 149_620_737), (clip_vit_l_14, 427_616_513)]
    ),
)
def test_published_sizes(make, published):
    images, tokens = jnp.zeros((1, 224, 224, 3)), jnp.zeros((1, 2), int)
    shapes = unboxed(jax.eval_shape(make().init, jax.random.key(0), images, tokens))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == published


def test_quick_gelu_is_near_gelu_and_not_it():
    x = jnp.linspace(-3, 3, 7)
    np.testing.assert_allclose(quick_gelu(x), np.asarray(x) / (1 + np.exp(-1.702 * x)), rtol=1e-6)
    assert 1e-3 < jnp.abs(quick_gelu(x) - jax.nn.gelu(x)).max() < 0.05


@pytest.fixture(scope='module')
def convolutional():
    """A CLIP whose images are seen by a LeNet, and its variables."""
    tower = partial(LeNet, features=(2,), dense=(), classes=5, padding='SAME', kernel=(3, 3))
    module = CLIP(tower, TEXTS, 7)
    variables = unboxed(jax.jit(module.init)(jax.random.key(0), IMAGES, TOKENS, LENGTHS))
    return module, variables, jax.jit(module.apply)


def test_any_network_is_a_tower_and_products_are_cosines_over_the_temperature(convolutional):
    _, variables, apply = convolutional
    found = apply(variables, IMAGES, TOKENS, LENGTHS)
    for x in (found.images, found.texts):
        assert x.shape == (3, 7)
        np.testing.assert_allclose(jnp.linalg.norm(x, axis=-1), 1, rtol=1e-5)
    assert found.scale == pytest.approx(1 / 0.07, rel=1e-5)
    want = np.asarray(found.images) @ np.asarray(found.texts).T / 0.07
    np.testing.assert_allclose(found.logits, want, rtol=1e-4, atol=1e-5)


def test_a_text_is_read_at_its_end_and_what_comes_after_is_not_seen(convolutional):
    _, variables, apply = convolutional
    inside = jnp.arange(6)[None] < LENGTHS[:, None]
    texts = apply(variables, IMAGES, TOKENS, LENGTHS).texts
    same = apply(variables, IMAGES, jnp.where(inside, TOKENS, 10 - TOKENS), LENGTHS).texts
    np.testing.assert_array_equal(texts, same)
    other = apply(variables, IMAGES, jnp.where(inside, 10 - TOKENS, TOKENS), LENGTHS).texts
    assert (jnp.abs(texts - other).max(-1) > 1e-3).all()


def test_what_does_not_fit_is_said():
    tower = ImageTower(8, 1, 2, 12, patch=3)
    with pytest.raises(ValueError, match='patches of 3 do not tile images of 8x8'):
        jax.eval_shape(tower.init, jax.random.key(0), IMAGES)
    with pytest.raises(ValueError, match='7 tokens, and a context of 6'):
        jax.eval_shape(TEXTS().init, jax.random.key(0), jnp.zeros((1, 7), int))
