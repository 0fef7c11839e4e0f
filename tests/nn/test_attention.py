"""Attention against its formula, masks, groups, positions, and caches."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.net import unboxed
from jaxdl.nn.attention import (
    Attention,
    attend,
    causal_mask,
    padding_mask,
    rotary,
    segment_mask,
    sinusoids,
)

B, T, S, H, K = 2, 5, 7, 4, 3


def drawn(key, *shape):
    return jax.random.normal(jax.random.key(key), shape)


def formula(q, k, v, allowed):
    """Head by head and row by row."""
    out = np.zeros(q.shape)
    each = q.shape[2] // k.shape[2]
    for b in range(q.shape[0]):
        for h in range(q.shape[2]):
            scores = q[b, :, h] @ k[b, :, h // each].T / math.sqrt(q.shape[-1])
            scores = np.where(allowed[b], scores, -1e30)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[b, :, h] = weights / weights.sum(-1, keepdims=True) @ v[b, :, h // each]
    return out


@pytest.mark.parametrize('groups', [4, 2, 1])
@pytest.mark.parametrize('plain', ['', '1'])
def test_weights_are_the_softmax_of_scaled_products(groups, plain, monkeypatch):
    monkeypatch.setenv('JAXDL_PLAIN_LAYERS', plain)
    q, k, v = drawn(0, B, T, H, K), drawn(1, B, S, groups, K), drawn(2, B, S, groups, K)
    lengths = np.array([7, 4])
    allowed = np.broadcast_to(np.arange(S) < lengths[:, None, None], (B, T, S))
    want = formula(*map(np.asarray, (q, k, v)), allowed)
    got = attend(q, k, v, mask=padding_mask(jnp.array(lengths), S))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('plain', ['', '1'])
def test_causal_is_the_lower_triangle(plain, monkeypatch):
    monkeypatch.setenv('JAXDL_PLAIN_LAYERS', plain)
    q, k, v = (drawn(i, B, T, H, K) for i in range(3))
    want = formula(*map(np.asarray, (q, k, v)), np.tile(np.tril(np.ones((T, T), bool)), (B, 1, 1)))
    np.testing.assert_allclose(attend(q, k, v, causal=True), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(attend(q, k, v, mask=causal_mask(T)), want, rtol=1e-5, atol=1e-6)


def test_packed_rows_do_not_see_each_other():
    layer = Attention(2, 8)
    x = drawn(0, 1, 6, 8)
    variables = unboxed(layer.init(jax.random.key(0), x))
    segments = jnp.array([[0, 0, 0, 1, 1, 1]])
    packed = layer.apply(variables, x, mask=segment_mask(segments), causal=True)
    apart = [layer.apply(variables, part, causal=True) for part in (x[:, :3], x[:, 3:])]
    np.testing.assert_allclose(packed, jnp.concatenate(apart, 1), rtol=1e-5, atol=1e-6)


def test_rotated_products_depend_on_the_distance_alone():
    q, k = drawn(0, 1, 1, 1, 8), drawn(1, 1, 1, 1, 8)

    def product(a, b):
        return (rotary(q, jnp.array([a])) * rotary(k, jnp.array([b]))).sum()

    np.testing.assert_allclose(product(3, 1), product(12, 10), rtol=1e-5)
    assert abs(product(3, 1) - product(3, 2)) > 1e-3
    np.testing.assert_array_equal(rotary(q, jnp.array([0])), q)
    # The first pair of a head turns by one radian a step.
    one = jnp.zeros((1, 1, 1, 8)).at[..., 0].set(1)
    turned = rotary(one, jnp.array([1]))[0, 0, 0]
    np.testing.assert_allclose(turned[jnp.array([0, 4])], [math.cos(1), math.sin(1)], rtol=1e-6)


def test_sinusoids_are_those_of_the_paper():
    waves = np.asarray(sinusoids(50, 16))
    t, i = 37, 5
    angle = t / 10_000 ** (2 * i / 16)
    np.testing.assert_allclose(waves[t, 2 * i], math.sin(angle), rtol=1e-4)
    np.testing.assert_allclose(waves[t, 2 * i + 1], math.cos(angle), rtol=1e-4)
    assert sinusoids(3, 5).shape == (3, 5)


@pytest.mark.parametrize('options', [{}, {'groups': 2, 'rotate': rotary}], ids=['plain', 'grouped'])
def test_with_a_cache_it_is_the_same(options):
    layer = Attention(4, 8, **options)
    x = drawn(0, 3, 6, 8)
    variables = unboxed(layer.init(jax.random.key(0), x))
    whole = layer.apply(variables, x, causal=True)
    extend = jax.jit(partial(layer.apply, variables, method='extend'))
    cache = layer.apply(variables, 3, 9, method='empty')
    # Rows of unlike lengths: what is beyond a row is overwritten by what comes next.
    count = jnp.array([4, 2, 3])
    y, cache = extend(x[:, :4], cache, count=count)
    for row, n in enumerate(count):
        np.testing.assert_allclose(y[row, :n], whole[row, :n], rtol=1e-5, atol=1e-6)
    rows = jnp.arange(3)
    y, cache = extend(x[rows, count][:, None], cache)
    np.testing.assert_allclose(y[:, 0], whole[rows, count], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cache.used, count + 1)


def test_what_was_read_once_is_looked_at_as_if_anew():
    layer = Attention(2, 8)
    x, memory, lengths = drawn(0, 2, 3, 8), drawn(1, 2, 5, 8), jnp.array([5, 2])
    variables = unboxed(layer.init(jax.random.key(0), x, memory))
    cache = layer.apply(variables, memory, lengths, method='read')
    want = layer.apply(variables, x, memory, mask=padding_mask(lengths, 5))
    got = layer.apply(variables, x, cache, method='look')
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_dropout_of_weights_keeps_their_mean():
    layer = Attention(2, 8, dropout=0.5)
    x = drawn(0, 1, 4, 8)
    variables = unboxed(layer.init(jax.random.key(0), x))
    calm = layer.apply(variables, x, causal=True)
    drop = jax.jit(
        jax.vmap(lambda key: layer.apply(variables, x, causal=True, train=True, rngs=key))
    )
    draws = drop({'dropout': jax.random.split(jax.random.key(1), 4000)})
    spread = np.asarray(draws.std(0))
    error = np.abs(np.asarray(draws.mean(0) - calm))
    assert (spread[0, 1:] > 0.01).all() and (error < 5 * spread / math.sqrt(4000) + 1e-5).all()


def test_heads_that_do_not_divide_are_named():
    for heads, groups, width in [(3, None, 8), (4, 3, 8)]:
        layer = Attention(heads, width, groups=groups)
        with pytest.raises(ValueError, match=f'{heads} heads'):
            jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, 2, width)))
