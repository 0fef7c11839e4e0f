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
from jaxdl.metrics import Mean
from jaxdl.rl.env import Environment, Transition, advance, whole_episodes
from jaxdl.rl.replay import Replay, add, empty, sample
from jaxdl.task import Batch, Metrics, State, Task, unreviewed

Array = jax.Array


class Policy(NamedTuple):
    """How actions [n] are chosen from a learner's state and observations [n, ...].

    explore(key, learner, obs, step): while learning.
    exploit(key, learner, obs): while being measured.
    """

    explore: Callable[[Key, State, Array, Array], Array]
    exploit: Callable[[Key, State, Array], Array]


def epsilon_greedy(
    values: Callable[[State, Array], Array], epsilon: Callable[[Array], Any]
) -> Policy:
    """The best action; while learning a uniformly random one with probability `epsilon(step)`.

    values(learner, obs) -> action values [n, actions]; `epsilon` is any optax schedule.
    """

    def exploit(key: Key, learner: State, obs: Array) -> Array:
        return values(learner, obs).argmax(-1).astype(jnp.int32)

    def explore(key: Key, learner: State, obs: Array, step: Array) -> Array:
        worth = values(learner, obs)
        n, actions = worth.shape
        any_action = jax.random.randint(key_for(key, 'action'), (n,), 0, actions)
        at_random = jax.random.bernoulli(key_for(key, 'whether'), epsilon(step), (n,))
        return jnp.where(at_random, any_action, worth.argmax(-1).astype(jnp.int32))

    return Policy(explore, exploit)


class Actor(NamedTuple):
    """The state of an actor: `returns` [envs] are those of the unfinished episodes so far."""

    learner: State
    world: Any
    obs: Array
    returns: Array
    replay: Replay
    step: Array


def actor(
    env: Environment,
    *,
    replay: int,
    learner: Task,
    policy: Policy,
    envs: int = 8,
    batch: int = 32,
    warm_up: int = 0,
    per_step: int = 1,
    episodes: int = 100,
) -> Task:
    """A task that plays and learns; the batches it is given are empty (`nothing()`).

    To keep the best state, wrap the actor and not its learner, which sees no validation split.

    replay: capacity in transitions.
    learner: a task whose batches are `Transition`s of `batch` rows, drawn from the replay.
    envs: environments played side by side.
    warm_up: transitions to be played before the learner moves.
    per_step: moves in each environment for each step of the learner.
    episodes: whole episodes played in fresh environments by each measurement.

    Training metrics are the learner's and `return`, of the episodes that ended in this step; they
    weigh nothing where there is nothing to tell. Measured are `return` and `length`.
    """
    if learner.review is not unreviewed:
        raise ValueError('the learner of an actor is never reviewed: keep_best(actor(...)) instead')
    if replay < envs * per_step:
        raise UsageError(
            f'replay = {replay} is too small: one step plays envs * per_step = {envs * per_step} '
            'transitions, and all must fit'
        )

    def init(key: Key, _: Batch) -> State:
        world, obs = jax.vmap(env.reset)(jax.random.split(key_for(key, 'reset'), envs))
        one = Transition(
            obs=jnp.zeros(env.shape, obs.dtype),
            action=jnp.int32(0),
            reward=jnp.float32(0),
            goes_on=jnp.float32(0),
            next_obs=jnp.zeros(env.shape, obs.dtype),
        )
        rows = jax.tree.map(lambda x: jnp.zeros((batch, *x.shape), x.dtype), one)
        return Actor(
            learner=learner.init(key_for(key, 'learner'), rows),
            world=world,
            obs=obs,
            returns=jnp.zeros(envs),
            replay=empty(one, replay),
            step=jnp.int32(0),
        )

    def play(key: Key, state: Actor) -> tuple[Actor, Mean]:
        action = policy.explore(key_for(key, 'act'), state.learner, state.obs, state.step)
        keys = jax.random.split(key_for(key, 'world'), envs)
        world, obs, transitions, over = jax.vmap(partial(advance, env))(
            keys, state.world, state.obs, action
        )
        returns = state.returns + transitions.reward
        ended = Mean.of(returns, over, better='higher')
        memory = add(state.replay, transitions)
        returns = jnp.where(over, 0.0, returns)
        return state._replace(world=world, obs=obs, returns=returns, replay=memory), ended

    def step(key: Key, state: Actor, _: Batch) -> tuple[Actor, Metrics]:
        state, ended = play(jax.random.fold_in(key_for(key, 'play'), 0), state)
        for move in range(1, per_step):
            state, more = play(jax.random.fold_in(key_for(key, 'play'), move), state)
            ended = ended + more
        rows = sample(key_for(key, 'sample'), state.replay, batch)
        after, metrics = learner.step(key_for(key, 'learn'), state.learner, rows)
        # A select, not a branch: mapped over seeds a branch becomes one, and costs the same.
        warm = (state.step + 1) * (envs * per_step) >= warm_up
        after, metrics = jax.tree.map(
            lambda new, old: jnp.where(warm, new, old),
            (after, dict(metrics)),
            (state.learner, jax.tree.map(jnp.zeros_like, dict(metrics))),
        )
        return state._replace(learner=after, step=state.step + 1), {**metrics, 'return': ended}

    def measure(key: Key, state: Actor, _: Batch) -> Metrics:
        def act(key: Key, obs: Array) -> Array:
            return policy.exploit(key, state.learner, obs)

        returns, lengths = whole_episodes(env, key, act, episodes=episodes)
        return {'return': Mean.of(returns, better='higher'), 'length': Mean.of(lengths)}

    told = (
        f'each step plays {per_step} moves in each of {envs} environments side by side, and learns '
        f'from {batch} of the last {replay:,} transitions, once {warm_up:,} have been played',
        f'measured are {episodes} whole episodes in fresh environments',
    )
    return Task(
        init,
        step,
        measure,
        nets=lambda state: learner.nets(state.learner),
        method=learner.method._replace(notes=(*learner.method.notes, *told)),
    )
