"""Transfer between phases: what is taken over, what stays fresh, and what cannot be."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.game import Player, beside, ema, game
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.keep_best import keep_best
from jaxdl.transfer import graft


def trained(task, seed, batch):
    """The state after one step."""

    @jax.jit
    def start(key):
        return task.step(jax.random.key(9), task.init(key, batch), batch)[0]

    return start(jax.random.key(seed))


def state(seed, features=(4, 3), kept=False):
    task = classifier(MLP(features), optax.adam(0.1), classes=features[-1])
    task = keep_best(task, 'accuracy') if kept else task
    batch = {'x': jnp.ones((2, 5)), 'y': jnp.zeros(2, jnp.int32), 'mask': jnp.ones(2, bool)}
    return trained(task, seed, batch)


def same(a, b):
    return jax.tree.map(lambda a, b: bool((a == b).all()), a, b)


def test_everything_but_the_head_comes_from_before():
    before, fresh = state(0), state(1)
    got = graft('params/Dense_1/*')(before, fresh)['net']
    layers = same(got.net.params, before['net'].net.params)
    assert layers['Dense_0'] == {'bias': True, 'kernel': True}
    assert layers['Dense_1']['kernel'] is False
    assert all(jax.tree.leaves(same(got.net.params['Dense_1'], fresh['net'].net.params['Dense_1'])))
    # The optimizer is the new phase's own.
    assert all(jax.tree.leaves(same(got.opt, fresh['net'].opt)))


@pytest.mark.parametrize('kept', [(True, True), (True, False), (False, True)])
def test_a_state_that_is_kept_gives_and_takes_one_net(kept):
    before = state(0, kept=kept[0])
    source = (before.live if kept[0] else before)['net'].net
    got = graft()(before, state(1, kept=kept[1]))
    for seats in (got.live, got.best) if kept[1] else (got,):
        assert all(jax.tree.leaves(same(seats['net'].net.params, source.params)))


class Pair(nn.Module):
    """An encoder with a norm, and a head."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(4, name='head')(Encoder(name='encoder')(x, train=train))


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Dense(4, name='first')(x)
        return nn.BatchNorm(use_running_average=not train)(x)


def of(module, seed, *, shadow=None):
    """The state of a game with one player, after a step that moves its memory."""
    task = classifier(module, optax.sgd(0.1), classes=4, shadow=shadow)
    x = jax.random.normal(jax.random.key(seed), (6, 5))
    batch = {'x': x, 'y': jnp.zeros(6, jnp.int32), 'mask': jnp.ones(6, bool)}
    return trained(task, seed, batch)


def test_a_network_becomes_a_part_of_another_and_is_taken_out_again():
    whole, pair = of(Encoder(), 0), of(Pair(), 1)
    got = graft(parts={'encoder/*': '*'})(whole, pair)['net'].net
    source, fresh = whole['net'].net, pair['net'].net
    assert all(jax.tree.leaves(same(got.params['encoder'], source.params)))
    memory = got.memory['batch_stats']['encoder'], source.memory['batch_stats']
    assert all(jax.tree.leaves(same(*memory)))
    assert all(jax.tree.leaves(same(got.params['head'], fresh.params['head'])))
    back = graft(parts={'*': 'encoder/*'})(pair, whole)['net'].net
    assert all(jax.tree.leaves(same(back.params, fresh.params['encoder'])))
    assert all(
        jax.tree.leaves(same(back.memory['batch_stats'], fresh.memory['batch_stats']['encoder']))
    )


def test_a_slow_copy_starts_from_the_net_where_there_was_none():
    before = of(Encoder(), 0)
    got = graft()(before, of(Encoder(), 1, shadow=ema(0.9)))['net'].net
    assert all(jax.tree.leaves(same(got.shadow.params, before['net'].net.params)))


