"""Stochastic depth: alone for each example, unbiased, and nothing in testing."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.net import Net
from jaxdl.nn.regularise import StochasticDepth
from jaxdl.objectives.classification import classifier, show_mistakes

KEY = jax.random.key(0)


class Residual(nn.Module):
    rates: tuple[float, ...]

    @nn.compact
    def __call__(self, x, *, train=False):
        for rate in self.rates:
            x = x + StochasticDepth(rate)(nn.Dense(x.shape[-1])(x), train=train)
        return x


def test_branches_are_kept_whole_and_scaled_or_left_out():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2000, 2, 3)), jnp.float32)
    y = StochasticDepth(0.2).apply({}, x, train=True, rngs={'dropout': KEY})
    kept = (np.asarray(y) != 0).any((1, 2))
    np.testing.assert_allclose(y[kept], x[kept] / 0.8, rtol=1e-6)
    assert (np.asarray(y)[~kept] == 0).all()
    np.testing.assert_allclose(kept.mean(), 0.8, atol=0.03)


@pytest.mark.parametrize('rate', [0.0, 0.5, 1.0])
def test_all_branches_in_testing_and_ends_of_the_range(rate):
    x = jnp.ones((4, 3))
    layer = StochasticDepth(rate)
    np.testing.assert_array_equal(layer.apply({}, x), x)
    if rate != 0.5:
        y = layer.apply({}, x, train=True, rngs={'dropout': KEY})
        np.testing.assert_array_equal(y, x * (1 - rate))


def test_blocks_draw_alone_and_the_skipped_learn_nothing():
    net = Net.init(Residual((0.5, 0.5)), KEY, jnp.ones((1, 3)))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 3)), jnp.float32)

    @jax.jit
    def moves(key):
        def loss(params):
            return (net.replace(params=params)(x, key=key, train=True)[0] ** 2).sum()

        return [abs(g['kernel']).sum() > 0 for g in jax.grad(loss)(net.params).values()]

    seen = {tuple(map(bool, moves(key))) for key in jax.random.split(KEY, 30)}
    assert seen == {(a, b) for a in (False, True) for b in (False, True)}


def test_a_classifier_takes_probabilities_and_counts_the_dominant_class():
    task = classifier(nn.Dense(3), optax.sgd(0.5), classes=3)
    rng = np.random.default_rng(2)
    x, labels = rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 3, 8)
    hard = {'x': x, 'y': jnp.asarray(labels), 'mask': jnp.arange(8) < 7}
    one_hot = {**hard, 'y': jax.nn.one_hot(labels, 3)}
    soft = {**hard, 'y': 0.6 * one_hot['y'] + 0.4 * jnp.roll(one_hot['y'], 1, 1)}
    state = jax.jit(task.init)(KEY, hard)
    step, measure = jax.jit(task.step), jax.jit(task.measure)
    (a, numbers), (b, same), (c, other) = (
        step(KEY, state, batch) for batch in (hard, one_hot, soft)
    )
    a, b, c, before = (s['net'].net.params for s in (a, b, c, state))
    np.testing.assert_allclose(a['kernel'], b['kernel'], atol=1e-6)
    # By hand: the gradient of the bias is the mean of softmax - y over the rows that count.
    logits = x @ np.asarray(before['kernel']) + np.asarray(before['bias'])
    residual = np.asarray(jax.nn.softmax(logits) - soft['y'])[:7].mean(0)
    np.testing.assert_allclose(c['bias'], before['bias'] - 0.5 * residual, atol=1e-6)
    right = (logits.argmax(-1) == labels)[:7].sum()
    assert numbers['accuracy'].total == same['accuracy'].total == other['accuracy'].total == right
    first, second, third = (measure(KEY, state, batch) for batch in (hard, one_hot, soft))
    np.testing.assert_allclose(first['loss'].total, second['loss'].total, rtol=1e-5)
    each = -(np.asarray(soft['y']) * np.asarray(jax.nn.log_softmax(logits))).sum(-1)
    np.testing.assert_allclose(third['loss'].total, each[:7].sum(), rtol=1e-5)
    np.testing.assert_array_equal(first[''].counts, third[''].counts)
    worst = [show_mistakes(task.nets(state), batch, KEY)['mistakes'] for batch in (hard, one_hot)]
    np.testing.assert_array_equal(worst[0].truth, worst[1].truth)
