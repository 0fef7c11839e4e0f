"""The GAN: what its players see and descend, with a condition and without."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.game import Player, game
from jaxdl.keys import key_for
from jaxdl.metrics import finish
from jaxdl.metrics.generators import Frechet
from jaxdl.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxdl.models.judge import Judge
from jaxdl.nn.spectral import spectral
from jaxdl.objectives.adversarial import HINGE, NON_SATURATING, WASSERSTEIN, adversarial, quality
from jaxdl.optim import clip_weights
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


def test_hinge_and_r1_are_what_the_critic_descends():
    task, state = gan(HINGE, r1=3.0)
    _, metrics = jax.jit(task.step)(KEY, state, BATCH)
    turn = jax.random.fold_in(key_for(KEY, 'critic'), 0)
    z = np.asarray(jax.random.normal(key_for(turn, 'noise'), (6, 3)))
    fake = by_hand(state, 'critic', by_hand(state, 'generator', z))
    hinge = np.maximum(0, 1 - by_hand(state, 'critic', X)) + np.maximum(0, 1 + fake)
    slope = np.asarray(state['critic'].net.params['rows']['kernel'])  # of a linear critic
    want = hinge.mean() + 3 / 2 * (slope**2).sum()
    assert metrics['critic/loss'].value() == pytest.approx(want, rel=1e-4)


def equal(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


IMAGES = {
    'x': jnp.asarray(RNG.normal(size=(6, 4, 4, 1)), jnp.float32),
    'noise': jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32),
    'mask': jnp.arange(6) < 5,
}


@pytest.fixture(scope='module')
def dcgan():
    """A small DCGAN with memories of two kinds, and a judge; its state, and that after a step."""
    task = adversarial(
        DCGANGenerator(1, 2, 1, 2),
        DCGANDiscriminator(2, 2, 1, constraint=spectral),
        quality(least=0.1),
        rules=HINGE,
        noise=3,
        generator_opt=optax.sgd(0.1),
        critic_opt=optax.chain(optax.sgd(10.0), clip_weights(0.01)),
        judges={'judge': Player(Judge((2,), 2, 3), None, None, lambda batch: (batch['x'],))},
    )
    state = jax.jit(task.init)(KEY, IMAGES)
    return task, state, jax.jit(task.step)(KEY, state, IMAGES)[0]


def test_a_turn_changes_one_player_and_its_memory(dcgan):
    task, state, after = dcgan
    assert equal(state['judge'], after['judge']) and after['judge'].net.frozen
    for mover, other in (('critic', 'generator'), ('generator', 'critic')):
        taken = {**task.method.players}
        taken[other] = taken[other]._replace(turns=0)
        alone = jax.jit(game(taken, lambda *_: {}).step)(KEY, state, IMAGES)[0]
        assert equal(state[other], alone[other]) and equal(state['judge'], alone['judge'])
        assert not equal(state[mover].net.params, alone[mover].net.params)
        assert not equal(state[mover].net.memory, alone[mover].net.memory)


def test_clipped_weights_stay_within_their_limit(dcgan):
    _, _, after = dcgan
    largest = [float(jnp.abs(p).max()) for p in jax.tree.leaves(after['critic'].net.params)]
    assert max(largest) == pytest.approx(0.01, rel=1e-5)


def test_quality_is_seen_by_the_judge_in_the_rows_that_count(dcgan):
    task, _, state = dcgan
    found = finish(jax.jit(task.measure)(KEY, state, IMAGES))
    judge = state['judge'].net
    fake = state['generator'].net(IMAGES['noise'][:5])[0]
    real, made = (judge(x, method='features')[0] for x in (IMAGES['x'][:5], fake))
    every = jnp.ones(5, bool)
    assert found['frechet'] == pytest.approx(Frechet.of(real, made, every).value(), rel=1e-4)
    assert found['classes'] == len(np.unique(judge(fake)[0].argmax(-1)))
    assert {'score', 'precision', 'recall'} < found.keys()
