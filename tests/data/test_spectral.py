"""Features of waves and holes in them, as transforms of batches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.audio.fourier import frame_count
from jaxdl.audio.mel import log_mel, mel_filters
from jaxdl.data.augment import as_features, spec_augment
from jaxdl.errors import UsageError

FILTERS = mel_filters(size=64, mels=6)
FEATURES = as_features(partial(log_mel, filters=FILTERS, hop=20), partial(frame_count, hop=20))


def test_features_are_those_of_each_row_alone():
    x = np.random.default_rng(0).normal(size=(2, 200)).astype(np.float32)
    batch = FEATURES(jax.random.key(0), {'x': jnp.asarray(x), 'lengths': jnp.array([200, 90])})
    assert batch['x'].shape == (2, 11, 6) and batch['lengths'].tolist() == [11, 5]
    alone = log_mel(x[1:, :90], filters=FILTERS, hop=20)
    np.testing.assert_allclose(batch['x'][1, :5], alone[0], atol=1e-5)
    assert not batch['x'][1, 5:].any()


def holes(key, lengths, *, steps=30, channels=12, **options):
    batch = {'x': jnp.ones((len(lengths), steps, channels)), 'lengths': jnp.asarray(lengths)}
    return np.asarray(spec_augment(**options)(jax.random.key(key), batch)['x']) == 0


def stripes(row):
    """The sizes of the runs of true in a row."""
    edges = np.diff(np.pad(row.astype(int), 1))
    return (np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)).tolist()


def test_stripes_are_as_wide_as_is_said_and_inside_the_row():
    lengths = [30, 20, 8, 1] * 100
    found = holes(0, lengths, times=1, time=10, part=0.5, frequencies=0)
    wide = [stripes(row[:, 0]) for row in found]
    assert all(len(each) <= 1 for each in wide)
    most = np.array([sum(each) for each in wide]).reshape(-1, 4).max(0)
    assert most.tolist() == [10, 10, 4, 0]
    for row, n in zip(found, lengths, strict=True):
        assert not row[n:].any() and (row.all(1) | ~row.any(1)).all()


def test_stripes_are_as_wide_on_average_as_was_drawn():
    """Uniform over 0 .. 10 frames: none is cut off by the end of its row."""
    found = holes(2, [30] * 2000, channels=1, times=1, time=10, frequencies=0)
    assert found.sum((1, 2)).mean() == pytest.approx(5, abs=0.25)


def test_channels():
    found = holes(1, [30] * 300, times=0, frequencies=2, frequency=4)
    assert (found.all(1) | ~found.any(1)).all()
    gone = found[:, 0].sum(1)
    assert gone.max() == 8 and gone.min() == 0
    assert found[:, 0].mean(0).min() > 0.05  # every channel is hit


def test_rows_and_keys_differ():
    one, same, other = (holes(k, [30] * 4, time=10, frequency=4) for k in (0, 0, 1))
    assert (one == same).all() and (one != other).any()
    assert (one[0] != one[1]).any()


def test_bad_options():
    with pytest.raises(UsageError, match='part=1.5: none is below 0, and part at most 1'):
        spec_augment(part=1.5)
