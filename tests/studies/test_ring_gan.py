"""The ring, its coverage and the games on it, against counts made by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.ring_gan import trial
from jaxdl.data.sets.rings import CENTRES, STD, Modes, coverage, ring
from jaxdl.keys import key_at, key_for
from jaxdl.metrics import finish

KEY = jax.random.key(0)


def test_the_ring_has_eight_narrow_equal_modes_at_radius_two():
    np.testing.assert_allclose(np.hypot(*CENTRES.T), 2, rtol=1e-6)
    gaps = np.linalg.norm(CENTRES - np.roll(CENTRES, 1, axis=0), axis=1)
    np.testing.assert_allclose(gaps, 4 * np.sin(np.pi / 8), rtol=1e-5)
    points = np.asarray(ring(KEY, 20_000))
    offsets = points[:, None] - CENTRES
    mode = np.linalg.norm(offsets, axis=-1).argmin(1)
    np.testing.assert_allclose(np.bincount(mode) / 20_000, 1 / 8, atol=0.01)
    spread = offsets[np.arange(20_000), mode]
    np.testing.assert_allclose(spread.std(0), STD, rtol=0.03)
    np.testing.assert_allclose(spread.mean(0), 0, atol=0.001)


def test_real_points_cover_everything():
    numbers = finish(coverage(ring(KEY, 8000), jnp.ones(8000, bool)))
    assert numbers['modes'] == 8
    # In the plane, 3 standard deviations hold 1 - exp(-9/2) of a Gaussian.
    assert numbers['within_3_std'] == pytest.approx(1 - np.exp(-4.5), abs=0.004)
    # The mean length of a Gaussian vector in the plane (Rayleigh).
    assert numbers['distance'] == pytest.approx(STD * (np.pi / 2) ** 0.5, rel=0.03)


@pytest.mark.parametrize(
    ('per_mode', 'modes'),
    [
        ([200, 0, 0, 0, 0, 0, 0, 0], 1),
        ([190, 5, 5, 0, 0, 0, 0, 0], 3),
        # One per cent of 200 is 2: a mode with 1 sample does not count, one with 2 does.
        ([195, 1, 2, 2, 0, 0, 0, 0], 3),
        ([25] * 8, 8),
    ],
)
def test_a_mode_counts_from_one_per_cent_of_the_samples(per_mode, modes):
    points = jnp.asarray(np.repeat(CENTRES, per_mode, axis=0))
    numbers = finish(coverage(points, jnp.ones(len(points), bool)))
    assert numbers == {'modes': modes, 'distance': 0.0, 'within_3_std': 1.0}


def test_a_sample_further_than_three_deviations_is_no_hit_but_has_a_distance():
    points = jnp.asarray(CENTRES[:4] + np.array([[2.9], [3.1], [0], [20]]) * [[0, STD]])
    numbers = finish(coverage(points.astype(jnp.float32), jnp.ones(4, bool)))
    assert numbers['modes'] == 2
    assert numbers['within_3_std'] == 0.5
    assert numbers['distance'] == pytest.approx((2.9 + 3.1 + 0 + 20) * STD / 4, rel=1e-4)


def test_modes_add_up_before_they_are_judged():
    # Neither half covers mode 0 with one per cent of all 300 samples; together they do.
    half = Modes(jnp.array([2, 148, 0, 0, 0, 0, 0, 0]), jnp.int32(150))
    other = Modes(jnp.array([1, 0, 149, 0, 0, 0, 0, 0]), jnp.int32(150))
    assert (half + other).value() == 3


@pytest.mark.parametrize('padding', [0.0, 9.0, float('nan')])
def test_padding_is_not_counted_wherever_it_lies(padding):
    points = np.concatenate([CENTRES[:5], CENTRES[5:] + padding])
    numbers = finish(coverage(jnp.asarray(points), jnp.arange(8) < 5))
    assert numbers == {'modes': 5, 'distance': 0.0, 'within_3_std': 1.0}


@functools.cache
def state_of(**options):
    phase = trial(**options)
    batch = jax.jit(phase.train.make)(KEY, (), ())
    return phase, batch, jax.jit(phase.task.init)(key_for(KEY, 'init'), batch)


def changed(a, b):
    return not jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


@pytest.mark.parametrize(
    'loss', ['wasserstein', pytest.param('non_saturating', marks=pytest.mark.slow)]
)
def test_the_critic_takes_its_turns_and_the_generator_one(loss):
    phase, batch, state = state_of(loss=loss, critic_turns=3, batch=16)
    assert batch['x'].shape == (48, 2)
    after, metrics = jax.jit(phase.task.step)(KEY, state, batch)
    assert {name: int(seat.turn) for name, seat in after.items()} == {'critic': 3, 'generator': 1}
    assert all(changed(after[name].net.params, state[name].net.params) for name in after)
    weights = {name: float(metric.weight) for name, metric in metrics.items()}
    assert weights == {'critic/loss': 3, 'generator/loss': 1}


def critic_loss(penalty):
    phase, batch, state = state_of(critic_turns=1, batch=64, penalty=penalty)
    return float(jax.jit(phase.task.step)(KEY, state, batch)[1]['critic/loss'].total)


def test_the_penalty_is_added_with_its_weight():
    base = critic_loss(0.0)
    small, large = critic_loss(0.5) - base, critic_loss(2.0) - base
    assert small > 0
    assert large == pytest.approx(4 * small, rel=1e-4)


@pytest.mark.slow
def test_samples_move_onto_the_ring_and_are_shown():
    phase, _, first = state_of(batch=32, updates=1000)
    test = phase.tests['test'].source
    batch = test.make(KEY, (), ())

    def body(state, step):
        key = key_at(KEY, step)
        return phase.task.step(key, state, phase.train.make(key, (), ()))[0], None

    state, _ = jax.jit(lambda s: jax.lax.scan(body, s, jnp.arange(200)))(first)
    before, after = (finish(phase.task.measure(KEY, s, batch)) for s in (first, state))
    # At first a blob at the origin, two away from every mode; points spread evenly over the ring
    # itself are 0.5 from the nearest.
    assert before['distance'] > 1.5
    assert after['distance'] < 1.0
    shown = phase.tests['test'].show(phase.task.nets(state), batch, KEY)['samples']
    assert shown.points.shape == (1000, 2)
    np.testing.assert_array_equal(shown.reference, CENTRES)
