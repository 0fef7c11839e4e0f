"""Digits and their turned, inverted pairs, and how pairs are hidden."""

import numpy as np
import pytest

from jaxdl.data.sets.turned import apart, as_signed, turned_digits
from jaxdl.data.table import from_arrays
from jaxdl.errors import DataMissingError, UsageError


def numbered(rows):
    """Images a and b whose pixels say which row they are of."""
    value = np.arange(rows, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    return from_arrays({'a': value, 'b': value + 100}, name='numbered')


def test_no_image_has_its_pair_among_the_others():
    source = apart(numbered(11), batch=64)
    seen = {'a': set(), 'b': set()}
    for _, batch in zip(range(3), source, strict=False):
        assert batch['mask'].all() and batch['a'].shape == (64, 2, 2, 1)
        for kind in seen:
            assert batch[kind].min() >= -1 and batch[kind].max() <= 1
            seen[kind] |= set(np.round((np.asarray(batch[kind]) + 1) * 127.5).ravel().tolist())
    assert seen == {'a': {0, 1, 2, 3, 4}, 'b': {105, 106, 107, 108, 109}}
    both = as_signed(None, {'a': np.array([0, 255], np.uint8), 'b': np.array([51], np.uint8)})
    assert both['a'].tolist() == [-1, 1] and both['b'].tolist() == pytest.approx([-0.6])
    with pytest.raises(UsageError, match='numbered has 1 rows; 2 or more'):
        apart(numbered(1), batch=2)


def test_a_pair_is_turned_and_inverted():
    try:
        train, test = turned_digits(20)
    except DataMissingError as missing:
        pytest.skip(str(missing))
    assert (len(train), len(test)) == (20, 200)
    a, b = (train.column(name) for name in ('a', 'b'))
    assert a.shape == b.shape == (20, 16, 16, 1) and a.dtype == b.dtype == np.uint8
    np.testing.assert_array_equal(255 - b, np.rot90(a, axes=(1, 2)))
    slanted, _ = turned_digits(20, degrees=20.0)
    off = np.abs(255 - slanted.column('b').astype(float) - a).mean()
    assert 5 < off < np.abs(255 - b.astype(float) - a).mean()
