"""What generators are given: images of a power of two, and the latents beside them."""

import numpy as np
import pytest

from jaxdl.data.latents import beside_latents
from jaxdl.data.sets import mnist
from jaxdl.data.table import from_arrays
from jaxdl.errors import UsageError


def digits(rows, side):
    x = np.full((rows, side, side, 1), 7, np.uint8)
    return from_arrays({'x': x, 'y': np.arange(rows)}, name='digits')


@pytest.mark.parametrize('size, shrink, first', [(8, 4, 0), (16, 2, 1), (32, 1, 2)])
def test_digits_stand_in_the_middle_of_a_frame(size, shrink, first, monkeypatch):
    asked = []

    def read(examples, *, shrink):
        asked.append((examples, shrink))
        return digits(3, 28 // shrink), digits(5, 28 // shrink)

    monkeypatch.setattr(mnist, 'mnist', read)
    train, test = mnist.framed_mnist.__wrapped__(3, size=size)
    assert asked == [(3, shrink)] and (len(train), len(test)) == (3, 5)
    x = train.column('x')
    assert x.shape == (3, size, size, 1) and x.dtype == np.uint8
    inside = slice(first, first + 28 // shrink)
    assert (x[:, inside, inside] == 7).all()
    assert (x == 7).sum() == 3 * (28 // shrink) ** 2 and (x == 0).any()


def test_another_size_is_refused():
    with pytest.raises(UsageError, match='size=28; 8, 16, 32 are possible'):
        mnist.framed_mnist(3, size=28)


def test_latents_are_the_same_at_every_look():
    table = digits(50, 2)
    one, other = (beside_latents(table, rows=rows, latents=400) for rows in (40, 99))
    assert (len(one), len(other)) == (40, 50) and one.columns == ('x', 'y', 'noise')
    noise = other.column('noise')
    assert noise.shape == (50, 400) and noise.dtype == np.float32
    np.testing.assert_array_equal(one.column('noise'), noise[:40])
    np.testing.assert_array_equal(one.column('y'), np.arange(40))
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
