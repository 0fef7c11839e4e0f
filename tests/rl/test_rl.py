"""Catch, replay, Q-learning and the actor against known values and an independent Catch."""

import itertools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.keys import key_at, key_for
from jaxdl.losses import mean_squared_error
from jaxdl.metrics import Each, Mean, finish
from jaxdl.net import Net
from jaxdl.objectives.keep_best import keep_best
from jaxdl.rl.actor import Policy, actor, epsilon_greedy
from jaxdl.rl.catch import Board, catch
from jaxdl.rl.dqn import double_q_learning, q_learner, q_learning, q_learning_loss, q_values
from jaxdl.rl.env import Environment, Outcome, Transition, advance, time_limit, whole_episodes
from jaxdl.rl.prioritised import prioritised
from jaxdl.rl.replay import Drawn, distinct, uniform
from jaxdl.task import Task

KEY = jax.random.key(0)


# ---- Catch ---------------------------------------------------------------------------------------


class PlainCatch:
    """The rules once more, written without looking at the arrays."""

    def __init__(self, column, rows, columns):
        self.ball = [0, column]
        self.paddle = columns // 2
        self.rows, self.columns = rows, columns

    def board(self):
        text = [['.'] * self.columns for _ in range(self.rows)]
        text[self.ball[0]][self.ball[1]] = 'o'
        text[-1][self.paddle] = '='
        return np.array([[float(c != '.') for c in line] for line in text], np.float32)

    def move(self, action):
        if action == 0 and self.paddle > 0:
            self.paddle -= 1
        elif action == 2 and self.paddle < self.columns - 1:
            self.paddle += 1
        self.ball[0] += 1
        if self.ball[0] < self.rows - 1:
            return 0.0, False
        return (1.0 if self.paddle == self.ball[1] else -1.0), True


