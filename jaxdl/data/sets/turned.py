"""Digits and the same digits turned and inverted: two kinds of images with known, hidden pairs."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.sets.mnist import mnist
from jaxdl.data.source import Source
from jaxdl.data.stream import nothing, over
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

SIDE = 16


def turned_digits(
    examples: int = 60_000, *, degrees: float = 90.0, shrink: int = 2
) -> tuple[Table, Table]:
    """MNIST to train on and to test on: a, b uint8 [16, 16, 1], of which b is a turned, inverted.

    Digits of 14x14 in the middle of 16x16 pixels; b is dark on white and turned by `degrees`
    anticlockwise, linear between pixels. y is the digit. examples: see `mnist`.
    """
    train, test = (_turned(table, degrees) for table in mnist(examples, shrink=shrink))
    return train, test


def apart(table: Table, *, batch: int) -> Source:
    """Images a of the first half of a table, and b of the second, drawn anew for each step.

    So no image of the one kind has its pair among those of the other. Both are floats -1..1,
    [batch, 16, 16, 1].
    """
    half = len(table) // 2
    if not 1 <= half:
        raise UsageError(f'apart: {table.name} has {len(table)} rows; 2 or more')
    images = {'a': table.column('a')[:half], 'b': table.column('b')[half : 2 * half]}

    def make(key: Key, empty: Batch, held: Any) -> Batch:
        rows = {k: jax.random.randint(key_for(key, k), (batch,), 0, half) for k in held}
        return {name: signed(held[name][rows[name]]) for name in held}

    name = f'{table.name}: {half} and {half} images apart, in batches of {batch}'
    return over(replace(nothing(), name=name), images, make)


def as_signed(key: Key, batch: Batch) -> Batch:
    """A transform of rows: a and b as floats -1..1."""
    return {**batch, 'a': signed(batch['a']), 'b': signed(batch['b'])}


def signed(x: jax.Array) -> jax.Array:
    """Bytes as floats -1..1."""
    return x.astype(jnp.float32) / 127.5 - 1


def _turned(table: Table, degrees: float) -> Table:
    from scipy import ndimage

    x = table.column('x')
    high, wide = x.shape[1:3]
    edge = ((0, 0), (_half(high), _half(high)), (_half(wide), _half(wide)), (0, 0))
    a = np.pad(x, edge)
    turned = ndimage.rotate(a.astype(np.float32), degrees, axes=(2, 1), reshape=False, order=1)
    b = 255 - np.clip(np.round(turned), 0, 255).astype(np.uint8)
    columns = {'a': a, 'b': b, 'y': table.column('y')}
    return from_arrays(columns, name=f'{table.name}, turned', card=table.card)


def _half(side: int) -> int:
    return (SIDE - side) // 2
