"""The product with a banded matrix against the direct convolution: values, gradients, NaN."""

import numpy as np
import pytest
from test_layers import assert_all_close, value_and_gradients
from test_winograd import plain

from jaxdl.nn.cpu import banded


def drawn(images, kernel):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in (images, kernel)]


@pytest.mark.parametrize(
    'size,kernel,padding',
    [
        ((8, 8), (3, 3), ((1, 1), (1, 1))),
        ((8, 8), (5, 5), ((0, 0), (0, 0))),
        ((9, 7), (2, 4), ((0, 2), (1, 0))),
        ((9, 7), (3, 2), ((2, -1), (-1, 3))),
        ((6, 5), (1, 1), ((0, 0), (0, 0))),
        ((6, 5), (3, 1), ((1, 1), (2, 0))),
        ((6, 4), (1, 7), ((0, 0), (3, 3))),  # wider than the image
        ((6, 5), (6, 5), ((0, 0), (0, 0))),  # one output
    ],
)
@pytest.mark.parametrize('channels', [(3, 2), pytest.param((1, 4), marks=pytest.mark.slow)])
def test_it_equals_the_direct_one(size, kernel, padding, channels):
    x, w = drawn((2, *size, channels[0]), (*kernel, *channels))
    ours = value_and_gradients(lambda x, w: banded.convolution(x, w, padding), x, w)
    assert_all_close(ours, value_and_gradients(lambda x, w: plain(x, w, padding), x, w))


def test_a_nan_stays_in_its_patches():
    # The direct convolution has NaN only where the kernel sees one; 0 NaN is NaN in a product.
    x, w = drawn((1, 6, 12, 1), (3, 3, 1, 2))
    x[0, 3, 5] = np.nan
    seen = np.isnan(plain(x, w, ((1, 1), (1, 1))))
    ours = np.isnan(banded.convolution(x, w, ((1, 1), (1, 1))))
    assert (ours >= seen).all() and ours.sum() <= 2 * seen.sum()