@pytest.mark.parametrize(('rows', 'columns'), [(10, 5), (4, 3)])
def test_catch_is_the_game_written_independently(rows, columns):
    env = catch(rows=rows, columns=columns)
    step = jax.jit(env.step)
    rng = np.random.default_rng(0)
    for column, _ in itertools.product(range(columns), range(4)):
        plain = PlainCatch(column, rows, columns)
        state = Board(jnp.int32(0), jnp.int32(column), jnp.int32(columns // 2))
        for move in range(env.horizon):
            action = int(rng.integers(3))
            reward, over = plain.move(action)
            state, outcome = step(KEY, state, jnp.int32(action))
            assert outcome.obs.shape == env.shape
            np.testing.assert_array_equal(outcome.obs, plain.board())
            assert (float(outcome.reward), bool(outcome.terminal)) == (reward, over)
            assert not outcome.truncated
            assert over == (move == env.horizon - 1)


def test_catch_starts_in_every_column_with_the_paddle_in_the_middle():
    state, obs = jax.jit(jax.vmap(catch().reset))(jax.random.split(KEY, 5000))
    assert not state.row.any()
    assert (state.paddle == 2).all()
    np.testing.assert_allclose(np.bincount(state.column) / 5000, [0.2] * 5, atol=0.03)
    np.testing.assert_array_equal(obs[:, 0].argmax(-1), state.column)
    np.testing.assert_array_equal(obs[:, 9].argmax(-1), jnp.full(5000, 2))


def towards_the_ball(key, obs):
    ball, paddle = obs[:, :-1].sum(1).argmax(-1), obs[:, -1].argmax(-1)
    landed = obs[:, :-1].sum((1, 2)) == 0
    return jnp.where(landed, 1, 1 + jnp.sign(ball - paddle)).astype(jnp.int32)


def test_the_optimal_policy_always_catches():
    play = jax.jit(lambda key: whole_episodes(catch(), key, towards_the_ball, episodes=300))
    returns, lengths = play(KEY)
    assert (returns == 1).all()
    assert (lengths == 9).all()


def random_policy_return():
    """The mean return by enumeration: where the paddle may be after 9 random moves."""
    paddle = np.array([0, 0, 1.0, 0, 0])
    for _ in range(9):
        after = np.zeros(5)
        for at, move in itertools.product(range(5), (-1, 0, 1)):
            after[min(max(at + move, 0), 4)] += paddle[at] / 3
        paddle = after
    return sum(paddle[at] / 5 * (1 if at == ball else -1) for at in range(5) for ball in range(5))


def test_the_random_policy_has_its_enumerated_return():
    def act(key, obs):
        return jax.random.randint(key, (len(obs),), 0, 3)

    play = jax.jit(lambda key: whole_episodes(catch(), key, act, episodes=20_000)[0])
    expected = random_policy_return()
    assert expected == pytest.approx(-0.6)
    assert float(play(KEY).mean()) == pytest.approx(expected, abs=4 * 0.8 / 20_000**0.5)


# ---- The end of an episode -----------------------------------------------------------------------


class Count(NamedTuple):
    n: jax.Array


def counting(last):
    """Counts 0, 1, 2, ..., each seen and each the reward; terminal at `last`."""

    def look(state):
        return state.n.astype(jnp.float32)[None]

    def reset(key):
        state = Count(jnp.int32(0))
        return state, look(state)

    def step(key, state, action):
        state = Count(state.n + 1)
        return state, Outcome(look(state), look(state)[0], state.n == last, jnp.bool(False))

    return Environment(reset, step, actions=2, shape=(1,), horizon=last)


def walk(env, moves):
    state, obs = env.reset(KEY)
    steps = []
    for move in range(moves):
        state, obs, transition, over = advance(
            env, key_at(KEY, move), state, obs, jnp.int32(1), discount=0.5
        )
        steps.append((transition, bool(over), obs))
    return steps


def test_a_terminal_step_ends_the_return_and_the_next_episode_starts():
    steps = walk(counting(3), 7)
    assert [float(t.obs[0]) for t, _, _ in steps] == [0, 1, 2, 0, 1, 2, 0]
    assert [float(t.next_obs[0]) for t, _, _ in steps] == [1, 2, 3, 1, 2, 3, 1]
    assert [float(t.reward) for t, _, _ in steps] == [1, 2, 3, 1, 2, 3, 1]
    assert [float(t.discount) for t, _, _ in steps] == [0.5, 0.5, 0, 0.5, 0.5, 0, 0.5]
    assert [over for _, over, _ in steps] == [False, False, True, False, False, True, False]
    assert [float(obs[0]) for _, _, obs in steps] == [1, 2, 0, 1, 2, 0, 1]


def test_a_truncated_step_goes_on_from_its_own_last_observation():
    steps = walk(time_limit(counting(5), 2), 4)
    assert [float(t.next_obs[0]) for t, _, _ in steps] == [1, 2, 1, 2]
    assert [float(t.discount) for t, _, _ in steps] == [0.5] * 4
    assert [over for _, over, _ in steps] == [False, True, False, True]
    assert [float(obs[0]) for _, _, obs in steps] == [1, 0, 1, 0]


def test_an_end_at_the_time_limit_is_an_end():
    ends = walk(time_limit(counting(2), 2), 2)[-1][0]
    assert float(ends.discount) == 0


@pytest.mark.parametrize(
    ('env', 'total', 'length'),
    [
        (counting(3), 6, 3),
        (counting(3)._replace(horizon=8), 6, 3),
        (time_limit(counting(5), 2), 3, 2),
    ],
)
def test_whole_episodes_count_until_the_end_and_no_further(env, total, length):
    def act(key, obs):
        return jnp.zeros(len(obs), jnp.int32)

    returns, lengths = jax.jit(lambda key: whole_episodes(env, key, act, episodes=2))(KEY)
    assert returns.tolist() == [total] * 2
    assert lengths.tolist() == [length] * 2


# ---- Losses --------------------------------------------------------------------------------------


class Table(nn.Module):
    """Action values as they stand in a table [states, actions]; an observation is [state]."""

    values: tuple[tuple[float, ...], ...]

    @nn.compact
    def __call__(self, obs):
        table = self.param('table', lambda key: jnp.array(self.values))
        return table[obs[:, 0].astype(jnp.int32)]


def tables(online, target):
    obs = jnp.zeros((1, 1))
    net = Net.init(Table(online), KEY, obs)
    return net.replace(shadow=Net.init(Table(target), KEY, obs))


# 0 -(action 1, +1)-> 1, which goes on, and 1 -(action 0, -2)-> 0, which is the end.
BATCH = Transition(
    obs=jnp.array([[0.0], [1.0]]),
    action=jnp.array([1, 0], jnp.int32),
    reward=jnp.array([1.0, -2.0]),
    discount=jnp.array([0.5, 0.0]),
    next_obs=jnp.array([[1.0], [0.0]]),
)
ONLINE = ((0.0, 3.0), (0.5, 2.0))
TARGET = ((9.0, 9.0), (4.0, -1.0))


WEIGHTS = jnp.array([0.5, 1.0])


def learned(rule, q, weight=None):
    weight = jnp.ones(2) if weight is None else weight
    return q_learning_loss(q, Drawn(BATCH, weight, jnp.arange(2)), rule=rule)


@pytest.mark.parametrize(
    ('rule', 'targets', 'first'),
    [
        # max of (4, -1) is 4: e = 1 + 0.5 * 4 - 3 = 0; the end: e = -2 - 0.5 = -2.5 -> 2.5 - 0.5.
        (q_learning, [3.0, -2.0], 0.0),
        # argmax of (0.5, 2) is action 1, worth -1: e = 1 - 0.5 - 3 = -2.5 -> 2.
        (double_q_learning, [0.5, -2.0], 2.0),
    ],
)
def test_targets_and_losses_by_hand(rule, targets, first):
    q = tables(ONLINE, TARGET)
    np.testing.assert_allclose(jax.jit(lambda: rule(q, BATCH))(), targets)
    loss, (_, errors) = jax.jit(lambda: learned(rule, q))()
    assert float(loss) == pytest.approx((first + 2) / 2)
    np.testing.assert_allclose(errors, np.array(targets) - [3.0, 0.5])
    weighted, _ = jax.jit(lambda: learned(rule, q, WEIGHTS))()
    assert float(weighted) == pytest.approx((first * 0.5 + 2) / 2)


def test_the_loss_of_errors_is_the_one_that_is_given():
    drawn = Drawn(BATCH, WEIGHTS, jnp.arange(2))
    q = tables(ONLINE, TARGET)
    loss, _ = q_learning_loss(q, drawn, rule=double_q_learning, loss=mean_squared_error)
    assert float(loss) == pytest.approx(2.5**2 * (0.5 + 1) / 2)


@pytest.mark.parametrize('rule', [q_learning, double_q_learning])
def test_the_gradient_is_that_of_the_value_taken_alone(rule):
    q = tables(ONLINE, ((9.0, 9.0), (3.0, 1.0)))
    grads = jax.jit(jax.grad(lambda q: learned(rule, q)[0]))(q)
    np.testing.assert_array_equal(grads.shadow.params['table'], jnp.zeros((2, 2)))
    # e is -0.5 or -1.5, and -2.5: the Huber gradient -clip(e) / 2 rows, where the actions were.
    first = 0.25 if rule is q_learning else 0.5
    np.testing.assert_allclose(grads.params['table'], [[0.0, first], [0.5, 0.0]])


@pytest.mark.parametrize('rule', [q_learning, double_q_learning])
def test_a_net_without_a_target_is_an_error(rule):
    with pytest.raises(ValueError, match='target network'):
        rule(Net.init(Table(ONLINE), KEY, jnp.zeros((1, 1))), BATCH)


# ---- Policy --------------------------------------------------------------------------------------


def test_epsilon_greedy_explores_as_scheduled():
    policy = epsilon_greedy(lambda nets, obs: obs, optax.linear_schedule(1.0, 0.0, 10))
    worth = jnp.broadcast_to(jnp.array([0.0, 5.0, 1.0, 2.0]), (8000, 4))
    for step, epsilon in [(0, 1.0), (4, 0.6), (10, 0.0)]:
        actions = policy.explore(KEY, None, worth, jnp.int32(step))
        shares = np.bincount(actions, minlength=4) / 8000
        expected = np.full(4, epsilon / 4) + np.array([0, 1 - epsilon, 0, 0])
        np.testing.assert_allclose(shares, expected, atol=0.02)
    assert (policy.exploit(KEY, None, worth) == 1).all()


# ---- The actor -----------------------------------------------------------------------------------


class Values(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(32)(x.reshape(len(x), -1)))
        return nn.Dense(3)(x)


def deep_q(**options):
    defaults = {'replay': uniform(512), 'envs': 4, 'batch': 32, 'warm_up': 32, 'episodes': 16}
    return actor(
        catch(rows=4, columns=3),
        learner=q_learner(Values(), optax.adam(3e-3), copy_every=20),
        discount=0.9,
        policy=epsilon_greedy(q_values, optax.constant_schedule(0.3)),
        **{**defaults, **options},
    )


def equal(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


@pytest.mark.parametrize('warm_up', [9, 12])
def test_the_learner_waits_for_the_warm_up(warm_up):
    task = deep_q(envs=4, warm_up=warm_up)
    step = jax.jit(task.step)
    first = state = jax.jit(task.init)(KEY, {})
    moved, losses = [], []
    for index in range(4):
        state, metrics = step(key_at(KEY, index), state, {})
        moved.append(not equal(state.learner, first.learner))
        losses.append(float(metrics['loss'].weight))
        assert int(state.replay.size) == 4 * (index + 1)
    # Four are played in a step: 9 are there, and 12, in the third.
    assert moved == [False, False, True, True]
    assert losses == [0, 0, 1, 1]
    assert int(state.learner['q'].turn) == 2


@pytest.mark.parametrize('per_step', [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_step_plays_in_all_environments_and_remembers_it(per_step):
    task = deep_q(envs=4, per_step=per_step)
    state = jax.jit(task.init)(KEY, {})
    after, metrics = jax.jit(task.step)(KEY, state, {})
    assert int(after.replay.size) == 4 * per_step
    np.testing.assert_array_equal(after.replay.entries.obs[:4], state.obs)
    if per_step == 1:
        np.testing.assert_array_equal(after.replay.entries.next_obs[:4], after.obs)
    else:
        # A game on 4 rows lasts 3 moves: each environment is over once and starts again.
        discount = after.replay.entries.discount[:12].reshape(3, 4)
        np.testing.assert_allclose(discount, [[0.9] * 4, [0.9] * 4, [0.0] * 4])
        assert (after.obs[:, 0].sum(-1) == 1).all()
        assert float(metrics['return'].weight) == 4
        total = after.replay.entries.reward[:12].sum()
        assert float(metrics['return'].total) == float(total)
        assert not after.returns.any()


def test_a_return_is_told_only_where_an_episode_ends():
    task = deep_q(envs=4)
    step = jax.jit(task.step)
    state = jax.jit(task.init)(KEY, {})
    weights = []
    for index in range(6):
        state, metrics = step(key_at(KEY, index), state, {})
        weights.append(float(metrics['return'].weight))
    assert weights == [0, 0, 4, 0, 0, 4]


@pytest.mark.slow  # `make test` has law 5 of such a task: test_laws.py
def test_jit_equals_no_jit_for_one_step():
    task = deep_q(warm_up=4)
    state = jax.jit(task.init)(KEY, {})
    plain, compiled = task.step(KEY, state, {}), jax.jit(task.step)(KEY, state, {})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain, compiled
    )


def trained(task, seeds, steps):
    keys = jax.vmap(jax.random.key)(jnp.array(seeds))

    def one(key):
        def body(state, index):
            return task.step(key_at(key, index), state, {})

        state, metrics = jax.lax.scan(body, task.init(key_for(key, 'init'), {}), jnp.arange(steps))
        return state, task.measure(key, state, {}), metrics

    return jax.jit(jax.vmap(one))(keys)


@pytest.mark.slow
def test_a_seed_among_many_is_the_seed_alone_and_seeds_differ():
    task = deep_q()
    many, one = trained(task, [3, 4], 20), trained(task, [4], 20)
    mine = jax.tree.map(lambda x: x[1:], many)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), mine, one)
    state = many[0]
    assert (state.replay.entries.action[0] != state.replay.entries.action[1]).any()
    kernels = state.learner['q'].net.params['Dense_0']['kernel']
    assert (kernels[0] != kernels[1]).all()


@pytest.mark.slow
def test_it_learns_to_catch_and_is_measured_greedily():
    _, metrics, _ = trained(deep_q(), [0, 1, 2], 400)
    for seed in range(3):
        numbers = finish(jax.tree.map(lambda x, seed=seed: x[seed], metrics))
        recent = numbers.pop('recent_return')
        assert numbers == {'return': 1.0, 'length': 3.0} and -1 < recent < 1


def test_measuring_counts_whole_episodes_of_the_exploiting_policy():
    learner = Task(lambda key, batch: (), lambda key, state, batch: (state, {}), lambda *_: {})
    policy = Policy(
        explore=lambda key, learner, obs, step: jnp.zeros(len(obs), jnp.int32),
        exploit=lambda key, learner, obs: towards_the_ball(key, obs),
    )
    options = {'envs': 2, 'episodes': 7, 'discount': 1.0}
    task = actor(catch(), replay=uniform(8), learner=learner, policy=policy, **options)
    metrics = jax.jit(lambda key: task.measure(key, task.init(key, {}), {}))(KEY)
    numbers = finish(metrics)
    assert np.isnan(numbers.pop('recent_return'))  # none was finished in training
    assert numbers == {'return': 1.0, 'length': 9.0}
    assert isinstance(metrics['return'], Mean)
    assert float(metrics['return'].weight) == 7


def test_the_last_returns_of_training_are_measured():
    task = deep_q(envs=4, recent=6, warm_up=999)
    state, returns = jax.jit(task.init)(KEY, {}), []
    step, measure = jax.jit(task.step), jax.jit(task.measure)
    for index in range(9):
        before = np.asarray(state.returns)
        state, metrics = step(key_at(KEY, index), state, {})
        rewards = np.asarray(state.replay.entries.reward[4 * index : 4 * index + 4])
        if float(metrics['return'].weight):
            returns += list(before + rewards)
        told = measure(KEY, state, {})['recent_return']
        assert float(told.weight) == min(len(returns), 6)
        assert float(told.total) == pytest.approx(sum(returns[-6:]))
    assert len(returns) == 12 and len(set(returns)) == 2


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        ({'replay': uniform(7), 'per_step': 2}, r'replay = 7 .* envs \* per_step = 8'),
        ({'replay': distinct(16), 'batch': 17}, 'replay = 16 is too small: a batch has 17 rows'),
    ],
)
def test_a_replay_smaller_than_a_step_or_a_batch_is_a_usage_error(options, line):
    with pytest.raises(UsageError, match=line):
        deep_q(envs=4, **options)


