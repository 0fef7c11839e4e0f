"""First states with weights from elsewhere: the one net they fit, or a line that says why none."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxdl.errors import UsageError
from jaxdl.game import ema
from jaxdl.net import Net
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.keep_best import keep_best
from jaxdl.transfer import with_variables, with_weights

KEYS = jax.random.split(jax.random.key(0), 2)
X = jnp.asarray(toy.X[:4])
BATCH = {'x': X, 'y': jnp.asarray(toy.Y[:4]), 'mask': jnp.ones(4, bool)}


class Alike(nn.Module):
    """One layer, which has the name and the shape of one of `toy.Small`'s."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(8, use_bias=False)(x)


def seeds(*modules):
    """A state of several nets, with a leading axis of two seeds."""

    def init(key):
        fold = jax.random.fold_in
        return {f'p{i}': Net.init(m, fold(key, i), X) for i, m in enumerate(modules)}

    return jax.vmap(init)(KEYS)


def variables(module=None, seed=7):
    net = Net.init(module or toy.Small(), jax.random.key(seed), X)
    moved = jax.tree.map(lambda x: np.asarray(x) + 0.5, net.memory)
    return {'params': jax.tree.map(np.asarray, net.params), **moved}


def said(state, given, **more):
    with pytest.raises(UsageError) as raised:
        with_variables(state, given, 'w.npz', **more)
    assert '\n' not in str(raised.value) and str(raised.value).startswith('--init-from w.npz: ')
    return str(raised.value).removeprefix('--init-from w.npz: ')


def same(net, given):
    """Whether every seed of a net has these variables."""
    own = {'params': net.params, **net.memory}
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, np.stack([y, y])), own, given)


def test_the_net_that_fits_takes_them_in_every_seed_and_the_others_stay():
    state = seeds(Alike(), toy.Small())
    after = with_variables(state, variables(), 'w.npz')
    same(after['p1'], variables())
    jax.tree.map(np.testing.assert_array_equal, after['p0'], state['p0'])
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert [x.dtype for x in jax.tree.leaves(after)] == [x.dtype for x in jax.tree.leaves(state)]


def test_shadows_and_the_best_so_far_begin_as_the_net_does():
    shadowed = classifier(toy.Small(), toy.optax.sgd(0.1), classes=2, shadow=ema(0.9))
    task = keep_best(shadowed, 'accuracy')
    state = jax.vmap(lambda key: task.init(key, BATCH))(KEYS)
    after = with_variables(state, variables(), 'w.npz')
    for part in (after.live, after.best):
        same(part['net'].net, variables())
        same(part['net'].net.shadow, variables())
    assert not np.shares_memory(
        np.asarray(after.live['net'].net.params['Dense_0']['kernel']),
        np.asarray(after.best['net'].net.params['Dense_0']['kernel']),
    )
    jax.tree.map(np.testing.assert_array_equal, after.live['net'].opt, state.live['net'].opt)


def test_what_was_left_out_on_purpose_keeps_its_own_initial_values():
    given, state = variables(), seeds(toy.Small())
    del given['params']['Dense_1']
    assert said(state, given).startswith("no array 'params/Dense_1/bias' for the one")
    after = with_variables(state, given, 'w.npz', without=('params/Dense_1/*',))['p0']
    head = after.params.pop('Dense_1')
    jax.tree.map(np.testing.assert_array_equal, head, state['p0'].params['Dense_1'])
    same(after, given)


def test_an_array_of_another_shape_is_named_with_both_and_the_way_out():
    given, state = variables(), seeds(nn.Dense(2), toy.Small())
    given['params']['Dense_1']['kernel'] = np.zeros((8, 10), np.float32)
    assert said(state, given) == (
        "'params/Dense_1/kernel' is [8, 10], not [8, 2] "
        "(`jaxdl convert --without 'params/Dense_1/*'` makes a file without it) in p1"
    )
    given['params']['Dense_1']['bias'] = np.zeros(10, np.float32)
    assert said(state, given).endswith(' in p1 (and 1 more)')


