"""Environments as pure functions, and the one place where an episode that is over starts again."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.keys import Key, key_for

Array = jax.Array


class Outcome(NamedTuple):
    """What the world answers to an action.

    obs: what is seen next, before any reset.
    terminal: the episode has ended in the world; nothing follows, so its value is 0.
    truncated: the episode was cut off from outside (a time limit); its value goes on.
    """

    obs: Array
    reward: Array
    terminal: Array
    truncated: Array


class Transition(NamedTuple):
    """One thing learned from the world: (s, a, r, discount, s').

    discount: what the value of s' is multiplied by: 0 where s' is terminal, else the factor of the
        returns, also where the episode was truncated there: then s' is the last state of the old
        episode, never the first of the next, and may be bootstrapped from. Of several moves in
        one (`jaxdl.rl.n_step`) it is the product of theirs.
    """

    obs: Array
    action: Array
    reward: Array
    discount: Array
    next_obs: Array


class Environment(NamedTuple):
    """A Markov decision process with a finite number of actions, as two pure functions.

    reset(key) -> (state, obs): the start of an episode.
    step(key, state, action) -> (state, Outcome): one move; what it says after an end is not used.
    actions: how many actions there are; an action is an int32 below it.
    shape: the shape of one observation (float32, or uint8 for screens).
    horizon: the steps of the longest episode.
    draw(state) -> pixels [height, width, 1 or 3], 0..1: what a person sees; None: nothing.
    """

    reset: Callable[[Key], tuple[Any, Array]]
    step: Callable[[Key, Any, Array], tuple[Any, Outcome]]
    actions: int
    shape: tuple[int, ...]
    horizon: int
    draw: Callable[[Any], Array] | None = None


def advance(
    env: Environment, key: Key, state: Any, obs: Array, action: Array, *, discount: float
) -> tuple[Any, Array, Transition, Array]:
    """One move in an endless series of episodes: (state, obs, transition, whether one is over).

    The returned state and obs belong to a new episode where the old one is over; the transition
    belongs to the old one.
    """
    after, outcome = env.step(key_for(key, 'step'), state, action)
    factor = discount * (1.0 - outcome.terminal.astype(jnp.float32))
    transition = Transition(obs, action, outcome.reward, factor, outcome.obs)
    over = outcome.terminal | outcome.truncated
    fresh = env.reset(key_for(key, 'reset'))
    state, obs = jax.tree.map(lambda a, b: jnp.where(over, a, b), fresh, (after, outcome.obs))
    return state, obs, transition, over


def whole_episodes(
    env: Environment, key: Key, act: Callable[[Key, Array], Array], *, episodes: int
) -> tuple[Array, Array]:
    """The returns and the lengths [episodes] of episodes in which `act(key, obs)` chooses.

    They are played side by side: `act` sees observations [episodes, ...].
    """
    world, obs = jax.vmap(env.reset)(jax.random.split(key_for(key, 'reset'), episodes))

    def move(carry: tuple[Any, Array, Array], key: Key) -> tuple[Any, tuple[Array, Array]]:
        world, obs, playing = carry
        keys = jax.random.split(key_for(key, 'world'), episodes)
        world, outcome = jax.vmap(env.step)(keys, world, act(key_for(key, 'act'), obs))
        # An episode that is over is played on, but not counted.
        counted = jnp.where(playing, outcome.reward, 0.0), playing
        return (world, outcome.obs, playing & ~(outcome.terminal | outcome.truncated)), counted

    keys = jax.random.split(key_for(key, 'moves'), env.horizon)
    playing = jnp.ones(episodes, jnp.bool)
    _, (rewards, lengths) = jax.lax.scan(move, (world, obs, playing), keys)
    return rewards.sum(0), lengths.sum(0)


def time_limit(env: Environment, steps: int) -> Environment:
    """`env` in which an episode is truncated after `steps` moves, unless it ends there anyway."""

    def reset(key: Key) -> tuple[Any, Array]:
        state, obs = env.reset(key)
        return (state, jnp.int32(0)), obs

    def step(key: Key, state: Any, action: Array) -> tuple[Any, Outcome]:
        inner, moves = state
        inner, outcome = env.step(key, inner, action)
        late = (moves + 1 >= steps) & ~outcome.terminal
        return (inner, moves + 1), outcome._replace(truncated=outcome.truncated | late)

    shown = env.draw
    return env._replace(
        reset=reset,
        step=step,
        horizon=min(steps, env.horizon),
        draw=shown and (lambda state: shown(state[0])),
    )
