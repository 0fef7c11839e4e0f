"""Replays against numpy: the ring, the sum tree, priorities, moves that are joined."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.rl.env import Transition
from jaxdl.rl.n_step import join_moves, n_step
from jaxdl.rl.prioritised import prioritised
from jaxdl.rl.replay import Drawn, distinct, empty_ring, put, uniform
from jaxdl.rl.sum_tree import at_leaves, empty_tree, find, set_leaves

KEY = jax.random.key(0)
STEP, REAL = jnp.int32(0), jnp.bool(True)


def ring(capacity, *groups):
    held = empty_ring({'n': jnp.int32(0), 'v': jnp.zeros(2)}, capacity)
    for group in groups:
        n = np.array(group, np.int32)
        held = jax.jit(put)(held, {'n': n, 'v': np.stack([n, -n], 1).astype(np.float32)})
    return held


@pytest.mark.parametrize(
    ('groups', 'held', 'position', 'size'),
    [
        ([], [0, 0, 0, 0, 0], 0, 0),
        ([[1, 2], [3, 4]], [1, 2, 3, 4, 0], 4, 4),
        ([[1, 2], [3, 4], [5, 6]], [6, 2, 3, 4, 5], 1, 5),
        ([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]], [6, 7, 8, 9, 10], 0, 5),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], [6, 7, 8, 9, 5], 4, 5),
    ],
)
def test_the_ring_holds_the_latest(groups, held, position, size):
    found = ring(5, *groups)
    assert found.entries['n'].tolist() == held
    np.testing.assert_array_equal(
        found.entries['v'], np.stack([held, -np.array(held)], 1).astype(np.float32)
    )
    assert (int(found.position), int(found.size)) == (position, size)
    n = jnp.array([90, 91], jnp.int32)
    same = put(found, {'n': n, 'v': jnp.ones((2, 2))}, jnp.bool(False))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), same, found))


def test_more_than_the_capacity_at_once_is_an_error():
    with pytest.raises(ValueError, match='3 transitions at once do not fit .* capacity 2'):
        ring(2, [1, 2, 3])


# ---- How batches are drawn ----------------------------------------------------------------------


def transitions(numbers):
    """Transitions told apart by their observation."""
    n = jnp.asarray(numbers, jnp.float32)
    return Transition(n[:, None], n.astype(jnp.int32), n, jnp.ones(len(n)), n[:, None] + 1)


ONE = jax.tree.map(lambda x: x[0], transitions([0]))


def filled(replay, *groups):
    state = replay.empty(ONE, len(groups[0]))
    for group in groups:
        over = jnp.zeros(len(group), jnp.bool)
        state = replay.add(state, transitions(group), over, REAL)
    return state


def draw(replay, state, batch, step=STEP, keys=None):
    """Batches by so many keys, or one."""
    if keys is None:
        return jax.jit(lambda: replay.sample(KEY, state, batch, step))()
    keys = jax.random.split(KEY, keys)
    return jax.jit(jax.vmap(lambda key: replay.sample(key, state, batch, step)))(keys)


def test_samples_are_uniform_over_what_is_there():
    replay = uniform(8)
    found = draw(replay, filled(replay, [3, 4, 5]), 6000)
    counts = np.bincount(found.transitions.action)
    assert counts[:3].tolist() == [0, 0, 0] and (found.weight == 1).all()
    np.testing.assert_allclose(counts[3:] / 6000, [1 / 3] * 3, atol=0.03)
    np.testing.assert_array_equal(found.transitions.obs[:, 0], found.transitions.action)
    assert set(np.asarray(draw(uniform(4), filled(uniform(4), [1, 2, 3], [4, 5, 6]), 400).places))


@pytest.mark.parametrize(
    ('capacity', 'groups', 'there'),
    [(8, [[3, 4, 5]], {3, 4, 5}), (4, [[1, 2, 3], [4, 5, 6]], {3, 4, 5, 6})],
)
def test_distinct_batches_repeat_nothing_and_every_subset_is_as_likely(capacity, groups, there):
    replay = distinct(capacity)
    found = np.asarray(draw(replay, filled(replay, *groups), 2, keys=3000).transitions.action)
    pairs, counts = np.unique(np.sort(found, 1), axis=0, return_counts=True)
    assert set(found.ravel()) == there and (pairs[:, 0] < pairs[:, 1]).all()
    ways = len(there) * (len(there) - 1) // 2
    assert len(pairs) == ways
    np.testing.assert_allclose(counts / 3000, 1 / ways, atol=0.04)


def test_distinct_batches_of_all_there_is_are_the_latest():
    replay = distinct(4)
    found = draw(replay, filled(replay, [1, 2], [3, 4], [5, 6]), 4)
    assert sorted(found.transitions.action.tolist()) == [3, 4, 5, 6]


# ---- The sum tree -------------------------------------------------------------------------------


@pytest.mark.parametrize('places', [1, 2, 5, 8])
def test_the_sum_tree_is_cumulative_sums(places):
    rng = np.random.default_rng(places)
    tree, plain = empty_tree(places), np.zeros(places)
    setting, finding = jax.jit(set_leaves), jax.jit(find)
    for _ in range(6):
        at = rng.integers(places, size=3)
        plain[at] = plain[at] * 0 + rng.integers(1, 9, size=places)[at]
        tree = setting(tree, jnp.asarray(at), jnp.asarray(plain[at], jnp.float32))
    np.testing.assert_array_equal(at_leaves(tree, jnp.arange(places)), plain)
    assert float(tree[1]) == plain.sum()
    targets = np.arange(0, plain.sum(), 0.5)  # both ends of every stretch are among them
    expected = np.searchsorted(np.cumsum(plain), targets, side='right')
    np.testing.assert_array_equal(finding(tree, jnp.asarray(targets, jnp.float32)), expected)


def test_a_place_of_no_value_is_never_found():
    tree = set_leaves(empty_tree(8), jnp.array([2, 5]), jnp.array([3.0, 1.0]))
    targets = jnp.array([0.0, 2.999, 3.0, 3.999, 4.0, 4.001, 99.0])  # at the end, and beyond
    assert find(tree, targets).tolist() == [2, 2, 5, 5, 5, 5, 5]


# ---- Priorities ---------------------------------------------------------------------------------


def by_errors(alpha=0.5, beta=1.0, least=0.01):
    return prioritised(8, alpha=alpha, beta=lambda step: beta, least=least)


def with_errors(replay, errors, groups=((0, 1), (2, 3), (4, 5))):
    state = filled(replay, *groups)
    n = len(errors)
    rows = Drawn(transitions(range(n)), jnp.ones(n), jnp.arange(n))
    return replay.update(state, rows, jnp.asarray(errors, jnp.float32), REAL)


ERRORS = [0.99, -3.99, 0.24, -0.08]


@pytest.mark.parametrize(('alpha', 'beta'), [(0.5, 1.0), (1.0, 0.4), (0.0, 0.7)])
def test_rows_are_drawn_by_their_errors_and_weighed_against_it(alpha, beta):
    replay = by_errors(alpha, beta)
    found = draw(replay, with_errors(replay, ERRORS), 3, keys=4000)
    # The last two were never drawn: they have what they came with.
    priority = np.append((np.abs(ERRORS) + 0.01) ** alpha, [1.0, 1.0])
    chance = priority / priority.sum()
    counts = np.bincount(np.asarray(found.places).ravel(), minlength=6) / 12_000
    np.testing.assert_allclose(counts, chance, atol=0.02)
    weight = (6 * chance) ** -beta
    rows = np.asarray(found.places)
    expected = weight[rows] / weight[rows].max(1, keepdims=True)
    np.testing.assert_allclose(found.weight, expected, rtol=1e-5)


def test_a_batch_has_a_row_from_each_stretch():
    replay = by_errors(alpha=1.0)
    state = with_errors(replay, [0.99] * 6)
    found = draw(replay, state, 6, keys=50)
    np.testing.assert_array_equal(found.places, np.broadcast_to(np.arange(6), (50, 6)))


def test_new_rows_have_the_highest_priority_and_beta_is_annealed():
    replay = prioritised(4, alpha=1.0, beta=optax.linear_schedule(0.0, 1.0, 10), least=0.5)
    state = with_errors(replay, [7.5, 0.5], groups=((0, 1), (2, 3)))
    np.testing.assert_array_equal(state.tree[4:], [8, 1, 1, 1])
    state = replay.add(state, transitions([4, 5]), jnp.zeros(2, jnp.bool), REAL)
    np.testing.assert_array_equal(state.tree[4:], [8, 8, 1, 1])  # in the place of the oldest
    np.testing.assert_array_equal(state.ring.entries.action, [4, 5, 2, 3])
    assert (draw(replay, state, 4, step=jnp.int32(0)).weight == 1).all()
    late = draw(replay, state, 18, step=jnp.int32(10))
    np.testing.assert_allclose(late.weight, np.where(late.places < 2, 1 / 8, 1), rtol=1e-6)


def test_what_is_not_real_changes_no_priority():
    replay = by_errors()
    state = with_errors(replay, ERRORS)
    rows = Drawn(transitions(range(2)), jnp.ones(2), jnp.arange(2))
    no = jnp.bool(False)
    same = replay.update(state, rows, jnp.array([50.0, 60.0]), no)
    same = replay.add(same, transitions([8, 9]), jnp.zeros(2, jnp.bool), no)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), same, state))


def test_nothing_drawn_from_nothing_is_finite():
    replay = by_errors()
    found = draw(replay, replay.empty(ONE, 2), 4)
    assert bool(jnp.isfinite(found.weight).all()) and found.places.tolist() == [0] * 4


# ---- Returns of n steps -------------------------------------------------------------------------


def walked(rng, moves, envs):
    """Transitions and ends of so many moves: terminal ones, and truncated ones that go on."""
    terminal = rng.random((moves, envs)) < 0.2
    over = terminal | (rng.random((moves, envs)) < 0.2)
    rows = Transition(
        obs=rng.normal(size=(moves, envs, 2)).astype(np.float32),
        action=rng.integers(3, size=(moves, envs)).astype(np.int32),
        reward=rng.normal(size=(moves, envs)).astype(np.float32),
        discount=np.where(terminal, 0, 0.9).astype(np.float32),
        next_obs=rng.normal(size=(moves, envs, 2)).astype(np.float32),
    )
    return rows, over


def by_loop(rows, over, start, n, env):
    """The return of n steps from a move on, by the definition."""
    total, factor = 0.0, 1.0
    for at in range(start, start + n):
        total += factor * rows.reward[at, env]
        factor *= rows.discount[at, env]
        if over[at, env]:
            break
    return total, factor, rows.next_obs[at, env]


@pytest.mark.parametrize('n', [2, 3])
def test_joined_moves_are_the_sums_of_a_loop(n):
    rows, over = walked(np.random.default_rng(n), 40, 3)
    assert (over & (rows.discount > 0)).any() and (rows.discount == 0).any()
    replay = n_step(uniform(200), n)
    state = replay.empty(jax.tree.map(lambda x: jnp.asarray(x[0, 0]), rows), 3)
    add = jax.jit(replay.add)
    for at in range(40):
        state = add(state, jax.tree.map(lambda x, at=at: x[at], rows), over[at], REAL)
        assert int(replay.size(state)) == 3 * max(0, at + 2 - n)
    held = state.inner.entries
    for start in range(40 - n + 1):
        for env in range(3):
            total, factor, following = by_loop(rows, over, start, n, env)
            place = 3 * start + env
            assert float(held.reward[place]) == pytest.approx(total, rel=1e-5, abs=1e-6)
            assert float(held.discount[place]) == pytest.approx(factor, rel=1e-5)
            np.testing.assert_array_equal(held.next_obs[place], following)
            np.testing.assert_array_equal(held.obs[place], rows.obs[start, env])
            assert int(held.action[place]) == rows.action[start, env]


def test_the_end_of_an_episode_ends_the_sum_and_a_truncation_is_no_end():
    rows = Transition(
        obs=jnp.zeros((3, 2, 1)),
        action=jnp.zeros((3, 2), jnp.int32),
        reward=jnp.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]),
        discount=jnp.array([[0.5, 0.5], [0.0, 0.5], [0.5, 0.5]]),
        next_obs=jnp.array([[[1.0], [1.0]], [[2.0], [2.0]], [[3.0], [3.0]]]),
    )
    over = jnp.array([[False, False], [True, True], [False, False]])
    joined = join_moves(rows, over)
    np.testing.assert_array_equal(joined.reward, [2.0, 2.0])
    np.testing.assert_array_equal(joined.discount, [0.0, 0.25])
    np.testing.assert_array_equal(joined.next_obs, [[2.0], [2.0]])


def test_a_replay_of_one_step_is_the_replay_and_priorities_go_through():
    replay = by_errors()
    assert n_step(replay, 1) is replay
    two = n_step(replay, 2)
    state = filled(two, [0, 1], [2, 3], [4, 5])
    np.testing.assert_array_equal(state.inner.tree[8:13], [1, 1, 1, 1, 0])
    rows = two.sample(KEY, state, 2, STEP)
    state = two.update(state, rows, jnp.array([3.99, 3.99]), REAL)
    assert float(at_leaves(state.inner.tree, rows.places).min()) == pytest.approx(2.0)
    assert n_step(uniform(4), 2).update is None


@pytest.mark.parametrize(
    ('make', 'line'),
    [
        (lambda: uniform(0), 'replay: capacity is 0; it is a whole number, 1 or more'),
        (lambda: distinct(2.5), 'replay: capacity is 2.5'),
        (lambda: prioritised(True, beta=float), 'replay: capacity is True'),
        (lambda: prioritised(8, alpha=1.5, beta=float), 'prioritised: alpha is 1.5'),
        (lambda: prioritised(8, beta=float, least=0.0), 'prioritised: least is 0.0'),
        (lambda: n_step(uniform(4), 0), 'n_step: steps is 0'),
    ],
)
def test_what_cannot_be_is_one_line(make, line):
    with pytest.raises(UsageError, match=line):
        make()
