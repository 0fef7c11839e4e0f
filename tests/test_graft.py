"""Transfer between phases: what is taken over, what stays fresh, and what cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.graft import graft
from jaxdl.models.mlp import MLP
from jaxdl.objectives import classifier
from jaxdl.task import keep_best


def state(seed, features=(4, 3), kept=False):
    task = classifier(MLP(features), optax.adam(0.1), classes=3)
    task = keep_best(task, 'accuracy') if kept else task
    batch = {'x': jnp.ones((2, 5)), 'y': jnp.zeros(2, jnp.int32), 'mask': jnp.ones(2, bool)}
    return task.step(jax.random.key(9), task.init(jax.random.key(seed), batch), batch)[0]


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


def test_the_nets_of_a_kept_state_are_both_replaced():
    got = graft()(state(0, kept=True), state(1, kept=True))
    trained = state(0)['net'].net
    for net in (got.live['net'].net,):
        assert all(jax.tree.leaves(same(net.params, trained.params)))
    np.testing.assert_array_equal(
        got.best['net'].net.params['Dense_0']['kernel'],
        state(0, kept=True).best['net'].net.params['Dense_0']['kernel'],
    )


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


def test_another_number_of_networks_is_refused():
    with pytest.raises(UsageError, match='2 networks before, and 1 now'):
        graft()(state(0, kept=True), state(1))
