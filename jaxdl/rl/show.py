"""Episodes as a person sees them: what a policy does, as an animation."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.rl.actor import Policy
from jaxdl.rl.env import Environment
from jaxdl.samples import Animation
from jaxdl.task import Batch

Array = jax.Array
Show = Callable[[Any, Batch, Key], Mapping[str, Animation]]


def show_episodes(
    env: Environment, policy: Policy, *, episodes: int = 1, every: int = 1, rate: float = 15.0
) -> Show:
    """What an evaluation shows of an actor: whole episodes of the exploiting policy, side by side.

    every: of how many frames one is drawn. rate: frames a second.
    Raises UsageError for an environment that says nothing of how it is drawn.
    """
    draw = env.draw
    if draw is None:
        raise UsageError('show_episodes: the environment has no `draw`, so nothing is to be seen')
    if every < 1 or episodes < 1:
        raise UsageError(
            f'show_episodes: every is {every} and episodes {episodes}; both are 1 or more'
        )

    def show(nets: Any, batch: Batch, key: Key) -> Mapping[str, Animation]:
        starts = jax.random.split(key_for(key, 'reset'), episodes)
        world, obs = jax.vmap(env.reset)(starts)
        first = jax.vmap(draw)(world)

        def move(carry: tuple[Any, Array, Array], key: Key) -> Any:
            world, obs, playing = carry
            keys = jax.random.split(key_for(key, 'world'), episodes)
            action = policy.exploit(key_for(key, 'act'), nets, obs)
            world, outcome = jax.vmap(env.step)(keys, world, action)
            going = playing & ~(outcome.terminal | outcome.truncated)
            return (world, outcome.obs, going), (jax.vmap(draw)(world), playing)

        keys = jax.random.split(key_for(key, 'moves'), env.horizon)
        start = (world, obs, jnp.ones(episodes, jnp.bool))
        _, (frames, playing) = jax.lax.scan(move, start, keys)
        frames = jnp.concatenate([first[None], frames])[::every].swapaxes(0, 1)
        lengths = playing.sum(0) // every + 1
        return {'episode': Animation(frames, lengths, rate=rate)}

    return show
