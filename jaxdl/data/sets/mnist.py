"""MNIST: handwritten digits (LeCun et al. 1998), alone and several side by side."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.images import shrunk
from jaxdl.data.source import Source
from jaxdl.data.stream import nothing, over
from jaxdl.data.table import Table
from jaxdl.data.text import Tokenizer
from jaxdl.data.tfds import tfds
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

FRAMED = (8, 16, 32)  # pixels
DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')


def mnist(examples: int = 60_000, *, shrink: int = 1) -> tuple[Table, Table]:
    """Tables to train on and to test on, from TFDS `mnist`: x uint8 [28, 28, 1], y 0..9.

    Few examples are the first ones; there are ten times as many test images then, 10,000 at most.
    shrink: how many times smaller height and width are made.
    """
    columns = {'x': 'image', 'y': 'label'}
    train = tfds('mnist', f'train[:{examples}]', columns=columns)
    test = tfds('mnist', f'test[:{min(10 * examples, 10_000)}]', columns=columns)
    if shrink == 1:
        return train, test
    smaller = {'x': shrunk(shrink)}
    return train.map(smaller).load(), test.map(smaller).load()


@functools.cache
def framed_mnist(examples: int = 60_000, *, size: int) -> tuple[Table, Table]:
    """The same tables of images of size x size: halved as often as needed, then framed by zeros.

    size: 8, 16 or 32, a power of two, which generators make. Both are in memory, and every caller
    has the same ones. Raises UsageError for another size.
    """
    if size not in FRAMED:
        raise UsageError(f'framed_mnist: size={size}; {", ".join(map(str, FRAMED))} are possible')
    shrink = 32 // size
    more = size - 28 // shrink
    sides = (more // 2, more - more // 2)
    frame = {'x': lambda x: np.pad(x, ((0, 0), sides, sides, (0, 0)))}
    train, test = mnist(examples, shrink=shrink)
    return train.map(frame).load(), test.map(frame).load()


def side_by_side(
    table: Table,
    tokenizer: Tokenizer,
    *,
    batch: int,
    digits: tuple[int, int] = (1, 5),
    gap: int = 4,
    batches: int | None = None,
    private: bool = False,
) -> Source:
    """Some digits from left to right, drawn anew for each batch on the device, and their names.

    source: images float32 [batch, height, width, 1], 0..1, as wide as most digits and gaps; target
    int [batch, most + 2], the `tokenizer`'s words 'three', 'seven', between its tokens for start
    and end, and how many of them count, `target_lengths`.

    digits: the fewest and the most. gap: columns before each digit, up to. batches: how many, None
    for ever. private: each seed has draws of its own.
    """
    least, most = digits
    if not 1 <= least <= most:
        raise UsageError(f'side_by_side: digits={digits}; the fewest, at least 1, and the most')
    if gap < 0 or batch < 1:
        raise UsageError(f'side_by_side: gap={gap}, batch={batch}; at least 0, and at least 1')
    x, y = table.column('x'), table.column('y')
    _, high, wide, _ = x.shape
    across = most * (wide + gap)
    words = np.array([tokenizer.id(name) for name in DIGITS], np.int32)
    special = tokenizer.special
    if special.start is None or special.end is None:
        raise UsageError(f'side_by_side: {tokenizer!r:.80} has no tokens for start and end')
    first, last, pad = special.start, special.end, special.pad or 0

    def make(key: Key, empty: Batch, held: Any) -> Batch:
        count = jax.random.randint(key_for(key, 'count'), (batch,), least, most + 1)
        which = jax.random.randint(key_for(key, 'which'), (batch, most), 0, len(held['x']))
        gaps = jax.random.randint(key_for(key, 'gaps'), (batch, most), 0, gap + 1)
        starts = jnp.cumsum(gaps + wide, axis=1) - wide
        column = jnp.arange(across)[None, :, None] - starts[:, None]  # of each digit, [B, across]
        inside = (
            (column >= 0) & (column < wide) & (jnp.arange(most)[None] < count[:, None])[:, None]
        )
        digit = inside.argmax(-1)  # at most one stands in a column
        row = jnp.arange(batch)[:, None]
        within = jnp.where(inside, column, 0).sum(-1)
        image = held['x'][which[row, digit], :, within, 0].swapaxes(1, 2)
        image = jnp.where(inside.any(-1)[:, None], image, 0).astype(jnp.float32) / 255
        place = jnp.arange(most + 2)[None] - 1
        names = jnp.pad(held['words'][held['y'][which]], ((0, 0), (1, 1)))
        target = jnp.where(place < count[:, None], names, pad)
        target = jnp.where(place == count[:, None], last, target).at[:, 0].set(first)
        return {
            'source': image[..., None],
            'target': target,
            'target_lengths': count + 2,
            'mask': jnp.ones(batch, bool),
        }

    name = f'{table.name}: {least} to {most} digits side by side in batches of {batch}'
    source = replace(nothing(batches=batches), name=name, private=private)
    return over(source, {'x': x, 'y': y, 'words': words}, make)
