"""Prioritised replay: what was predicted badly is drawn more often (Schaul et al. 2016)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UsageError
from jaxdl.keys import Key
from jaxdl.rl.env import Transition
from jaxdl.rl.replay import (
    Drawn,
    Replay,
    Ring,
    at_places,
    checked_capacity,
    empty_ring,
    next_places,
    put,
)
from jaxdl.rl.sum_tree import at_leaves, empty_tree, find, set_leaves

Array = jax.Array


class Prioritised(NamedTuple):
    """The state: the ring, the sum tree of p^alpha over its places, and the highest so far."""

    ring: Ring
    tree: Array
    highest: Array


def prioritised(
    capacity: int,
    *,
    alpha: float = 0.6,
    beta: Callable[[Array], Any],
    least: float = 1e-6,
) -> Replay:
    """The last `capacity` transitions, drawn in proportion to their errors.

        P(i) = p_i^alpha / sum_k p_k^alpha,  p_i = |error_i| + least          (equation 1)
        w_i = (size * P(i))^-beta / max_j w_j, j in the batch          (section 3.4)

    A batch has one row from each of as many equal stretches of the sum of all priorities (appendix
    B.2.1); it may hold one transition twice. New transitions have the highest priority there has
    been, 1 at first (algorithm 1).

    alpha: 0 is uniform. beta(step): any optax schedule; the paper's goes linearly from 0.4 to 1.
    Raises UsageError for an alpha or a least priority that cannot be.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f'prioritised: alpha is {alpha!r}; it is from 0, uniform, to 1')
    if not least > 0:
        raise UsageError(f'prioritised: least is {least!r}; it is above 0, or rows are never drawn')

    def empty(example: Transition, envs: int) -> Prioritised:
        tree = empty_tree(checked_capacity(capacity))
        return Prioritised(empty_ring(example, capacity), tree, jnp.float32(1))

    def add(state: Prioritised, transitions: Transition, over: Array, real: Array) -> Prioritised:
        places = next_places(state.ring, len(over))
        values = jnp.where(real, state.highest, at_leaves(state.tree, places))
        tree = set_leaves(state.tree, places, values)
        return state._replace(ring=put(state.ring, transitions, real), tree=tree)

    def sample(key: Key, state: Prioritised, batch: int, step: Array) -> Drawn:
        total = state.tree[1]
        stretches = (jnp.arange(batch) + jax.random.uniform(key, (batch,))) / batch
        places = find(state.tree, stretches * total)
        tiny = float(np.finfo(np.float32).tiny)  # while nothing is there
        chance = at_leaves(state.tree, places) / jnp.maximum(total, tiny)
        weight = jnp.maximum(state.ring.size * chance, tiny) ** -jnp.asarray(beta(step))
        return Drawn(at_places(state.ring, places), weight / weight.max(), places)

    def update(state: Prioritised, drawn: Drawn, errors: Array, real: Array) -> Prioritised:
        priority = (jnp.abs(errors) + least) ** alpha
        values = jnp.where(real, priority, at_leaves(state.tree, drawn.places))
        highest = jnp.where(real, jnp.maximum(state.highest, priority.max()), state.highest)
        tree = set_leaves(state.tree, drawn.places, values)
        return state._replace(tree=tree, highest=highest)

    return Replay(
        empty,
        add,
        size=lambda state: state.ring.size,
        sample=sample,
        update=update,
        capacity=checked_capacity(capacity),
        repeats=True,
        told=f'batches are drawn from the last {capacity:,} transitions by their errors to the '
        f'power of {alpha:g}, with importance weights',
    )
