"""What a step moves, of optimizers and players that leave something as it is; nothing is run."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.engine.moving import parameters, unmoved
from jaxdl.game import Player, ema, game, supervised
from jaxdl.metrics import Mean
from jaxdl.objectives.keep_best import keep_best
from jaxdl.optim import decayed, freeze

BATCH = {'x': jax.ShapeDtypeStruct((4, 3), jnp.float32)}


class Two(nn.Module):
    """A trunk of 3 x 5 + 5 parameters and a head of 5 x 2 + 2."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name='head')(nn.relu(nn.Dense(5, name='trunk')(x)))


def loss(net, batch, key):
    y, net = net(batch['x'], key=key, train=True)
    return (y**2).mean(), (net, {})


def counted(task):
    state = jax.eval_shape(task.init, jax.random.key(0), BATCH)
    return {name: tuple(it) for name, it in parameters(task.step, state, BATCH).items()}


def trunk(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == 'trunk', params)


ADAM = optax.adamw(1e-2, mask=decayed)


@pytest.mark.parametrize(
    ('opt', 'moving'),
    [
        (ADAM, 32),
        (optax.chain(optax.clip_by_global_norm(1.0), ADAM, optax.scale(0.5)), 32),
        (freeze(ADAM, 'trunk/*'), 12),
        (freeze(ADAM, '*/bias'), 25),
        (freeze(ADAM, '*'), 0),
        (optax.set_to_zero(), 0),
        # A mask alone hands the gradient on: only what is set to zero stands still.
        (optax.masked(ADAM, trunk), 32),
        (optax.chain(ADAM, optax.masked(optax.set_to_zero(), trunk)), 12),
        (optax.chain(freeze(ADAM, 'trunk/*'), optax.clip_by_global_norm(1.0)), 12),
        (optax.chain(freeze(ADAM, 'trunk/*'), optax.scale_by_learning_rate(lambda n: 0.1)), 12),
        # Decay after freezing moves all the same.
        (optax.chain(freeze(ADAM, 'trunk/*'), optax.add_decayed_weights(0.1)), 32),
        (optax.multi_transform({True: ADAM, False: optax.set_to_zero()}, trunk), 20),
    ],
)
def test_what_an_optimizer_leaves_as_it_is(opt, moving):
    task = supervised(Two(), loss, opt, lambda *_: {})
    assert counted(task) == {'net': (32, moving)}


@pytest.mark.parametrize('options', [{'accumulate': 2}, {'shadow': ema(0.9)}])
def test_accumulation_and_a_slow_copy_change_nothing_of_it(options):
    task = supervised(Two(), loss, freeze(ADAM, 'trunk/*'), lambda *_: {}, **options)
    assert counted(task) == {'net': (32, 12)}


def test_a_kept_best_state_is_counted_once():
    task = supervised(Two(), loss, freeze(ADAM, 'trunk/*'), lambda *_: {})
    assert counted(keep_best(task, 'loss', patience=1)) == {'net': (32, 12)}


def test_a_judge_never_moves_and_players_are_counted_apart():
    def versus(name):
        def descended(nets, batch, key):
            y, net = nets[name](batch['x'])
            return (y**2).mean() + nets['judge'](batch['x'])[0].mean(), (
                {**nets, name: net},
                {'norm': Mean.of((y**2).sum())},
            )

        return descended

    def inputs(batch):
        return (batch['x'],)

    players = {
        'a': Player(Two(), versus('a'), ADAM, inputs),
        'b': Player(Two(), versus('b'), freeze(ADAM, 'head/*'), inputs),
        'judge': Player(Two(), None, None, inputs),
    }
    task = game(players, lambda *_: {})
    assert counted(task) == {'a': (32, 32), 'b': (32, 20), 'judge': (32, 0)}


def still(fn, x=None):
    x = np.zeros(3, np.float32) if x is None else x
    return unmoved(lambda x: (fn(x),), (x,), moved=0)[0]


@pytest.mark.parametrize(
    ('fn', 'expected'),
    [
        (lambda x: x, True),
        (lambda x: x + jnp.zeros(3), True),
        (lambda x: x + 0 * jnp.sin(x), True),
        (lambda x: jnp.where(x > 0, x, x), True),
        (lambda x: jax.lax.cond(x[0] > 0, lambda x: x, lambda x: x + 0.0, x), True),
        (lambda x: jax.lax.cond(x[0] > 0, lambda x: x, lambda x: x + 1.0, x), False),
        (lambda x: jax.lax.scan(lambda c, _: (c, c.sum()), x, None, 3)[0], True),
        (lambda x: jax.lax.scan(lambda c, _: (c * 2, c.sum()), x, None, 3)[0], False),
        (lambda x: jax.jit(lambda x: x - jnp.zeros_like(x))(x), True),
        (lambda x: jax.lax.fori_loop(0, 3, lambda i, x: x, x), True),
        (lambda x: jnp.zeros(3), False),
        (lambda x: x[::-1], False),
        (lambda x: -x, False),
        (lambda x: x + 1e-9, False),
        (lambda x: 0.0 - x, False),
    ],
)
def test_values_that_come_out_as_they_went_in(fn, expected):
    assert still(fn) is expected


def test_what_was_made_larger_is_not_what_it_was():
    assert not still(lambda x: x + jnp.zeros((2, 1)), np.zeros((1, 3), np.float32))
