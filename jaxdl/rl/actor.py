"""The actor: a task whose data are its own deeds, made of an environment, a memory and a learner.

The environments, the replay and the learner's state are leaves of one state, so a step that plays
and learns compiles, scans and maps over seeds like any other.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.metrics import Each, Mean
from jaxdl.rl.env import Environment, Transition, advance, whole_episodes
from jaxdl.rl.replay import Drawn, Replay
from jaxdl.task import Batch, Metrics, State, Task, unreviewed

Array = jax.Array


class Policy(NamedTuple):
    """How actions [n] are chosen from a learner's nets and observations [n, ...].

    explore(key, nets, obs, step): while learning.
    exploit(key, nets, obs): while being measured.
    """

    explore: Callable[[Key, Any, Array, Array], Array]
    exploit: Callable[[Key, Any, Array], Array]


def epsilon_greedy(
    values: Callable[[Any, Array], Array], epsilon: Callable[[Array], Any]
) -> Policy:
    """The best action; while learning a uniformly random one with probability `epsilon(step)`.

    values(nets, obs) -> action values [n, actions]; `epsilon` is any optax schedule.
    """

    def exploit(key: Key, nets: Any, obs: Array) -> Array:
        return values(nets, obs).argmax(-1).astype(jnp.int32)

    def explore(key: Key, nets: Any, obs: Array, step: Array) -> Array:
        worth = values(nets, obs)
        n, actions = worth.shape
        any_action = jax.random.randint(key_for(key, 'action'), (n,), 0, actions)
        at_random = jax.random.bernoulli(key_for(key, 'whether'), epsilon(step), (n,))
        return jnp.where(at_random, any_action, worth.argmax(-1).astype(jnp.int32))

    return Policy(explore, exploit)


class Finished(NamedTuple):
    """The returns of the episodes that were finished last, a ring, and how many there have been."""

    returns: Array
    ended: Array


class Actor(NamedTuple):
    """The state of an actor: `returns` [envs] are those of the unfinished episodes so far.

    replay: the state of its replay.
    """

    learner: State
    world: Any
    obs: Array
    returns: Array
    finished: Finished
    replay: Any
    step: Array


def actor(
    env: Environment,
    *,
    replay: Replay,
    learner: Task,
    policy: Policy,
    discount: float,
    envs: int = 8,
    batch: int = 32,
    warm_up: int = 0,
    per_step: int = 1,
    episodes: int = 100,
    recent: int = 100,
) -> Task:
    """A task that plays and learns; the batches it is given are empty (`nothing()`).

    To keep the best state, wrap the actor and not its learner, which sees no validation split.

    replay: what it remembers, and how batches are drawn from it.
    learner: a task whose batches are `Drawn` of `batch` rows. Where the replay goes by errors, its
        step's metrics have `error`, an `Each` with that of every row, which goes no further.
    discount: the factor of each move in the returns that are learned.
    envs: environments played side by side.
    warm_up: transitions to be played before the learner moves.
    per_step: moves in each environment for each step of the learner.
    episodes: whole episodes played in fresh environments by each measurement.
    recent: of how many episodes of training, the last ones, the mean return is measured.

    Training metrics are the learner's and `return`, of the episodes that ended in this step; they
    weigh nothing where there is nothing to tell. Measured are `return` and `length`, undiscounted,
    of the exploiting policy, and `recent_return`, of the exploring one.
    """
    if learner.review is not unreviewed:
        raise ValueError('the learner of an actor is never reviewed: keep_best(actor(...)) instead')
    if replay.capacity < envs * per_step:
        raise UsageError(
            f'replay = {replay.capacity} is too small: one step plays envs * per_step = '
            f'{envs * per_step} transitions, and all must fit'
        )
    if not replay.repeats and replay.capacity < batch:
        raise UsageError(
            f'replay = {replay.capacity} is too small: a batch has {batch} rows, none of them twice'
        )

    def init(key: Key, _: Batch) -> State:
        world, obs = jax.vmap(env.reset)(jax.random.split(key_for(key, 'reset'), envs))
        one = Transition(
            obs=jnp.zeros(env.shape, obs.dtype),
            action=jnp.int32(0),
            reward=jnp.float32(0),
            discount=jnp.float32(0),
            next_obs=jnp.zeros(env.shape, obs.dtype),
        )
        rows = jax.tree.map(lambda x: jnp.zeros((batch, *x.shape), x.dtype), one)
        return Actor(
            learner=learner.init(
                key_for(key, 'learner'), Drawn(rows, jnp.ones(batch), jnp.zeros(batch, jnp.int32))
            ),
            world=world,
            obs=obs,
            returns=jnp.zeros(envs),
            finished=Finished(jnp.zeros(recent + envs), jnp.int32(0)),
            replay=replay.empty(one, envs),
            step=jnp.int32(0),
        )

    def play(key: Key, state: Actor) -> tuple[Actor, Mean]:
        nets = learner.nets(state.learner)
        action = policy.explore(key_for(key, 'act'), nets, state.obs, state.step)
        keys = jax.random.split(key_for(key, 'world'), envs)
        move = partial(advance, env, discount=discount)
        world, obs, transitions, over = jax.vmap(move)(keys, state.world, state.obs, action)
        returns = state.returns + transitions.reward
        ended = Mean.of(returns, over, better='higher')
        return state._replace(
            world=world,
            obs=obs,
            returns=jnp.where(over, 0.0, returns),
            finished=_finish(state.finished, returns, over),
            replay=replay.add(state.replay, transitions, over, jnp.bool(True)),
        ), ended

    def step(key: Key, state: Actor, _: Batch) -> tuple[Actor, Metrics]:
        state, ended = play(jax.random.fold_in(key_for(key, 'play'), 0), state)
        for move in range(1, per_step):
            state, more = play(jax.random.fold_in(key_for(key, 'play'), move), state)
            ended = ended + more
        drawn = replay.sample(key_for(key, 'sample'), state.replay, batch, state.step)
        after, found = learner.step(key_for(key, 'learn'), state.learner, drawn)
        metrics = dict(found)
        errors = metrics.pop('error', None)
        # A select, not a branch: mapped over seeds a branch becomes one, and costs the same.
        warm = (state.step + 1) * (envs * per_step) >= warm_up
        warm &= replay.size(state.replay) >= (1 if replay.repeats else batch)
        after, metrics = jax.tree.map(
            lambda new, old: jnp.where(warm, new, old),
            (after, metrics),
            (state.learner, jax.tree.map(jnp.zeros_like, metrics)),
        )
        memory = state.replay
        if replay.update:
            if not isinstance(errors, Each):
                raise UsageError(
                    'the replay goes by errors, and the learner tells none: its metrics must have '
                    "'error', Each.of(errors)"
                )
            memory = replay.update(memory, drawn, errors.values, warm)
        state = state._replace(learner=after, replay=memory, step=state.step + 1)
        return state, {**metrics, 'return': ended}

    def measure(key: Key, state: Actor, _: Batch) -> Metrics:
        nets = learner.nets(state.learner)

        def act(key: Key, obs: Array) -> Array:
            return policy.exploit(key, nets, obs)

        returns, lengths = whole_episodes(env, key, act, episodes=episodes)
        return {
            'return': Mean.of(returns, better='higher'),
            'length': Mean.of(lengths),
            'recent_return': _latest(state.finished, recent),
        }

    told = (
        f'each step plays {per_step} moves in each of {envs} environments side by side, and learns '
        f'from {batch}, once {warm_up:,} transitions have been played',
        replay.told,
        f'measured are {episodes} whole episodes in fresh environments',
    )
    return Task(
        init,
        step,
        measure,
        nets=lambda state: learner.nets(state.learner),
        method=learner.method._replace(notes=(*learner.method.notes, *told)),
    )


def _finish(finished: Finished, returns: Array, over: Array) -> Finished:
    """The ring with the returns [envs] of those episodes that are over."""
    room = len(finished.returns)
    order = finished.ended + jnp.cumsum(over) - 1
    places = jnp.where(over, order % room, room)  # what stands outside is dropped
    return Finished(finished.returns.at[places].set(returns, mode='drop'), order[-1] + 1)


def _latest(finished: Finished, recent: int) -> Mean:
    """The mean of the last `recent` returns, or of as many as there are."""
    order = finished.ended - 1 - jnp.arange(recent)
    return Mean.of(finished.returns[order % len(finished.returns)], order >= 0, better='higher')