def test_distinct_rows_wait_until_there_is_a_batch_of_them():
    task = deep_q(envs=4, warm_up=0, batch=8, replay=distinct(8))
    step, state = jax.jit(task.step), jax.jit(task.init)(KEY, {})
    told = []
    for index in range(3):
        state, metrics = step(key_at(KEY, index), state, {})
        told.append(float(metrics['loss'].weight))
    assert told == [0, 1, 1]


def test_priorities_are_the_errors_that_the_learner_found():
    memory = prioritised(64, alpha=1.0, beta=optax.constant_schedule(0.4), least=1e-3)
    task = deep_q(envs=4, warm_up=8, batch=8, replay=memory)
    step, state = jax.jit(task.step), jax.jit(task.init)(KEY, {})
    first, _ = step(key_at(KEY, 0), state, {})
    np.testing.assert_array_equal(first.replay.tree[64:72], [1] * 4 + [0] * 4)
    after, _ = step(key_at(KEY, 1), first, {})
    priorities = np.asarray(after.replay.tree[64:72])
    drawn = priorities != 1
    assert 2 <= drawn.sum() < 8 or (drawn.all() and len(set(priorities)) > 1)
    rows = jax.tree.map(lambda x: x[:8], after.replay.ring.entries)
    # What the net was before it moved, as it was when it found them.
    q = first.learner['q'].net
    _, (_, errors) = q_learning_loss(q, Drawn(rows, jnp.ones(8), jnp.arange(8)), rule=q_learning)
    np.testing.assert_allclose(priorities[drawn], np.abs(errors)[drawn] + 1e-3, rtol=1e-4)


