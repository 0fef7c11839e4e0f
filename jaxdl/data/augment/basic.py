"""Transforms of batches, (key, batch) -> batch, and how they combine.

Deterministic ones have the same signature and ignore the key, so that all compose.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

Transform = Callable[[Key, Batch], Batch]


def compose(*transforms: Transform) -> Transform:
    """One after another, each with a key of its own."""

    def composed(key: Key, batch: Batch) -> Batch:
        for index, transform in enumerate(transforms):
            batch = transform(jax.random.fold_in(key, index), batch)
        return batch

    return composed


def sometimes(probability: float, transform: Transform) -> Transform:
    """`transform` for each row with this probability, else the row as it was.

    The transform must keep all columns, shapes and dtypes.
    """

    def transformed(key: Key, batch: Batch) -> Batch:
        after = transform(key_for(key, 'transform'), batch)
        rows = len(jax.tree.leaves(batch)[0])
        taken = jax.random.bernoulli(key_for(key, 'taken'), probability, (rows,))
        return jax.tree.map(lambda a, b: jnp.where(each(taken, b), a, b), after, batch)

    return transformed


def one_of(*transforms: Transform) -> Transform:
    """One of the transforms for the whole batch, all equally likely; their outputs are alike."""

    def transformed(key: Key, batch: Batch) -> Batch:
        choice = jax.random.randint(key_for(key, 'choice'), (), 0, len(transforms))
        return jax.lax.switch(choice, transforms, key_for(key, 'transform'), batch)

    return transformed


def views(transforms: Mapping[str, Transform], *, column: str = 'x') -> Transform:
    """Several views of every image beside it: a new column for each, by the name of its transform.

    ``views({'weak': shift(1), 'strong': rand_augment()})`` adds the columns 'weak' and 'strong'.
    Each view has draws of its own; of what a transform makes only `column` is kept. Raises
    UsageError where a batch has a column of that name already.
    """

    def transformed(key: Key, batch: Batch) -> Batch:
        for name in transforms:
            if name in batch:
                raise UsageError(f'views: the batch has a column {name!r} already')
        made = {
            name: transform(key_for(key, name), batch)[column]
            for name, transform in transforms.items()
        }
        return {**batch, **made}

    return transformed


def as_float(*, scale: float = 1 / 255, column: str = 'x') -> Transform:
    """x -> scale * x in float32: uint8 pixels become 0..1."""
    return on(column, lambda key, x: x.astype(jnp.float32) * scale)


def standardise(mean: Any, std: Any, *, column: str = 'x') -> Transform:
    """x -> (x - mean) / std in float32, with one number or one for each of the last axis."""
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)

    def transform(key: Key, x: jax.Array) -> jax.Array:
        axes = tuple(range(x.ndim - mean.ndim))
        return (x - jnp.expand_dims(mean, axes)) / jnp.expand_dims(std, axes)

    return on(column, transform)


def on(column: str, function: Callable[[Key, jax.Array], jax.Array]) -> Transform:
    """`function` on one column, the rest as it is."""
    return lambda key, batch: {**batch, column: function(key, batch[column])}


def each(values: jax.Array, x: jax.Array) -> jax.Array:
    """Values [B] or [B, H, W] in the rank of x [B, H, W, ...]."""
    return values.reshape(*values.shape, *(1,) * (x.ndim - values.ndim))


def real(x: jax.Array, transform: str) -> jax.Array:
    """The images x, if they are floats. Raises UsageError where they are integers."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise UsageError(f'{transform}: images are {x.dtype}; put as_float() before it')
    return x


def uniform(key: Key, rows: int, limits: tuple[float, float]) -> jax.Array:
    """A draw for each row, [rows]; exactly the limit where both are equal."""
    low, high = limits
    return low + (high - low) * jax.random.uniform(key, (rows,))
