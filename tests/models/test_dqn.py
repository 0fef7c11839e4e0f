"""Networks of action values: counts as published, and what dueling does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.dqn import (
    Dueling,
    Hidden,
    QNetwork,
    nature_dqn,
    nature_dueling,
    perceptron_dueling,
)
from jaxdl.models.mlp import MLP

KEY = jax.random.key(0)


def parameters(module, shape):
    found = jax.eval_shape(module.init, KEY, jax.ShapeDtypeStruct(shape, np.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(found['params']))


@pytest.mark.parametrize(
    ('module', 'shape', 'count'),
    [
        (nature_dqn(6), (1, 84, 84, 4), 1_687_206),
        (nature_dqn(4), (1, 84, 84, 4), 1_686_180),
        (nature_dueling(6), (1, 84, 84, 4), 3_293_863),
        (MLP((120, 84, 2)), (1, 4), 10_934),
        (perceptron_dueling((120, 42), 2), (1, 4), 10_893),
    ],
)
def test_parameters_are_counted(module, shape, count):
    assert parameters(module, shape) == count


def test_dueling_is_value_and_advantages_without_their_mean():
    head = Dueling(3, hidden=())
    x = jax.random.normal(KEY, (5, 4))
    params = head.init(KEY, x)['params']
    q = head.apply({'params': params}, x)
    value = x @ params['value']['Dense_0']['kernel']
    advantage = x @ params['advantage']['Dense_0']['kernel']
    np.testing.assert_allclose(q.mean(-1), value[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        q - q.mean(-1, keepdims=True),
        advantage - advantage.mean(-1, keepdims=True),
        rtol=1e-5,
        atol=1e-5,
    )


def test_streams_share_the_trunk_and_nothing_else():
    module = QNetwork(Hidden((6,)), Dueling(2, hidden=(5,)))
    params = module.init(KEY, jnp.zeros((1, 4)))['params']
    assert params.keys() == {'trunk', 'head'} and params['head'].keys() == {'value', 'advantage'}
    assert params['trunk']['Dense_0']['kernel'].shape == (4, 6)
    assert params['head']['value']['Dense_1']['kernel'].shape == (5, 1)
    assert params['head']['advantage']['Dense_1']['kernel'].shape == (5, 2)


def test_screens_are_divided_by_255_whatever_their_type():
    module = QNetwork(nature_dqn(3).trunk, MLP((3,)))
    x = jax.random.randint(KEY, (1, 36, 36, 4), 0, 256)
    variables = jax.jit(module.init)(KEY, x.astype(jnp.uint8))
    apply = jax.jit(module.apply)
    seen = apply(variables, x.astype(jnp.uint8))
    np.testing.assert_array_equal(seen, apply(variables, x.astype(jnp.float32)))
    assert (seen != apply(variables, x / 255)).any()
