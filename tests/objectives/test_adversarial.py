"""The GAN: what its players see and descend, with a condition and without."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.keys import key_for
from jaxdl.objectives.adversarial import NON_SATURATING, WASSERSTEIN, adversarial
from jaxdl.task import Labels

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 2)).astype(np.float32), np.array([0, 1, 2, 2, 1, 0])
BATCH = {'x': jnp.asarray(X), 'y': jnp.asarray(Y), 'mask': jnp.ones(6, bool)}


class Told(nn.Module):
    """A linear map of rows beside what a condition is mapped to."""

    width: int

    @nn.compact
    def __call__(self, rows, y=None):
        out = nn.Dense(self.width, name='rows')(rows)
        return out if y is None else out * nn.Embed(3, self.width, name='told')(y)


def gan(rules, **options):
    sgd = {'generator_opt': optax.sgd(0.1), 'critic_opt': optax.sgd(0.1)}
    task = adversarial(Told(2), Told(1), lambda *_: {}, rules=rules, noise=3, **sgd, **options)
    return task, jax.jit(task.init)(KEY, BATCH)


def by_hand(state, name, rows, y=None):
    """A player's output, in NumPy."""
    params = jax.device_get(state[name].net.params)
    out = rows @ params['rows']['kernel'] + params['rows']['bias']
    return out if y is None else out * params['told']['embedding'][y]


@pytest.mark.parametrize('condition', [None, 'y'])
def test_both_players_are_told_the_condition(condition):
    task, state = gan(WASSERSTEIN, condition=condition)
    y = Y if condition else None
    after, metrics = jax.jit(task.step)(KEY, state, BATCH)

    def fake(name):
        turn = jax.random.fold_in(key_for(KEY, name), 0)
        z = np.asarray(jax.random.normal(key_for(turn, 'noise'), (6, 3)))
        return by_hand(state, 'generator', z, y)

    scores = by_hand(state, 'critic', fake('critic'), y) - by_hand(state, 'critic', X, y)
    assert metrics['critic/loss'].value() == pytest.approx(scores.mean(), rel=1e-4)
    # The generator moves second, against the critic that has moved.
    judged = by_hand(after, 'critic', fake('generator'), y)
    assert metrics['generator/loss'].value() == pytest.approx(-judged.mean(), rel=1e-4)


def test_a_condition_that_no_row_has_moves_nothing_of_it():
    batch = {**BATCH, 'y': jnp.asarray(Y % 2)}
    task, state = gan(NON_SATURATING, condition='y', penalty=1.0)
    after, _ = jax.jit(task.step)(KEY, state, batch)
    for name in ('critic', 'generator'):
        before, now = (s[name].net.params['told']['embedding'] for s in (state, after))
        assert (before[:2] != now[:2]).any(-1).all() and (before[2] == now[2]).all()


def test_classes_of_a_condition_are_checked():
    task, _ = gan(WASSERSTEIN, condition='y', classes=('a', 'b', 'c'))
    assert task.labels == {'y': Labels(3, names=('a', 'b', 'c'))}
    assert gan(WASSERSTEIN, condition='y')[0].labels == {}
    with pytest.raises(UsageError, match='classes are those of a condition'):
        gan(WASSERSTEIN, classes=3)
