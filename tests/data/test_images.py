"""Functions that make images ready, against their definition."""

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.images import shrunk
from jaxdl.data.table import from_arrays
from jaxdl.errors import UsageError


@pytest.mark.parametrize('size', [(6, 8), (7, 9)])
def test_shrunk_is_pillows_reduction(size):
    images = np.random.default_rng(0).integers(0, 256, (4, *size, 3), np.uint8)
    got = from_arrays({'x': images}).map({'x': shrunk(2)}).arrays['x']
    rows, columns = size[0] // 2, size[1] // 2
    assert got.shape == (4, rows, columns, 3) and got.dtype == np.uint8
    for image, small in zip(images, got, strict=True):
        theirs = np.asarray(Image.fromarray(image).reduce(2))[:rows, :columns].astype(int)
        assert np.abs(small - theirs).max() <= 1  # Pillow rounds halves up


def test_floats_are_not_rounded():
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    assert shrunk(4)(x).ravel().tolist() == [7.5]


def test_images_that_are_too_small_are_refused():
    with pytest.raises(UsageError, match='images of 4x4 cannot be 5 times smaller'):
        shrunk(5)(np.zeros((1, 4, 4, 1)))