def judged(seed):
    """A game of a net and a frozen judge of the same kind."""

    def loss(nets, batch, key):
        y, net = nets['net'](batch['x'])
        return (y - nets['judge'](batch['x'])[0]).mean(), ({**nets, 'net': net}, {})

    def inputs(batch):
        return (batch['x'],)

    players = {
        'net': Player(MLP((4, 3)), loss, optax.sgd(0.1), inputs),
        'judge': Player(MLP((4, 3)), None, None, inputs),
    }
    task = game(players, lambda nets, batch, key: {})
    return jax.jit(task.init)(jax.random.key(seed), {'x': jnp.ones((2, 5))})


def test_nets_take_from_nets_of_other_names_in_tasks_with_other_players():
    before, fresh = state(0), judged(1)
    got = graft(nets={'judge': 'net'})(before, fresh)
    assert all(jax.tree.leaves(same(got['judge'].net.params, before['net'].net.params)))
    assert all(jax.tree.leaves(same(got['net'].net.params, fresh['net'].net.params)))
    assert got['judge'].net.frozen
    for nets, message in (
        ({'juge': 'net'}, "no net 'juge' now; did you mean 'judge'"),
        ({'judge': 'nett'}, "no net 'nett' before; did you mean 'net'"),
        (None, "no net 'judge' before"),
    ):
        with pytest.raises(UsageError, match=message):
            graft(nets=nets)(before, fresh)


def test_what_was_learned_first_is_handed_through_a_phase_beside_it():
    def read(batch):
        return (batch['x'],)

    def task(features):
        own = classifier(MLP(features), optax.adam(0.1), classes=features[-1])
        return beside(own, {'first': Player(MLP((4, 3)), None, None, inputs=read)})

    batch = {'x': jnp.ones((2, 5)), 'y': jnp.zeros(2, jnp.int32), 'mask': jnp.ones(2, bool)}
    before, parts = state(0), {'Dense_0/*': 'Dense_0/*'}
    learned = before['net'].net.params['Dense_0']
    for source, classes in (('net', 3), ('first', 2), ('first', 6)):
        now = task((4, classes))
        take = graft(nets={'net': source, 'first': source}, parts=parts)
        begun = jax.jit(take)(before, jax.jit(now.init)(jax.random.key(classes), batch))
        for name in ('net', 'first'):
            assert all(jax.tree.leaves(same(begun[name].net.params['Dense_0'], learned)))
        # No buffer is there twice: the state is donated.
        before, _ = jax.jit(now.step, donate_argnums=1)(jax.random.key(9), begun, batch)
        moved = same(before['net'].net.params['Dense_0'], before['first'].net.params['Dense_0'])
        assert not moved['kernel']


def test_a_fresh_head_may_have_another_size():
    got = graft('params/Dense_1/*')(state(0, features=(4, 7)), state(1))
    assert got['net'].net.params['Dense_1']['kernel'].shape == (4, 3)


@pytest.mark.parametrize(
    ('before', 'fresh', 'message'),
    [
        ((4, 7), (), r"'params/Dense_1/bias' has the shape \[7\] before, and \[3\] now"),
        ((3,), ('params/Dense_0/*',), "the network before has no 'params/Dense_1/bias'"),
        ((4, 3), ('params/Dense_9/*',), r"'params/Dense_9/\*' matches no array"),
    ],
)
def test_what_does_not_fit_is_named(before, fresh, message):
    with pytest.raises(UsageError, match=message):
        graft(*fresh)(state(0, features=before), state(1))


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        ({'encoder': '*'}, r"the part 'encoder' is not '\*'"),
        ({'coder/*': '*'}, r"'coder/\*' matches no array"),
        ({'encoder/*': 'coder/*'}, 'the network before has no'),
    ],
)
def test_parts_that_are_not_there_are_named(parts, message):
    with pytest.raises(UsageError, match=message):
        graft(parts=parts)(of(Encoder(), 0), of(Pair(), 1))