def test_an_array_there_is_no_place_for_is_named_with_the_nearest():
    given = variables()
    given['params']['Dense_2'] = given['params']['Dense_1']
    line = said(seeds(toy.Small()), given)
    assert line.startswith(
        "no place for 'params/Dense_2/bias'; did you mean 'params/Dense_1/bias'?"
    )
    assert line.endswith(' in p0 (and 1 more)')


def test_weights_that_fit_several_nets_fit_none():
    line = said(seeds(toy.Small(), nn.Dense(2), toy.Small()), variables())
    assert line == 'it fits p0 and p2, and must fit one'


def test_a_state_without_nets():
    assert said({'x': jnp.zeros((2, 3))}, variables()) == 'there is no net in the state'


# ---- from another run ---------------------------------------------------------------------------


def as_saved(node):
    """A state as a checkpoint gives it back: nested dicts of arrays."""
    if isinstance(node, Net):
        return {name: as_saved(getattr(node, name)) for name in ('params', 'memory', 'shadow')}
    if hasattr(node, '_asdict'):
        node = node._asdict()
    if isinstance(node, dict):
        return {name: as_saved(child) for name, child in node.items() if child is not None}
    return np.asarray(node) if isinstance(node, jax.Array) else {}


def trained(*, kept=False, shadow=None):
    """The states of a classifier's task, with a leading axis of two seeds."""
    task = classifier(toy.Small(), toy.optax.sgd(0.1), classes=2, shadow=shadow)
    task = keep_best(task, 'accuracy') if kept else task
    return jax.vmap(lambda key: task.init(key, BATCH))(KEYS)


def other(tree):
    return jax.tree.map(lambda x: x + 1, tree)


@pytest.mark.parametrize('kept', [(False, False), (True, True), (True, False), (False, True)])
def test_the_outcome_of_another_run_is_taken_player_by_player(kept):
    saved = trained(kept=kept[0])
    best = other(saved.best) if kept[0] else saved
    saved = saved._replace(best=best, found=saved.found + 5) if kept[0] else saved
    state = trained(kept=kept[1])
    after = with_weights(state, as_saved(saved), 'runs/x')
    for part in (after.live, after.best) if kept[1] else (after,):
        for got, want in zip(
            jax.tree.leaves((part['net'].net.params, part['net'].net.memory)),
            jax.tree.leaves((best['net'].net.params, best['net'].net.memory)),
            strict=True,
        ):
            np.testing.assert_array_equal(got, want)


def test_of_a_run_that_has_no_best_state_yet_the_newest_is_taken():
    saved = trained(kept=True)
    saved = saved._replace(live=other(saved.live))  # trained, and not reviewed
    after = with_weights(trained(), as_saved(saved), 'runs/x')['net'].net
    jax.tree.map(np.testing.assert_array_equal, after.params, saved.live['net'].net.params)


def test_a_slow_copy_begins_as_the_net_where_there_was_none():
    saved = other(trained())
    after = with_weights(trained(shadow=ema(0.9)), as_saved(saved), 'runs/x')['net'].net
    jax.tree.map(np.testing.assert_array_equal, after.shadow.params, saved['net'].net.params)


def test_what_another_run_does_not_have_is_named():
    saved = as_saved(trained())
    for state, message in (
        (seeds(toy.Small()), r"--init-from runs/x: no net 'p0'"),
        ({'nett': trained()['net']}, r"no net 'nett'; did you mean 'net'"),
    ):
        with pytest.raises(UsageError, match=message):
            with_weights(state, saved, 'runs/x')
    saved['net']['net']['params']['Dense_0']['kernel'] = np.zeros((2, 3, 8))
    with pytest.raises(UsageError, match=r"'net/params/Dense_0/kernel' is \[3, 8\], not \[5, 8\]"):
        with_weights(trained(), saved, 'runs/x')
    del saved['net']['net']['params']['Dense_0']
    with pytest.raises(UsageError, match="no array 'net/params/Dense_0/kernel'"):
        with_weights(trained(), saved, 'runs/x')
