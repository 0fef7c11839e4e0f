"""Samples of a generator as training images: what is seen, and by whom, on images made here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import augment_gan
from jaxdl.data.table import from_arrays
from jaxdl.engine.feed import first_sent

KEY = jax.random.key(0)


def images(n):
    x = np.random.default_rng(n).integers(0, 256, (n, 16, 16, 1), np.uint8)
    return from_arrays({'x': x, 'y': np.arange(n) % 10}, name='images')


def phases(method, monkeypatch):
    monkeypatch.setattr(
        augment_gan, 'framed_mnist', lambda examples, size: (images(240), images(40))
    )
    return augment_gan.trial(method=method, **augment_gan.study.tiny)


def first_batch(source):
    return source.make(KEY, source.resident, first_sent(source))


@pytest.mark.parametrize('method', augment_gan.METHODS)
def test_the_phases_of_every_method_fit(method, monkeypatch):
    *before, last = phases(method, monkeypatch)
    assert bool(before) == (last.start is not None) == (method in ('samples', 'both'))
    assert len(set(last.train.drawn(3))) == 2 * 10 and {*last.train.drawn(4)} != {
        *last.train.drawn(3)
    }
    batch = first_batch(last.train)
    assert batch['x'].shape == (8, 16, 16, 1) and batch['x'].min() >= -1 and batch['x'].max() <= 1
    # Distorted images have values between those of pixels.
    pixels = np.asarray(batch['x'] + 1) * 127.5
    assert (np.abs(pixels - pixels.round()).max() > 0.1) == (method in ('plain', 'both'))
    state = jax.eval_shape(last.task.init, KEY, batch)
    after, metrics = jax.eval_shape(last.task.step, KEY, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics.keys() == {'loss', 'accuracy'}
    for phase in before:
        assert phase.train is last.train  # the GAN learns from the very same images
        played = jax.eval_shape(phase.task.init, KEY, batch)
        taken = jax.eval_shape(last.start, played, state)
        assert jax.tree.structure(taken) == jax.tree.structure(state)


def test_a_part_of_a_batch_is_made_with_the_labels_that_are_there():
    def paint(noise, y):
        assert noise.shape == (8, augment_gan.LATENTS)
        return jnp.broadcast_to(10.0 + y[:, None, None, None], (8, 2, 2, 1)), None

    y = jnp.arange(8)
    batch = {'x': jnp.zeros((8, 2, 2, 1)), 'y': y, 'mask': jnp.ones(8, bool)}
    found = augment_gan.partly_made(0.25)({'generator': paint}, batch, KEY)
    np.testing.assert_array_equal(found['x'][:, 0, 0, 0], [0] * 6 + [16, 17])
    np.testing.assert_array_equal(found['y'], y)


def test_a_critic_that_takes_all_for_real_says_so():
    def critic(x, y):
        return x.mean((1, 2, 3))[:, None], None

    def generator(noise, y):
        return noise[:, :1, None, None] * jnp.ones((1, 2, 2, 1)), None

    batch = {'x': jnp.array([1.0, 1, -1, 1]).reshape(4, 1, 1, 1), 'y': jnp.arange(4)}
    batch |= {'noise': jnp.array([[-1.0], [-1], [1], [1]]), 'mask': jnp.array([True] * 3 + [False])}
    found = augment_gan.opinion({'critic': critic, 'generator': generator}, batch, KEY)
    assert {name: float(mean.value()) for name, mean in found.items()} == {
        'real/unseen': pytest.approx(2 / 3),
        'real/generated': pytest.approx(1 / 3),
    }


def test_the_baseline_knows_as_many_labels(monkeypatch):
    monkeypatch.setattr(
        augment_gan, 'framed_mnist', lambda examples, size: (images(240), images(40))
    )
    few = {seed: augment_gan.nearest(seed, labels=1) for seed in range(3)}
    assert all(0 <= found['test/accuracy'] <= 0.5 for found in few.values())
    # Of images that are in training it knows every label.
    monkeypatch.setattr(augment_gan, 'tables', lambda examples: (images(40),) * 3)
    assert augment_gan.nearest(0, labels=4) == {'test/accuracy': 1}
