"""Series: parts in time, windows, scaling, one's own files, forecasts without training."""

import numpy as np
import pytest

from jaxdl.data.series import baseline_errors, csv_series, persistence, seasonal, series
from jaxdl.data.sets.ett import ett_series
from jaxdl.errors import DataMissingError, UsageError

VALUES = np.stack([np.arange(50), 100 - 2 * np.arange(50)], axis=1).astype(np.float32)
PARTS = {'train': (0, 30), 'valid': (30, 40), 'test': (40, 50)}
SERIES = series(VALUES, parts=PARTS, names=('up', 'down'))


def test_windows_are_cut_where_they_say():
    windows = SERIES.windows('valid', past=4, future=3)
    x, y = windows.arrays
    assert len(windows) == 10 - 3 + 1 and x.shape == (8, 4, 2) and y.shape == (8, 3, 2)
    assert x[0, :, 0].tolist() == [26, 27, 28, 29] and y[0, :, 0].tolist() == [30, 31, 32]
    assert y[-1, :, 0].tolist() == [37, 38, 39]  # no future reaches into the test part
    assert len(SERIES.windows('train', past=4, future=3)) == 30 - 4 - 3 + 1
    every = SERIES.windows('valid', past=4, future=3, stride=3)
    assert every.starts.tolist() == [30, 33, 36]


def test_sources_hold_the_series_once_and_cut_the_same():
    windows = SERIES.windows('train', past=4, future=3)
    x, y = windows.arrays
    source = windows.in_order(batch=10)
    assert source.batches == 3 and source.resident[1]['series'].shape == (50, 2)
    batches = list(source)
    for name, expected in (('x', x), ('y', y)):
        found = np.concatenate([b[name][np.asarray(b['mask'])] for b in batches])
        np.testing.assert_array_equal(found, expected)
    first = next(iter(windows.shuffled(batch=8)))
    rows = [int(row[0, 0]) for row in first['x']]
    assert rows != sorted(rows) and len(set(rows)) == 8 and first['mask'].all()
    np.testing.assert_array_equal(first['x'], x[rows])


def test_scaling_looks_at_the_training_part_alone():
    scaled = SERIES.scaled()
    train = scaled.values[:30]
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(scaled.values * SERIES.std + SERIES.mean, VALUES, rtol=1e-5)
    later = series(np.concatenate([VALUES[:30], 1e3 * VALUES[30:]]), parts=PARTS)
    np.testing.assert_array_equal(later.mean, SERIES.mean)


def test_forecasts_that_need_no_training():
    x = np.arange(12, dtype=np.float32).reshape(1, 6, 2)
    assert persistence(x, 3)[0].tolist() == [[10, 11]] * 3
    assert seasonal(2)(x, 3)[0].tolist() == [[8, 9], [10, 11], [8, 9]]
    windows = SERIES.windows('test', past=4, future=2)
    # A line of slope s: errors of s and 2 s; slopes are 1 and -2.
    assert baseline_errors(windows) == {
        'mse': pytest.approx((1 + 4 + 4 + 16) / 4),
        'mae': pytest.approx((1 + 2 + 2 + 4) / 4),
    }
    period = series(np.tile([1.0, 2.0, 3.0], 12), parts={'train': (0, 20), 'test': (20, 36)})
    assert baseline_errors(period.windows('test', past=6, future=5), seasonal(3))['mse'] == 0


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / 'prices.csv'
    lines = [f'2024-01-{i + 1:02},{100 + i},{i / 2}' for i in range(20)]
    path.write_text('\n'.join(['date,close,volume', *lines]) + '\n')
    found = csv_series(path)
    assert found.names == ('close', 'volume') and found.name == 'prices'
    assert found.parts == {'train': (0, 14), 'valid': (14, 16), 'test': (16, 20)}
    assert found.values[3].tolist() == [103, 1.5]
    assert csv_series(path, columns=('volume',), test=0.5).values.shape == (20, 1)
    path.write_text('date,close\n2024,1\n2025,\n')
    with pytest.raises(UsageError, match="prices: column 'close', row 1 holds nan"):
        csv_series(path, valid=0.3, test=0.3)
    path.write_text('a,b\nx,y\n')
    with pytest.raises(UsageError, match='no column begins with a number; say columns='):
        csv_series(path)
    with pytest.raises(DataMissingError, match='no such file'):
        csv_series(tmp_path / 'none.csv')


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: SERIES.windows('tset'), "no part 'tset'; did you mean 'test'"),
        (lambda: SERIES.windows('test', past=4, future=0), 'future=0, stride=1; 1 or more'),
        (lambda: SERIES.windows('test', past=4, future=11), 'test has 10 steps, too few'),
        (lambda: series(VALUES, parts={'test': (0, 3)}), r"\['test'\]; one is to be called train"),
        (lambda: series(VALUES, parts={'train': (0, 51)}), 'train is 0 to 51 of 50 steps'),
        (lambda: series(VALUES, parts={'train': (5, 9), 'test': (8, 12)}), 'before train ends'),
        (lambda: series(VALUES, parts=PARTS, names=('one',)), '1 names of 2 features'),
        (lambda: series(np.full((4, 1), np.nan), parts={'train': (0, 2)}), 'row 0.*nan'),
        (lambda: seasonal(9)(np.zeros((1, 4, 1)), 2), 'a past of 4 has no period of 9'),
    ],
)
def test_errors(make, message):
    with pytest.raises(UsageError, match=message) as error:
        make()
    assert '\n' not in str(error.value)


def test_ett_has_the_informers_windows_and_the_published_persistence():
    try:
        found = ett_series().scaled()
    except DataMissingError as error:
        pytest.skip(str(error))
    assert [len(found.windows(part)) for part in found.parts] == [8521, 2857, 2857]
    # "Repeat" of Zeng et al. 2023, table 2: 1.295 and 0.713.
    errors = baseline_errors(found.windows('test', future=96))
    assert errors == {'mse': pytest.approx(1.295, abs=1e-3), 'mae': pytest.approx(0.713, abs=1e-3)}
