"""Forecasters: known values, parameter counts, and what shifting a series does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.forecast import (
    DLinear,
    FromLast,
    Linear,
    RNNForecaster,
    TransformerForecaster,
    moving_average,
)
from jaxdl.nn.recurrent import GRU, LSTM

X = jax.random.normal(jax.random.key(0), (2, 12, 3))
SMALL = partial(TransformerForecaster, width=8, depth=1, heads=2, mlp=8)
MODULES = {
    'linear': (Linear(4), 4 * 12 + 4),
    'dlinear': (DLinear(4, width=5), 2 * (4 * 12 + 4)),
    'lstm': (RNNForecaster(4, (LSTM(5),)), 4 * (3 * 5 + 25 + 5) + 5 * 12 + 12),
    'gru': (RNNForecaster(4, (GRU(5), GRU(5))), None),
    'transformer': (SMALL(4), None),
    'from_last': (FromLast(SMALL(4)), None),
}


@pytest.mark.parametrize('name', MODULES)
def test_shapes_and_sizes(name):
    module, count = MODULES[name]
    variables = module.init(jax.random.key(1), X)
    assert module.apply(variables, X).shape == (2, 4, 3)
    if count is not None:
        assert sum(x.size for x in jax.tree.leaves(variables)) == count


@pytest.mark.parametrize('width', [1, 4, 5])
def test_moving_average(width):
    before = (width - 1) // 2
    padded = np.pad(X, ((0, 0), (before, width - 1 - before), (0, 0)), mode='edge')
    expected = np.stack([padded[:, t : t + width].mean(1) for t in range(12)], axis=1)
    np.testing.assert_allclose(moving_average(X, width), expected, atol=1e-5)


def test_dlinear_by_hand():
    """Trend weights that take the last step and no seasonal ones: the last moving average."""
    kernel = jnp.zeros((12, 4)).at[-1].set(1.0)
    params = {
        'trend': {'time': {'kernel': kernel, 'bias': jnp.zeros(4)}},
        'seasonal': {'time': {'kernel': jnp.zeros((12, 4)), 'bias': jnp.ones(4)}},
    }
    found = DLinear(4, width=3).apply({'params': params}, X)
    last = (X[:, -2] + 2 * X[:, -1]) / 3
    np.testing.assert_allclose(found, np.repeat(last[:, None], 4, 1) + 1, atol=1e-5)


def test_each_feature_is_forecast_from_itself_by_a_linear_one():
    variables = DLinear(4).init(jax.random.key(1), X)
    gradient = jax.grad(lambda x: DLinear(4).apply(variables, x)[..., 0].sum())(X)
    assert gradient[..., 0].any() and not gradient[..., 1:].any()


def test_from_the_last_value_a_shift_is_a_shift():
    module = FromLast(SMALL(4))
    variables = module.init(jax.random.key(1), X)
    shift = jnp.array([[[5.0, -3.0, 0.0]]])
    found = module.apply(variables, X + shift) - module.apply(variables, X)
    np.testing.assert_allclose(found, jnp.broadcast_to(shift, found.shape), atol=1e-5)
    bare = module.inner
    variables = {'params': variables['params']['inner']}
    assert jnp.abs(bare.apply(variables, X + shift) - bare.apply(variables, X) - shift).max() > 0.1
