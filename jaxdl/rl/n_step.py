"""Returns of n steps: a replay whose transitions are n moves in one (Sutton 1988; Watkins 1989)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.errors import UsageError
from jaxdl.rl.env import Transition
from jaxdl.rl.replay import Drawn, Replay

Array = jax.Array


class Window(NamedTuple):
    """The state: the last n - 1 moves [n - 1, envs, ...], the oldest first, and the replay's own.

    over: bool [n - 1, envs], whether an episode ended with each. moves: int32, how many have been
    seen, at most n.
    """

    transitions: Transition
    over: Array
    moves: Array
    inner: Any


def join_moves(transitions: Transition, over: Array) -> Transition:
    """n moves in a row, [n, envs, ...], as one [envs, ...], of its first observation and action.

        reward = r_1 + d_1 r_2 + d_1 d_2 r_3 + ...,  discount = d_1 d_2 d_3 ...,  next_obs = s_(n+1)

    Where an episode is over before, by its end or by truncation, the sum ends there: what follows
    is another episode.
    """
    rows = [jax.tree.map(lambda x, k=k: x[k], transitions) for k in range(len(over))]
    joined = rows[-1]
    for row, ends in zip(rows[-2::-1], over[-2::-1], strict=True):
        onwards = row._replace(
            reward=row.reward + row.discount * joined.reward,
            discount=row.discount * joined.discount,
            next_obs=joined.next_obs,
        )
        joined = jax.tree.map(lambda a, b, ends=ends: _where(ends, a, b), row, onwards)
    return joined


def _where(rows: Array, yes: Array, no: Array) -> Array:
    return jnp.where(rows.reshape(rows.shape + (1,) * (yes.ndim - rows.ndim)), yes, no)


def n_step(replay: Replay, steps: int) -> Replay:
    """The replay, of transitions of `steps` moves each; of 1 it is the same replay.

    A transition is there once its last move is made. What is learned from it is the return of the
    policy that played then, and not corrected (as Hessel et al. 2018 have it in Rainbow).
    """
    if isinstance(steps, bool) or not hasattr(steps, '__index__') or steps < 1:
        raise UsageError(f'n_step: steps is {steps!r:.80}; it is a whole number, 1 or more')
    if steps == 1:
        return replay

    def empty(example: Transition, envs: int) -> Window:
        rows = jax.tree.map(lambda x: jnp.zeros((steps - 1, envs, *x.shape), x.dtype), example)
        over = jnp.zeros((steps - 1, envs), jnp.bool)
        return Window(rows, over, jnp.int32(0), replay.empty(example, envs))

    def add(state: Window, transitions: Transition, over: Array, real: Array) -> Window:
        def follow(old: Array, new: Array) -> Array:
            return jnp.concatenate([old, new[None]])

        rows = jax.tree.map(follow, state.transitions, transitions)
        ends = follow(state.over, over)
        moves = jnp.minimum(state.moves + 1, steps)
        inner = replay.add(state.inner, join_moves(rows, ends), over, real & (moves == steps))
        after = state._replace(
            transitions=jax.tree.map(lambda x: x[1:], rows), over=ends[1:], moves=moves, inner=()
        )
        before = state._replace(inner=())
        window = jax.tree.map(lambda new, old: jnp.where(real, new, old), after, before)
        return window._replace(inner=inner)

    inner_update = replay.update

    def update(state: Window, drawn: Drawn, errors: Array, real: Array) -> Window:
        assert inner_update is not None
        return state._replace(inner=inner_update(state.inner, drawn, errors, real))

    return replay._replace(
        empty=empty,
        add=add,
        size=lambda state: replay.size(state.inner),
        sample=lambda key, state, batch, step: replay.sample(key, state.inner, batch, step),
        update=update if inner_update else None,
        told=f'{replay.told}; a transition is {steps} moves',
    )
