"""Pure functions on batches, (key, batch) -> batch: they run inside the compiled step.

Deterministic ones have the same signature and ignore the key, so that all compose.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.keys import Key
from jaxdl.task import Batch

Transform = Callable[[Key, Batch], Batch]


def compose(*transforms: Transform) -> Transform:
    """One after another, each with a key of its own."""

    def composed(key: Key, batch: Batch) -> Batch:
        for index, transform in enumerate(transforms):
            batch = transform(jax.random.fold_in(key, index), batch)
        return batch

    return composed


def as_float(*, scale: float = 1 / 255, column: str = 'x') -> Transform:
    """x -> scale * x in float32: uint8 pixels become 0..1."""
    return _on(column, lambda key, x: x.astype(jnp.float32) * scale)


def standardise(mean: Any, std: Any, *, column: str = 'x') -> Transform:
    """x -> (x - mean) / std in float32, with one number or one for each of the last axis."""
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)

    def transform(key: Key, x: jax.Array) -> jax.Array:
        axes = tuple(range(x.ndim - mean.ndim))
        return (x - jnp.expand_dims(mean, axes)) / jnp.expand_dims(std, axes)

    return _on(column, transform)


def shift(pixels: int, *, column: str = 'x') -> Transform:
    """Each image [height, width, channels] moved by up to `pixels` each way, zeros coming in."""

    def moved(image: jax.Array, corner: jax.Array) -> jax.Array:
        padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
        return jax.lax.dynamic_slice(padded, (*corner, jnp.zeros_like(corner[0])), image.shape)

    def transform(key: Key, x: jax.Array) -> jax.Array:
        corners = jax.random.randint(key, (len(x), 2), 0, 2 * pixels + 1)
        return jax.vmap(moved)(x, corners)

    return _on(column, transform)


def _on(column: str, function: Callable[[Key, jax.Array], jax.Array]) -> Transform:
    return lambda key, batch: {**batch, column: function(key, batch[column])}
