"""Experience replay: a ring of the latest transitions, sampled uniformly (Lin 1992)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.keys import Key

Array = jax.Array


class Replay(NamedTuple):
    """A ring of fixed capacity.

    entries: a pytree of arrays [capacity, ...].
    position: where the next entry goes, int32.
    size: how many entries are filled, int32, at most the capacity.
    """

    entries: Any
    position: Array
    size: Array


def empty(example: Any, capacity: int) -> Replay:
    """A ring of `capacity` entries of the shapes and dtypes of `example`, none of them filled."""
    entries = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example)
    return Replay(entries, jnp.int32(0), jnp.int32(0))


def add(replay: Replay, transitions: Any) -> Replay:
    """The ring with `transitions` [n, ...] in it, in the place of the n oldest when full."""
    capacity = len(jax.tree.leaves(replay.entries)[0])
    n = len(jax.tree.leaves(transitions)[0])
    if n > capacity:
        raise ValueError(f'{n} transitions at once do not fit a replay of capacity {capacity}')
    places = (replay.position + jnp.arange(n)) % capacity
    entries = jax.tree.map(lambda ring, new: ring.at[places].set(new), replay.entries, transitions)
    size = jnp.minimum(replay.size + n, capacity)
    return Replay(entries, (replay.position + n) % capacity, size)


def sample(key: Key, replay: Replay, batch: int) -> Any:
    """`batch` entries, each drawn uniformly from the filled ones, with replacement."""
    places = jax.random.randint(key, (batch,), 0, replay.size)
    return jax.tree.map(lambda ring: ring[places], replay.entries)