def test_a_replay_that_goes_by_errors_must_be_told_them():
    def silent(key, state, batch):
        return state, {}

    learner = Task(lambda key, batch: (), silent, lambda *_: {})
    memory = prioritised(8, beta=optax.constant_schedule(1.0))
    policy = epsilon_greedy(lambda nets, obs: jnp.zeros((len(obs), 3)), lambda _: 1.0)
    options = {'envs': 2, 'batch': 2, 'discount': 1.0}
    task = actor(catch(), replay=memory, learner=learner, policy=policy, **options)
    with pytest.raises(UsageError, match=r"must have 'error', Each.of\(errors\)"):
        jax.eval_shape(lambda key: task.step(key, task.init(key, {}), {}), KEY)


def test_errors_go_to_the_replay_and_no_further():
    task = deep_q(envs=4)
    shape = jax.eval_shape(lambda key: task.step(key, task.init(key, {}), {})[1], KEY)
    assert shape.keys() == {'loss', 'return'}
    learner = q_learner(Values(), optax.sgd(0.1), copy_every=1)
    rows = jax.tree.map(lambda x: x[:1], BATCH)._replace(obs=jnp.zeros((1, 2)))
    rows = rows._replace(next_obs=jnp.ones((1, 2)))
    batch = Drawn(rows, jnp.ones(1), jnp.zeros(1, jnp.int32))
    found = jax.eval_shape(lambda key: learner.step(key, learner.init(key, batch), batch)[1], KEY)
    assert isinstance(found['error'], Each) and found['error'].values.shape == (1,)


def test_a_learner_that_wants_reviews_is_an_error():
    learner = keep_best(q_learner(Values(), optax.sgd(0.1), copy_every=1), 'return')
    policy = epsilon_greedy(q_values, lambda _: 0.1)
    with pytest.raises(ValueError, match=r'keep_best\(actor'):
        actor(catch(), replay=uniform(8), learner=learner, policy=policy, discount=0.9)
