"""Frames on top of each other: what moves can be seen (Mnih et al. 2015, preprocessing)."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.keys import Key
from jaxdl.rl.env import Environment, Outcome

Array = jax.Array


def stack_frames(env: Environment, frames: int = 4) -> Environment:
    """`env` that is seen as its last `frames` observations, [..., frames], the newest last.

    Before there are as many the first one is repeated. The state is (env's, what is seen).
    """

    def reset(key: Key) -> tuple[Any, Array]:
        state, frame = env.reset(key)
        seen = jnp.stack([frame] * frames, -1)
        return (state, seen), seen

    def step(key: Key, state: Any, action: Array) -> tuple[Any, Outcome]:
        inner, seen = state
        inner, outcome = env.step(key, inner, action)
        seen = jnp.concatenate([seen[..., 1:], outcome.obs[..., None]], -1)
        return (inner, seen), outcome._replace(obs=seen)

    shown = env.draw
    return env._replace(
        reset=reset,
        step=step,
        shape=(*env.shape, frames),
        draw=shown and (lambda state: shown(state[0])),
    )
