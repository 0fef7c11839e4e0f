"""The product for transposed convolutions of stride 2 against the plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from test_layers import DIMENSIONS, assert_all_close, value_and_gradients

from jaxdl.nn import layers
from jaxdl.nn.cpu import doubling


def drawn(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def plain(x, w, padding):
    return lax.conv_general_dilated(
        x, w, (1, 1), padding, lhs_dilation=(2, 2), dimension_numbers=DIMENSIONS
    )


@pytest.mark.parametrize('channels', [(3, 4), (5, 1)])
@pytest.mark.parametrize(
    'size, kernel, padding',
    [
        ((4, 5), (4, 4), ((2, 2), (2, 2))),  # DCGAN
        ((4, 5), (3, 3), ((1, 2), (1, 2))),  # CycleGAN
        ((4, 5), (3, 3), ((2, 2), (2, 2))),  # StyleGAN2
        ((3, 2), (3, 4), ((2, 1), (0, 2))),
        ((1, 2), (4, 3), ((2, 2), (0, 0))),
    ],
)
def test_it_equals_the_plain_one(size, kernel, padding, channels):
    x, w = drawn((2, *size, channels[0]), (*kernel, *channels))
    assert doubling.pays(x.shape, w.shape, padding)
    ours = value_and_gradients(lambda x, w: doubling.convolution(x, w, padding), x, w)
    assert_all_close(ours, value_and_gradients(lambda x, w: plain(x, w, padding), x, w))
    # As jaxdl.nn.layers takes it, and with one tap more or less, which it does not.
    for more in (kernel, (kernel[0] + 2, kernel[1] - 1)):
        (w,) = drawn((*more, *channels))
        options = {'lhs_dilation': (2, 2), 'dimension_numbers': DIMENSIONS}
        found = layers.convolution(x, w, (1, 1), padding, **options)
        np.testing.assert_allclose(found, plain(x, w, padding), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('channels', [(3, 4), (5, 1)])
def test_a_penalty_of_gradients_has_the_same_gradient(channels):
    x, w = drawn((2, 3, 3, channels[0]), (3, 3, *channels))
    around = ((2, 2), (2, 2))

    def slopes(conv):
        def slope(x, w):
            return jax.grad(lambda x: jnp.sin(conv(x, w, around)).sum())(x)

        return value_and_gradients(slope, x, w)

    assert_all_close(slopes(doubling.convolution), slopes(plain))


@pytest.mark.parametrize(
    'kernel, padding, taken',
    [
        ((4, 4, 8, 4), ((2, 2), (2, 2)), True),
        ((3, 4, 8, 4), ((1, 1), (2, 2)), True),
        ((5, 4, 8, 4), ((2, 2), (2, 2)), False),
        ((4, 4, 8, 4), ((3, 2), (2, 2)), False),
        ((4, 4, 8, 4), ((2, 2), (-1, 2)), False),
        ((4, 4, 8, 4), ((0, 0), (0, 0)), False),  # nothing is left of one pixel
    ],
)
def test_which_one_is_taken(monkeypatch, kernel, padding, taken):
    calls = []
    monkeypatch.setattr(doubling, 'convolution', lambda *args: calls.append(args))
    x, w = jnp.zeros((2, 1, 5, 8)), jnp.zeros(kernel)
    options = {'lhs_dilation': (2, 2), 'dimension_numbers': DIMENSIONS}
    layers.convolution(x, w, (1, 1), padding, **options)
    assert bool(calls) is taken
    calls.clear()
    half, wide = jnp.bfloat16, {**options, 'lhs_dilation': (2, 1)}
    layers.convolution(x.astype(half), w.astype(half), (1, 1), [(4, 4)] * 2, **options)
    layers.convolution(x, w, (1, 1), [(4, 4)] * 2, **wide)
    with jax.default_matmul_precision('highest'):
        layers.convolution(x, w, (1, 1), [(4, 4)] * 2, **options)
    assert not calls
