"""The layers' own formulations against the plain ones, in value and in gradient."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxdl.models import layers

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def value_and_gradients(fn, *args):
    return jax.jit(jax.value_and_grad(lambda *a: jnp.sin(fn(*a)).sum(), range(len(args))))(*args)


@pytest.mark.parametrize('channels', [1, 3, 6, 9])
@pytest.mark.parametrize(
    'size,kernel,strides,padding',
    [
        ((8, 8), (3, 3), (1, 1), 'SAME'),
        ((9, 7), (5, 5), (1, 1), 'VALID'),
        ((9, 7), (2, 3), (1, 1), 'SAME'),
        ((6, 5), (3, 2), (1, 1), [(1, 2), (0, 1)]),
        ((9, 8), (3, 3), (2, 2), 'SAME'),
    ],
)
def test_convolution_equals_the_plain_one(channels, size, kernel, strides, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, *size, channels)).astype(np.float32)
    w = rng.normal(size=(*kernel, channels, 4)).astype(np.float32)
    args = {'window_strides': strides, 'padding': padding, 'dimension_numbers': DIMENSIONS}
    ours = value_and_gradients(lambda x, w: layers.convolution(x, w, **args), x, w)
    plain = value_and_gradients(lambda x, w: lax.conv_general_dilated(x, w, **args), x, w)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize('options', [{'feature_group_count': 2}, {'rhs_dilation': (2, 2)}])
def test_grouped_and_dilated_convolutions_are_the_plain_ones(options):
    x, w = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 4 // options.get('feature_group_count', 1), 4))
    args = {'window_strides': (1, 1), 'padding': 'SAME', 'dimension_numbers': DIMENSIONS, **options}
    np.testing.assert_array_equal(
        layers.convolution(x, w, **args), lax.conv_general_dilated(x, w, **args)
    )


@pytest.mark.parametrize('size', [(8, 8), (9, 7), (2, 3)])
@pytest.mark.parametrize(
    'ours,plain', [(layers.max_pool, nn.max_pool), (layers.average_pool, nn.avg_pool)]
)
def test_pooling_equals_the_plain_one_with_ties(size, ours, plain):
    # Rounded values: many windows have several maxima, and the gradient goes to the first.
    x = np.round(np.random.default_rng(1).normal(size=(3, *size, 2)) * 2).astype(np.float32)
    got = value_and_gradients(ours, x)
    want = value_and_gradients(lambda x: plain(x, (2, 2), strides=(2, 2)), x)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_other_backends_take_the_plain_ones(monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    x, w = jnp.ones((1, 8, 8, 1)), jnp.ones((3, 3, 1, 2))
    conv = jax.make_jaxpr(
        lambda: layers.convolution(x, w, (1, 1), 'SAME', dimension_numbers=DIMENSIONS)
    )()
    assert 'conv_general_dilated' in str(conv) and 'dot_general' not in str(conv)
    assert 'reduce_window_max' in str(jax.make_jaxpr(layers.max_pool)(x))
