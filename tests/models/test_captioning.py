"""Captioning: words in their order, what of an image is seen, and caches that equal the whole."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.captioning import Captioner, ConvMaps, MeanFeature, OneVector, Positions
from jaxdl.net import unboxed

WORDS = 9
IMAGES = jax.random.normal(jax.random.key(0), (2, 4, 8, 1))
TOKENS = jax.random.randint(jax.random.key(1), (2, 5), 0, WORDS)
SIZES = {'encoder': partial(ConvMaps, (4,)), 'width': 8, 'depth': 2, 'heads': 2, 'mlp': 8}


def made(read):
    module = Captioner(WORDS, read=read, **SIZES)
    variables = unboxed(jax.jit(module.init)(jax.random.key(0), IMAGES, TOKENS))
    keys = iter(jax.random.split(jax.random.key(2), 100))
    moved = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), variables)
    memory = {'batch_stats': variables['batch_stats']}  # variances stay above 0
    return module, {**moved, **memory}


@pytest.fixture(scope='module')
def attentive():
    return made(Positions)


def test_words_see_the_image_and_those_before_them_alone(attentive):
    module, variables = attentive
    apply = jax.jit(module.apply)
    logits = apply(variables, IMAGES, TOKENS)
    assert logits.shape == (2, 5, WORDS)
    later = apply(variables, IMAGES, TOKENS.at[:, 3:].set(WORDS - 1 - TOKENS[:, 3:]))
    np.testing.assert_array_equal(logits[:, :3], later[:, :3])
    assert (jnp.abs(logits[:, 3:] - later[:, 3:]).max((1, 2)) > 1e-3).all()
    other = apply(variables, -IMAGES, TOKENS)
    assert (jnp.abs(logits - other).max(-1) > 1e-4).all()


def test_word_after_word_is_all_at_once(attentive):
    module, variables = attentive

    def by_word(variables):
        bound = module.bind(variables)
        state = bound.empty(bound.encode(IMAGES), None, steps=5)
        said = []
        for i in range(5):
            logits, state = bound.extend(TOKENS[:, i : i + 1], state)
            said.append(logits)
        return jnp.concatenate(said, 1)

    want = jax.jit(module.apply)(variables, IMAGES, TOKENS)
    np.testing.assert_allclose(jax.jit(by_word)(variables), want, atol=2e-5)


def test_what_each_reader_sees_of_the_maps():
    maps = jax.random.normal(jax.random.key(3), (2, 2, 4, 3))
    turned = maps[:, :, ::-1]
    for read, count, ordered in ((Positions, 8, True), (MeanFeature, 1, False),
                                 (OneVector, 1, True)):  # fmt: skip
        variables = unboxed(read().init(jax.random.key(0), maps, 6))
        seen, other = (read().apply(variables, x, 6) for x in (maps, turned))
        assert seen.shape == (2, count, 6)
        assert (jnp.abs(seen.mean(1) - other.mean(1)).max() < 1e-5) == (read is not OneVector)
        assert (jnp.abs(seen - other).max() > 1e-3) == ordered
