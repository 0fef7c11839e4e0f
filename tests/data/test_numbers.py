"""What the device holds: nothing is changed in silence, and every refusal says where."""

import logging

import numpy as np
import pytest

from jaxdl.data.numbers import check_told_apart, numeric
from jaxdl.data.rows import Rows
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table, from_arrays, moments
from jaxdl.errors import UsageError

NAN, INF = float('nan'), float('inf')


def table(x, **more):
    return from_arrays({'x': x, **more}, name='t')


def said(function, *args, **options):
    with pytest.raises(UsageError) as error:
        function(*args, **options)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('value', [NAN, INF, -INF])
@pytest.mark.parametrize('dtype', ['f2', 'f4', 'f8', '>f4', 'c8'])
def test_numbers_are_finite(value, dtype):
    x = np.zeros((9, 3), dtype)
    x[5, 1] = value
    line = said(shuffled, table(x), batch=2)
    assert line.startswith("t: column 'x', row 5 at [1] holds ") and 'clean()' in line
    assert 'row 5' in said(in_order, table(x[:, 1]), batch=2, resident=False)


def test_rows_read_when_asked_are_finite_too():
    class Asked(Rows):
        names = ('x',)

        def __len__(self):
            return 6

        def read(self, indices, names):
            return {'x': np.where(indices == 4, NAN, 1.0 * indices)}

    lazy = Table(Asked(), 'lazy')
    stream = in_order(lazy, batch=2, resident=False, threads=0).open(0, 1)
    assert next(stream)['x'].tolist() == [2, 3]
    with pytest.raises(UsageError, match=r"lazy: column 'x', row 4 holds nan"):
        next(stream)
    assert 'row 4 holds nan' in said(in_order, lazy, batch=2)


@pytest.mark.parametrize(
    ('x', 'line'),
    [
        ([1.0, 1e39], 'row 1 holds 1e+39, which float32 cannot'),
        ([[1.0], [-1e300]], 'row 1 at [0] holds -1e+300, which float32 cannot'),
        (np.array([1, 1e30j * 1e10]), 'row 1 holds 1e+40j, which complex64 cannot'),
        (np.array([1.0, '1e4000'], np.longdouble), 'row 1 holds 1e+4000, which float32 cannot'),
        (np.array([0, 2**31]), 'row 1 holds 2147483648, which int32 cannot'),
        (np.array([0, -(2**31) - 1]), 'row 1 holds -2147483649, which int32 cannot'),
        (np.array([5, 2**32], np.uint64), 'row 1 holds 4294967296, which uint32 cannot'),
        ([1707954127790.0, 1707954127791.0], 'holds 1707954127790.0 and 1707954127791.0, which'),
        ([16777217.0, 16777216.0], 'holds 16777216.0 and 16777217.0, which float32 does not tell'),
        (np.arange(2.0**24 - 2, 2**24 + 6), 'which float32 does not tell apart: subtract'),
        (1.7e9 + np.arange(86400.0), 'which float32 does not tell apart'),
        (1.7e9 + np.linspace(0.1, 9.7, 5), 'which float32 does not tell apart'),
        (np.stack([np.arange(9.0), 1e12 + np.arange(9)], 1), '[..., 1] holds 1000000000000.0 and'),
        ([1e-60, 2e-60, 3e-60], 'holds 1e-60 and 2e-60, which float32 does not tell apart'),
    ],
)  # fmt: skip
def test_what_32_bits_cannot_hold_is_refused(x, line):
    message = said(shuffled, table(x), batch=2)
    assert message.startswith("t: column 'x'") and line in message


@pytest.mark.parametrize(
    'x',
    [
        np.random.default_rng(0).normal(size=200_000),
        np.random.default_rng(0).normal(1e3, 1, (4000, 3)),
        np.tile(np.arange(256) / 255, (20, 3)),
        np.array([0.3 - 0.2, 0.1, 0.5]),
        np.full(10, 0.1),
        np.exp(-np.arange(0.0, 700, 7)),
        1.7e9 - 1.7e9 + np.arange(86400.0),
        np.array([1, 2], '>f4'),
        np.array([2**31 - 1, -(2**31)]),
        np.array([1.5, 2.5], np.longdouble),
        np.arange(5) > 2,
    ],
)
def test_what_32_bits_can_hold_is_held(x):
    held = shuffled(table(x), batch=2).resident['x']
    assert held.dtype.isnative and held.dtype.itemsize <= 4
    np.testing.assert_allclose(held, np.asarray(x, np.float64), rtol=1e-6, atol=1e-37)


