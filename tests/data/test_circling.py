"""Videos whose class is the order of their frames."""

import jax
import numpy as np
import pytest

from jaxdl.data.sets.moving import circling, shuffle_frames
from jaxdl.data.table import from_arrays
from jaxdl.errors import UsageError

DOT = from_arrays({'x': np.full((3, 1, 1, 1), 255, np.uint8)})


@pytest.fixture(scope='module')
def batch():
    return next(iter(circling(DOT, batch=64, frames=8, size=9)))


def centres(x):
    """Where the dots are, [B, T, 2], from the middle: right and down."""
    place = np.arange(x.shape[2]) - (x.shape[2] - 1) / 2
    mass = np.asarray(x[..., 0])
    return np.stack([(mass * place).sum((2, 3)), (mass * place[:, None]).sum((2, 3))], axis=-1)


def test_a_dot_goes_around_in_its_direction(batch):
    assert batch['x'].shape == (64, 8, 9, 9, 1)
    np.testing.assert_allclose(batch['x'].sum((2, 3, 4)), 1, atol=1e-5)
    at = centres(batch['x'])
    np.testing.assert_allclose(np.linalg.norm(at, axis=-1), 4, atol=1e-4)
    angle = np.unwrap(np.arctan2(at[..., 1], at[..., 0]), axis=1)
    step = np.diff(angle, axis=1)
    # On a screen, whose second axis points down, growing angles are clockwise.
    sign = np.where(np.asarray(batch['y']) == 0, 1, -1)[:, None]
    np.testing.assert_allclose(step * sign, 2 * np.pi * 0.875 / 7, atol=1e-4)
    assert 20 < batch['y'].sum() < 44


def test_backwards_is_the_other_class(batch):
    """A video from its end has the other direction and the same frames: no set of them tells."""
    at = centres(batch['x'])
    back = at[:, ::-1]
    turn = back[:, 0, 0] * back[:, 1, 1] - back[:, 0, 1] * back[:, 1, 0]
    assert ((turn > 0) == (np.asarray(batch['y']) == 1)).all()


def test_frames_are_shuffled_row_by_row(batch):
    found = shuffle_frames()(jax.random.key(0), batch)
    before, after = centres(batch['x']), centres(found['x'])
    assert not np.allclose(before, after)

    def ordered(x):
        return np.sort(np.round(x[..., 0] * 1e3 + x[..., 1], 2), axis=1)

    np.testing.assert_allclose(ordered(before), ordered(after))
    assert found['y'] is batch['y']


def test_images_that_do_not_fit():
    with pytest.raises(UsageError, match='images of 1x1 in frames of size=1; smaller ones'):
        circling(DOT, batch=2, size=1)
