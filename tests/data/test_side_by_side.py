"""Digits side by side: what is seen is what is said, from left to right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.sets.mnist import DIGITS, side_by_side
from jaxdl.data.table import from_arrays
from jaxdl.data.text import Words
from jaxdl.errors import UsageError

WORDS = Words.learn(DIGITS)
# Digit d is a square of 3x3 of brightness d + 1, but for the first column of its second row.
PIXELS = np.broadcast_to(np.arange(1, 11, dtype=np.uint8)[:, None, None, None], (10, 3, 3, 1))
TABLE = from_arrays({'x': PIXELS * (1 - (np.eye(9)[3].reshape(3, 3, 1))).astype(np.uint8),
                     'y': np.arange(10)}, name='squares')  # fmt: skip


@pytest.fixture(scope='module')
def batch():
    return next(iter(side_by_side(TABLE, WORDS, batch=40, digits=(1, 3), gap=2)))


def test_the_image_shows_what_the_words_say(batch):
    assert batch['source'].shape == (40, 3, 15, 1) and batch['target'].shape == (40, 5)
    pixels = np.round(np.asarray(batch['source'])[..., 0] * 255).astype(int)
    counts, gaps = set(), set()
    for image, said, length in zip(pixels, batch['target'], batch['target_lengths'], strict=True):
        top, middle = image[0], image[1]
        starts = np.flatnonzero((top > 0) & (middle == 0))  # where a square begins
        shown = [DIGITS[value - 1] for value in top[starts]]
        assert WORDS.decode(said.tolist()).split() == shown
        assert (top > 0).sum() == 3 * len(starts)
        ids = said.tolist()
        assert ids[0] == 2 and ids[length - 1] == 3 and not any(ids[length:])
        assert length == len(starts) + 2
        counts.add(len(starts))
        gaps.update(np.diff(starts) - 3)
    assert counts == {1, 2, 3} and gaps == {0, 1, 2}


def test_batches_differ_and_end():
    source = side_by_side(TABLE, WORDS, batch=4, batches=2)
    first, second = source
    assert not jnp.array_equal(first['source'], second['source'])
    assert jax.tree.map(jnp.shape, first) == jax.tree.map(jnp.shape, second)


@pytest.mark.parametrize(
    'options, line',
    [
        ({'digits': (0, 2)}, r'digits=\(0, 2\); the fewest, at least 1'),
        ({'gap': -1}, 'gap=-1, batch=2; at least 0'),
    ],
)
def test_what_cannot_be_composed_is_said(options, line):
    with pytest.raises(UsageError, match=line):
        side_by_side(TABLE, WORDS, batch=2, **options)
