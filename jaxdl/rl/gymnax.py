"""Environments of the library gymnax as environments of ours: `pip install 'jaxdl[gymnax]'`."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.errors import UsageError, nearest
from jaxdl.keys import Key
from jaxdl.rl.env import Environment, Outcome

Array = jax.Array


def from_gymnax(name: str, *, steps: int | None = None) -> Environment:
    """gymnax' environment of that name (Lange 2022), with its own parameters: 'CartPole-v1'.

    steps: after how many moves an episode is truncated; None: as gymnax has it.
    Its ends and its time limit stay two things: only the first are terminal.
    Raises UsageError without the library, for a name that it does not have, and for an environment
    whose actions are not a finite number or whose observations are not one array.
    """
    gymnax = _library()
    if name not in gymnax.registered_envs:
        raise UsageError(
            f'no environment {name!r} in gymnax{nearest(name, gymnax.registered_envs)}'
        )
    env, params = gymnax.make(name)
    if steps is not None:
        if steps < 1:
            raise UsageError(f'from_gymnax: steps is {steps}; it is 1 or more')
        params = params.replace(max_steps_in_episode=steps)
    actions, seen = env.action_space(params), env.observation_space(params)
    if not hasattr(actions, 'n'):
        raise UsageError(f'{name}: its actions are not a finite number of them')
    if not hasattr(seen, 'low'):
        raise UsageError(f'{name}: its observations are not one array')

    def look(obs: Any) -> Array:
        return jnp.asarray(obs, jnp.float32)

    def reset(key: Key) -> tuple[Any, Array]:
        obs, state = env.reset_env(key, params)
        # Python's numbers in a state are arrays after the first move, and must be before.
        return jax.tree.map(jnp.asarray, state), look(obs)

    def step(key: Key, state: Any, action: Array) -> tuple[Any, Outcome]:
        obs, after, reward, terminal, _ = env.step_env(key, state, action, params)
        terminal = jnp.asarray(terminal, jnp.bool)
        late = jnp.asarray(env.is_truncated(after, params), jnp.bool) & ~terminal
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state)
        return after, Outcome(look(obs), jnp.asarray(reward, jnp.float32), terminal, late)

    horizon = int(params.max_steps_in_episode)
    return Environment(reset, step, int(actions.n), tuple(seen.shape), horizon)


def _library() -> Any:
    try:
        import gymnax
    except ImportError as error:
        raise UsageError(
            "environments of gymnax need the package gymnax: pip install 'jaxdl[gymnax]'"
        ) from error
    return gymnax
