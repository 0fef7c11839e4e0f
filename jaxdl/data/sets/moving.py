"""Moving digits: short videos whose class is in the order of the frames, and nowhere else.

After Moving MNIST (Srivastava et al. 2015, section 4.1), made small: a digit goes around a circle,
clockwise (class 0) or anticlockwise (class 1). It starts anywhere, so no frame tells anything; and
a video that is played backwards is one of the other class, equally likely, so no statistic of the
set of frames does either: every function that does not see the order is right in half of the cases.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.data.augment import Transform
from jaxdl.data.source import Source
from jaxdl.data.stream import nothing, over
from jaxdl.data.table import Table
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

DIRECTIONS = ('clockwise', 'anticlockwise')


def circling(
    table: Table,
    *,
    batch: int,
    frames: int = 8,
    size: int = 16,
    turns: float = 0.875,
    batches: int | None = None,
    transform: Transform | None = None,
    private: bool = False,
) -> Source:
    """Videos x float32 [batch, frames, size, size, C] in 0..1, and y, drawn anew on the device.

    table: x uint8 [n, height, width, C], smaller than `size`: ``mnist(shrink=4)`` has 7x7. Those to
        train on and to test on are made of different images.
    turns: how far round the circle, from the first frame to the last.
    """
    images = table.column('x')
    _, high, wide, _ = images.shape
    if max(high, wide) >= size:
        raise UsageError(
            f'circling: images of {high}x{wide} in frames of size={size}; smaller ones'
        )
    if frames < 2:
        raise UsageError(f'circling: frames={frames}; 2 or more')

    def make(key: Key, empty: Batch, held: Any) -> Batch:
        which = jax.random.randint(key_for(key, 'image'), (batch,), 0, len(images))
        start = jax.random.uniform(key_for(key, 'start'), (batch, 1))
        y = jax.random.randint(key_for(key, 'direction'), (batch,), 0, 2)
        gone = turns * jnp.arange(frames)[None] / (frames - 1)
        angle = 2 * jnp.pi * (start + gone * (1 - 2 * y[:, None]))
        pixels = held['x'][which].astype(jnp.float32) / 255
        # Down is the second axis of a picture, so growing angles go clockwise.
        down = _shift((1 + jnp.sin(angle)) * (size - high) / 2, high, size)
        right = _shift((1 + jnp.cos(angle)) * (size - wide) / 2, wide, size)
        x = jnp.einsum('btih,bhwc,btjw->btijc', down, pixels, right)
        result = {'x': x, 'y': y, 'mask': jnp.ones(batch, bool)}
        return result if transform is None else transform(key_for(key, 'transform'), result)

    name = f'{table.name}: circling images in batches of {batch}'
    return over(replace(nothing(batches=batches), name=name, private=private), {'x': images}, make)


def shuffle_frames(*, column: str = 'x') -> Transform:
    """The frames of each video [B, T, ...] in an order drawn for it: the control of the order."""

    def transform(key: Key, batch: Batch) -> Batch:
        x = batch[column]
        order = jnp.argsort(jax.random.uniform(key, x.shape[:2]), axis=1)
        return {**batch, column: x[jnp.arange(len(x))[:, None], order]}

    return transform


def _shift(by: jax.Array, inner: int, outer: int) -> jax.Array:
    """Matrices [B, T, outer, inner] that move pixels by so many [B, T], linear in between."""
    place = jnp.arange(outer)[:, None] - jnp.arange(inner)[None]
    return jnp.maximum(0, 1 - jnp.abs(place[None, None] - by[..., None, None]))