def test_a_whole_number_that_becomes_another_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        shuffled(table([5.0, 123456789.0, 1e15]), batch=2)
    assert "t: column 'x', row 1 holds 123456789, which is 123456792 as float32" in caplog.text


def test_nothing_is_looked_for_in_what_is_not_narrowed():
    x = np.array([16777217, 16777216], np.int32)
    assert numeric({'x': x}, 't')['x'] is x
    check_told_apart({'x': x, 'text': np.array(['a', 'b'], object)}, 't')


MASKED = np.ma.array([1.0, 2.0, 3.0], mask=[0, 0, 1])


@pytest.mark.parametrize(
    'x',
    [MASKED, list(MASKED), np.ma.array(np.ones((3, 2)), mask=[[0, 0], [0, 0], [0, 1]]),
     [np.ma.array([1.0, 2]), np.ma.array([1.0, 2]), np.ma.array([1.0, 2], mask=[1, 0])]],
)  # fmt: skip
def test_masked_values_are_refused(x):
    assert "t: column 'x', row 2 is masked" in said(table, x)


def test_a_mask_of_nothing_is_no_mask():
    column = table(np.ma.array([1.0, 2.0], mask=False)).column('x')
    assert type(column) is np.ndarray and column.tolist() == [1, 2]
    mapped = said(table([1.0, 2.0]).map, {'x': lambda x: np.ma.masked_greater(x, 1)})
    assert "map of column 'x', row 1 is masked" in mapped


@pytest.mark.parametrize('dtype', ['>f4', '>f8', '>i2', '>u2', '>i4'])
def test_the_bytes_of_other_machines_are_turned(dtype):
    x = np.array([1, 2, 300], dtype)
    column = table(x).column('x')
    assert column.dtype.isnative and column.tolist() == [1, 2, 300]
    mapped = table(np.arange(3)).map({'x': lambda _: x}).column('x')
    assert mapped.dtype.isnative and mapped.tolist() == [1, 2, 300]


# Moments


@pytest.mark.parametrize('value', [0.1, 14.62, 1e6 / 3, 100.0, 1.7e9 + 0.1, -1e-8, 0.0])
@pytest.mark.parametrize('n', [1, 10, 1000, 5000])
def test_a_constant_feature_becomes_zero(value, n):
    x = np.stack([np.full(n, value), np.arange(n)], 1)
    mean, std = moments(table(x), 'x')
    assert std[0] == 1 and std[1] == (np.arange(n).std() if n > 1 else 1)
    np.testing.assert_allclose((x[:, 0] - mean[0]) / std[0], 0, atol=1e-9 * max(1, abs(value)))


def test_a_feature_that_hardly_varies_is_not_constant():
    x = 1000 + 1e-6 * np.arange(100.0)
    assert moments(table(x), 'x')[1] == pytest.approx(x.std(), rel=1e-3)
    assert moments(table(1e-12 * np.arange(100.0)), 'x')[1] == pytest.approx(2.8866e-11, rel=1e-3)


def test_moments_are_as_exact_as_their_column():
    seconds = 1.7e9 + np.arange(100.0)
    mean, std = moments(table(seconds), 'x')
    assert abs(((seconds - mean) / std).mean()) < 1e-6  # in float32 the mean is 50 seconds off
    for dtype in ('f4', 'u1', '?', 'f2'):
        assert {m.dtype for m in moments(table(np.ones(3, dtype)), 'x')} == {np.dtype('f4')}


@pytest.mark.parametrize('value', [NAN, INF, -INF])
def test_moments_are_of_finite_numbers(value):
    x = np.zeros((1000, 3))
    x[700, 1] = value
    line = said(moments, table(x), 'x')
    assert line.startswith("t: column 'x', row 700 at [1] holds ")


def test_moments_of_text():
    assert "column 'x' holds <U2; moments" in said(moments, table(['a', 'bc']), 'x')
