"""Maximum pooling with places: no gradient is lost, wherever XLA computes what is pooled."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from as_users import AS_USERS
from jax import lax

from jaxdl.nn.layers import BatchNorm, max_pool

WINDOWS = [
    ((3, 3), (2, 2), 1),
    ((2, 2), (2, 2), 0),
    ((3, 3), (1, 1), 1),
    ((2, 3), (3, 2), 1),
]


def optimised(fn, *args):
    """What users get: the other tests are compiled without optimisation."""
    return jax.jit(fn).lower(*args).compile(AS_USERS)(*args)


@partial(jax.jit, static_argnums=0)
def pooled_and_back(pool, x):
    """The maxima, and what ones for them give the image."""
    y, back = jax.vjp(pool, x)
    return y, back(jnp.ones_like(y))[0]


@pytest.mark.parametrize('window,strides,padding', WINDOWS)
@pytest.mark.parametrize('shape,kernel,stride', [((2, 24, 32, 3), 7, 2), ((3, 33, 25, 3), 3, 1)])
def test_every_window_hands_on_its_gradient_behind_a_norm(
    window, strides, padding, shape, kernel, stride
):
    # Here XLA computes the activation once for each fusion that reads it, rounded otherwise in
    # each. The norm's bias is added to every place, so its gradient is known: the sum over windows.
    rng, features = np.random.default_rng(0), 24
    x = rng.normal(size=shape).astype(np.float32)
    w = rng.normal(size=(kernel, kernel, 3, features)).astype(np.float32)
    norm = BatchNorm(use_running_average=False)
    memory = {'mean': jnp.zeros(features), 'var': jnp.ones(features)}

    def pooled(bias, w, x):
        y = lax.conv_general_dilated(
            x, w, (stride, stride), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )
        variables = {'params': {'scale': jnp.ones(features), 'bias': bias}, 'batch_stats': memory}
        y = jax.nn.leaky_relu(norm.apply(variables, y, mutable=['batch_stats'])[0], 1.0)
        return max_pool(y, window, strides=strides, padding=((padding, padding),) * 2)

    args = (jnp.full(features, 0.1), w, x)
    g = rng.normal(size=jax.eval_shape(pooled, *args).shape).astype(np.float32)
    got = optimised(jax.grad(lambda *args: (pooled(*args) * g).sum()), *args)
    want = g.astype(np.float64).sum((0, 1, 2))
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(g).sum((0, 1, 2)).max(), rtol=0)


@pytest.mark.parametrize('window,strides,padding', WINDOWS)
def test_the_gradient_of_a_window_of_nothing_but_minus_infinity_stays_in_the_image(
    window, strides, padding
):
    x = np.full((1, 8, 8, 2), -np.inf, np.float32)
    options = {'window': window, 'strides': strides, 'padding': ((padding, padding),) * 2}
    y, dx = pooled_and_back(partial(max_pool, **options), x)
    assert np.isneginf(y).all() and dx.sum() == y.size


@pytest.mark.parametrize('window,strides,padding', WINDOWS)
def test_nan_is_the_maximum(window, strides, padding):
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 2)).astype(np.float32)
    x[0, 3, 4, 0] = np.nan
    options = {'window': window, 'strides': strides, 'padding': ((padding, padding),) * 2}
    pool = partial(max_pool, **options)
    y, dx = pooled_and_back(pool, x)
    np.testing.assert_array_equal(y, jax.jit(pool)(x))
    assert np.isnan(y[..., 0]).any() and not np.isnan(y[..., 1]).any()
    assert dx.sum() == y.size
