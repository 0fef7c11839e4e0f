"""Randomness by name: the key of a thing depends on what it is for, never on the order of calls."""

import zlib

import jax

Key = jax.Array


def key_for(key: Key, name: str) -> Key:
    """The child of `key` called `name`, e.g. ``key_for(key, 'dropout')``."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def key_at(key: Key, step: int | jax.Array) -> Key:
    """The key of one step. Nothing needs to be saved for an exact resume."""
    return jax.random.fold_in(key, step)
