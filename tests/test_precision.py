"""Networks in bfloat16 whose parameters, statistics and losses stay in float32."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.game import ema, supervised
from jaxdl.losses import mean_squared_error
from jaxdl.metrics import Mean, finish
from jaxdl.nn.layers import BatchNorm
from jaxdl.precision import computing_in

KEY = jax.random.key(0)


class Normed(nn.Module):
    """A dense layer, a norm with statistics, and another layer."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = BatchNorm(use_running_average=not train)(nn.Dense(16)(x))
        return nn.Dense(1)(nn.relu(x))


def loss(net, batch, key):
    y, net = net(batch['x'], key=key, train=True)
    return mean_squared_error(y, batch['y']), (net, {})


def measure(net, batch, key):
    y, _ = net.shadow(batch['x'])
    return {'mse': Mean.of((y - batch['y']) ** 2, better='lower')}


TASK = supervised(Normed(), loss, optax.adam(1e-2), measure, shadow=ema(0.9))
RNG = np.random.default_rng(0)
BATCH = {'x': RNG.normal(size=(32, 4)).astype(np.float32)}
BATCH['y'] = BATCH['x'][:, :1] * BATCH['x'][:, 1:2]


def trained(task):
    state = jax.jit(task.init)(KEY, BATCH)
    step = jax.jit(task.step)
    for i in range(20):
        state, _ = step(jax.random.fold_in(KEY, i), state, BATCH)
    return state, finish(jax.jit(task.measure)(KEY, state, BATCH))['mse']


def test_products_are_in_bfloat16_and_what_is_kept_is_not():
    task = computing_in(TASK, 'bf16')
    state = jax.eval_shape(task.init, KEY, BATCH)
    text = str(jax.make_jaxpr(task.step)(KEY, state, BATCH))
    dots = [line for line in text.splitlines() if 'dot_general' in line]
    assert dots and all('bf16' in line for line in dots)
    assert 'bf16' not in str(jax.make_jaxpr(TASK.step)(KEY, state_of(TASK), BATCH))
    after, metrics = jax.eval_shape(task.step, KEY, state, BATCH)
    kinds = {leaf.dtype for leaf in jax.tree.leaves((after, metrics))}
    assert jnp.bfloat16 not in kinds and jnp.dtype('float32') in kinds
    assert jax.tree.structure(after) == jax.tree.structure(state)


def state_of(task):
    return jax.eval_shape(task.init, KEY, BATCH)


def test_it_learns_what_float32_learns_but_not_to_the_bit():
    (_, full), (_, half) = trained(TASK), trained(computing_in(TASK, 'bf16'))
    assert full != half
    np.testing.assert_allclose(half, full, rtol=0.05)


def test_float32_is_the_task_itself():
    assert computing_in(TASK, 'float32') is TASK


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="unknown 'bf61'; did you mean 'bf16'"):
        computing_in(TASK, 'bf61')
