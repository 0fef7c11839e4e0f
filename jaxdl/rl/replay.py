"""Experience replay: a ring of the latest transitions (Lin 1992), and how batches are drawn of it.

A `Replay` is pure functions over a state, so that it is a part of an actor's state as the
environments are. Which one an actor has is what it is given: `uniform`, `distinct`,
`jaxdl.rl.prioritised`; `jaxdl.rl.n_step` makes another one of each.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.errors import UsageError
from jaxdl.keys import Key
from jaxdl.rl.env import Transition

Array = jax.Array


class Drawn(NamedTuple):
    """A batch drawn from a replay, what a learner learns from.

    transitions: [n, ...].
    weight: [n], by which each row's loss is multiplied; 1 where rows are drawn uniformly.
    places: int32 [n], where the rows stand in the replay.
    """

    transitions: Transition
    weight: Array
    places: Array


class Replay(NamedTuple):
    """A memory of transitions as pure functions over its state.

    empty(example, envs) -> state: with room for transitions like `example`, none of them there;
        they will come `envs` at a time.
    add(state, transitions, over, real) -> state: with transitions [envs, ...] in the place of the
        oldest; over: bool [envs], whether an episode ends with each. Where `real`, a bool, is false
        nothing changes.
    size(state) -> int32: how many can be drawn.
    sample(key, state, batch, step) -> Drawn: `batch` rows; step: the actor's, if it matters.
    update(state, drawn, errors, real) -> state: after the learner has found temporal-difference
        errors [n] in what was drawn; None: they change nothing. `real` as above.
    capacity: the most transitions there are.
    repeats: whether a batch may hold one transition twice; if not, there must be a batch of them.
    told: what it is, in words, for the report.
    """

    empty: Callable[[Transition, int], Any]
    add: Callable[[Any, Transition, Array, Array], Any]
    size: Callable[[Any], Array]
    sample: Callable[[Key, Any, int, Array], Drawn]
    update: Callable[[Any, Drawn, Array, Array], Any] | None
    capacity: int
    repeats: bool
    told: str


class Ring(NamedTuple):
    """The latest entries, as many as its capacity.

    entries: a pytree of arrays [capacity, ...].
    position: where the next entry goes, int32.
    size: how many entries are filled, int32, at most the capacity.
    """

    entries: Any
    position: Array
    size: Array


def empty_ring(example: Any, capacity: int) -> Ring:
    """A ring of `capacity` entries of the shapes and dtypes of `example`, none of them filled."""
    entries = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example)
    return Ring(entries, jnp.int32(0), jnp.int32(0))


def put(ring: Ring, entries: Any, real: Any = True) -> Ring:
    """The ring with `entries` [n, ...] in it, in the place of the n oldest when full.

    real: a bool; where it is false the ring stays as it is.
    """
    capacity = len(jax.tree.leaves(ring.entries)[0])
    n = len(jax.tree.leaves(entries)[0])
    if n > capacity:
        raise ValueError(f'{n} transitions at once do not fit a ring of capacity {capacity}')
    # No select between two rings: it would copy all of one. What stands outside is dropped.
    places = jnp.where(real, next_places(ring, n), capacity)
    held = jax.tree.map(
        lambda old, new: old.at[places].set(new, mode='drop'), ring.entries, entries
    )
    added = jnp.where(real, n, 0)
    size = jnp.minimum(ring.size + added, capacity)
    return Ring(held, (ring.position + added) % capacity, size)


def next_places(ring: Ring, n: int) -> Array:
    """Where the next n entries go, int32 [n]."""
    capacity = len(jax.tree.leaves(ring.entries)[0])
    return (ring.position + jnp.arange(n)) % capacity


def at_places(ring: Ring, places: Array) -> Any:
    """The entries at places [n]."""
    return jax.tree.map(lambda held: held[places], ring.entries)


def uniform(capacity: int) -> Replay:
    """The last `capacity` transitions, each row of a batch drawn from all of them.

    Uniformly and with replacement (Mnih et al. 2015, algorithm 1): a batch may hold one twice.
    """

    def sample(key: Key, ring: Ring, batch: int, step: Array) -> Drawn:
        places = jax.random.randint(key, (batch,), 0, ring.size)
        return _unweighted(ring, places)

    told = f'batches are drawn uniformly from the last {capacity:,} transitions, with replacement'
    return _plain(capacity, sample, repeats=True, told=told)


def distinct(capacity: int) -> Replay:
    """The last `capacity` transitions, of which a batch never holds one twice.

    Batches are drawn uniformly without replacement. With a capacity of one batch this is no replay:
    each batch is what was seen last.
    """

    def sample(key: Key, ring: Ring, batch: int, step: Array) -> Drawn:
        return _unweighted(ring, draw_distinct(key, ring.size, batch))

    told = f'batches are drawn from the last {capacity:,} transitions, none of them twice'
    return _plain(capacity, sample, repeats=False, told=told)


def draw_distinct(key: Key, size: Array, n: int) -> Array:
    """n different numbers from 0 to size - 1, int32 [n]; every set of them is as likely.

    Floyd's algorithm (Bentley and Floyd 1987), whose time does not depend on the size. The order is
    not random. Where there are fewer than n, they are not different.
    """
    last = jnp.maximum(size - n + jnp.arange(n), 0)
    draws = jax.random.randint(key, (n,), 0, last + 1)

    def take(i: Array, taken: Array) -> Array:
        again = (taken == draws[i]).any()
        return taken.at[i].set(jnp.where(again, last[i], draws[i]))

    return jax.lax.fori_loop(0, n, take, jnp.full(n, -1, jnp.int32))


def _plain(
    capacity: int,
    sample: Callable[[Key, Any, int, Array], Drawn],
    *,
    repeats: bool,
    told: str,
) -> Replay:
    """A ring that learns nothing from errors."""
    return Replay(
        empty=lambda example, envs: empty_ring(example, checked_capacity(capacity)),
        add=lambda ring, transitions, over, real: put(ring, transitions, real),
        size=lambda ring: ring.size,
        sample=sample,
        update=None,
        capacity=checked_capacity(capacity),
        repeats=repeats,
        told=told,
    )


def _unweighted(ring: Ring, places: Array) -> Drawn:
    return Drawn(at_places(ring, places), jnp.ones(len(places)), places)


def checked_capacity(capacity: Any) -> int:
    """The same number. Raises UsageError for what is no number of transitions."""
    if isinstance(capacity, bool) or not hasattr(capacity, '__index__') or capacity < 1:
        raise UsageError(f'replay: capacity is {capacity!r:.80}; it is a whole number, 1 or more')
    return int(capacity)
