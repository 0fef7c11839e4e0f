"""Tables: orders that never change, exact splits, cleaning, moments, and laziness."""

import numpy as np
import pytest

from jaxdl.data.order import permutation
from jaxdl.data.rows import Rows, UnreadableRowError, column_of
from jaxdl.data.sets.digits import digits
from jaxdl.data.table import Table, csv, from_arrays, moments
from jaxdl.errors import UsageError


class Slow(Rows):
    """Rows made when asked: x = [i, i + 0.5], text, y = i % 3; it notes what was read."""

    names = ('x', 'text', 'y')

    def __init__(self, n, *, damaged=()):
        self.n, self.damaged, self.asked = n, damaged, []

    def __len__(self):
        return self.n

    def read(self, indices, names):
        self.asked.append((indices.tolist(), tuple(names)))
        for index in indices:
            if index in self.damaged:
                raise UnreadableRowError(f'row {index} is damaged')
        columns = {
            'x': np.stack([indices, indices + 0.5], 1),
            'text': np.array([f'row {i}' for i in indices], object),
            'y': indices % 3,
        }
        return {name: columns[name] for name in names}


def slow(n=10, **options):
    return Table(Slow(n, **options), 'slow', {'y': ('a', 'b', 'c')})


def test_the_card_of_a_dataset_stays_with_its_parts(tmp_path):
    whole = digits()
    assert whole.card.licence == 'CC BY 4.0' and 'Kaynak 1998' in whole.card.citation
    train, test = whole.split(seed=0, test=0.5)
    parts = [train, test.take([3]), whole.select({'z': 'x'}), whole.map({'x': lambda x: x / 16})]
    parts += [whole.clean()[0], whole.load()]
    assert all(part.card is whole.card for part in parts)
    # Of a person's own nothing is known but the name, and the file.
    assert from_arrays({'x': [1]}, name='mine').card == ('mine', '', '', '', '')
    file = tmp_path / 'cells.csv'
    file.write_text('x\n1\n')
    assert csv(file, columns={'x': int}).card == ('cells', 'cells.csv', '', '', '')


def test_permutation_is_golden():
    assert permutation(12, seed=0, name='epoch').tolist() == [11, 6, 10, 5, 7, 8, 0, 9, 3, 4, 1, 2]
    assert permutation(12, seed=0, name='epoch', index=1).tolist() == [
        10,
        3,
        6,
        11,
        9,
        2,
        1,
        0,
        7,
        8,
        5,
        4,
    ]
    assert permutation(12, seed=1, name='epoch').tolist() == [7, 10, 6, 4, 2, 9, 11, 8, 5, 1, 0, 3]


def test_permutations_are_uniform():
    # Each value is at each place equally often: chi-square with 16 degrees of freedom, p > 1e-4.
    orders = np.stack([permutation(5, seed=s, name='epoch') for s in range(2000)])
    counts = np.stack([np.bincount(orders[:, place], minlength=5) for place in range(5)])
    assert ((counts - 400) ** 2 / 400).sum() < 44


def test_split_is_golden():
    train, test = digits().split(test=1 / 3, seed=0, by='y')
    x = digits().column('x')
    where = [int(np.flatnonzero((x == row).all(axis=(1, 2, 3)))[0]) for row in test[:12]['x']]
    assert where == [1, 2, 8, 18, 21, 23, 25, 30, 31, 34, 41, 42]
    assert (len(train), len(test)) == (1198, 599)
    assert (train.name, test.name) == ('digits train', 'digits test')


@pytest.mark.parametrize('by', [None, 'y', 'text'])
@pytest.mark.parametrize('n', [7, 26, 100, 1001])
def test_split_is_exact_disjoint_and_complete(n, by):
    labels = np.sort(np.random.default_rng(n).choice([0, 0, 0, 1, 5], n))
    text = np.array(['ab'[label % 2] for label in labels], object)
    table = from_arrays({'row': np.arange(n), 'y': labels, 'text': text})
    fractions = {'valid': 0.15, 'test': 0.3}
    parts = table.split(seed=3, by=by, **fractions)
    rows = [part.column('row') for part in parts]
    assert sorted(np.concatenate(rows).tolist()) == list(range(n))
    assert [len(r) for r in rows[1:]] == [round(n * f) for f in fractions.values()]
    assert all((np.diff(r) > 0).all() for r in rows)  # in the order of the table
    if by:
        column = table.column(by)
        for part, fraction in zip(parts[1:], fractions.values(), strict=True):
            for value in np.unique(column):
                share = (part.column(by) == value).sum()
                assert abs(share - fraction * (column == value).sum()) < 2


def test_split_depends_on_the_seed_only():
    def rows(seed):
        table = from_arrays({'row': np.arange(50)})
        return table.split(test=0.5, seed=seed)[1].column('row').tolist()

    assert rows(0) == rows(0) != rows(1)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({}, 'split needs named fractions'),
        ({'test': 1.0}, 'split test=1.0: between 0 and 1'),
        ({'sed': 0}, 'split sed=0: between 0 and 1'),
        (
            {'train': 0.8},
            "split train=0.8: 'train' is the rest, which comes first; name the others",
        ),
        ({'train': 0.6, 'valid': 0.2}, r'split train=0.6: .*e.g. split\(valid=0.2\)'),
        ({'test': 0.6, 'valid': 0.6}, 'leaves a part or the rest empty'),
        ({'test': 0.01}, 'leaves a part or the rest empty'),
        ({'test': 0.5, 'by': 'x'}, r"by 'x' of shape \[10, 2\]: one label a row"),
        ({'test': 0.5, 'by': 'z'}, r"no column 'z'; \(allowed: x, text, y\)"),
    ],
)
def test_split_errors(arguments, message):
    with pytest.raises(UsageError, match=message):
        slow().split(seed=0, **arguments)


def test_lazy_table_equals_the_loaded_one():
    def chain(table):
        table = table.map({'x': lambda x: x * 2}).take([7, 3, -1]).select({'a': 'x', 'b': 'y'})
        return table.take(np.array([True, False, True]))

    lazy, loaded = chain(slow()), chain(slow().load())
    assert not lazy.in_memory and loaded.in_memory and len(lazy) == len(loaded) == 2
    for name, column in lazy[:].items():
        np.testing.assert_array_equal(column, loaded[:][name])
    np.testing.assert_array_equal(lazy[:]['a'], [[14, 15], [18, 19]])
    assert lazy.classes == {'b': ('a', 'b', 'c')}


def test_only_wanted_columns_are_read():
    table = slow()
    assert table.map({'x': lambda x: x / 0}).take([1, 2]).column('y').tolist() == [1, 2]
    assert table.select({'a': 'x', 'b': 'y'}).take([3]).column('b').tolist() == [0]
    assert {names for _, names in table.rows.asked} == {('y',)}


def test_size_of_a_lazy_table_is_estimated():
    table = slow(1000)
    numbers = table.select({'x': 'x', 'y': 'y'})
    assert numbers.nbytes == 1000 * 24
    assert sum(len(rows) for rows, _ in table.rows.asked) <= 16
    assert numbers.load().nbytes == 1000 * 24


def test_table_is_immutable():
    table = from_arrays({'x': np.zeros(3)})
    with pytest.raises(ValueError, match='read-only'):
        table.arrays['x'][0] = 1
    table[:]['x'][0] = 1  # a copy
    table.map({'x': lambda x: x + 1})
    assert table.column('x').tolist() == [0, 0, 0]


@pytest.mark.parametrize('rows', [[10], [-11], [[1]], 3, [0.5], np.ones(3, bool)])
def test_wrong_rows_are_index_errors(rows):
    with pytest.raises(IndexError):
        slow()[rows]


@pytest.mark.parametrize('lazy', [True, False])
def test_a_loop_gives_the_rows(lazy):
    table = slow(1100) if lazy else slow(1100).load()
    rows = list(table)
    assert len(rows) == 1100
    assert rows[700]['x'].tolist() == [700, 700.5]
    assert (rows[700]['text'], rows[700]['y']) == ('row 700', 1)
    assert list(table.take([])) == []
    with pytest.raises(TypeError, match='look at a column'):
        2 in table  # noqa: B015


def test_map_that_loses_rows_is_an_error():
    with pytest.raises(UsageError, match="map of column 'x': the function made shape"):
        slow().load().map({'x': lambda x: x[:-1]})


def test_ragged_rows_are_objects():
    ragged = from_arrays({'ids': [[1, 2], [3], []], 'text': ['a', 'b', 'c']})
    assert ragged.column('ids').dtype == object
    assert [len(row) for row in ragged.column('ids')] == [2, 1, 0]


@pytest.mark.parametrize('lazy', [True, False])
def test_load_joins_blocks_of_different_shapes(lazy):
    # Rows 0..511 have 2 ids each, the rest 3: each block is an array, the whole is not.
    class Growing(Slow):
        names = ('ids',)

        def read(self, indices, names):
            rows = [np.full(2 + (i >= 512), i) for i in indices]
            return {'ids': column_of(rows)}

    loaded = Table(Growing(600 if lazy else 500), 'growing').load().column('ids')
    assert (loaded.dtype == object) == lazy
    assert loaded[-1].tolist() == ([599] * 3 if lazy else [499] * 2)


def test_cleaning_counts_each_row_once():
    nan = float('nan')
    table = from_arrays(
        {
            'x': np.array([[0, 1], [0, 1], [nan, 1], [2, 2], [2, 2], [9, 9], [3, 3], [3, 3]]),
            'text': np.array(['a', 'a', 'a', 'b', 'c', 'd', '', None], object),
        },
        name='dirty',
    )
    kept, report = table.clean(valid=lambda columns: columns['x'][:, 0] < 5)
    assert str(report) == '8 rows: 3 missing, 1 duplicate, 1 invalid; 3 kept'
    assert kept.column('text').tolist() == ['a', 'b', 'c']
    assert (len(kept), report.kept) == (3, 3)
    assert table.clean(duplicates=True)[1].duplicate == 0


def test_texts_in_arrays_are_compared_by_item():
    lists = [['a'], ['a', 'b'], ['a'], ['a']], [['b', 'c'], ['c'], ['b', 'c'], ['bc']]
    assert from_arrays(dict(zip('pq', lists, strict=True))).clean()[1].duplicate == 1
    assert from_arrays({'t': np.array(['ab', 'a', 'ab']), 'u': ['', 'b', 'x']}).clean()[1] == (
        *(3, 1, 0, 0),
        (),
    )


def test_cleaning_tells_ragged_rows_and_column_boundaries_apart():
    table = from_arrays(
        {
            'a': np.array(['ab', 'a', 'ab'], object),
            'b': np.array(['c', 'bc', 'c'], object),
            'ids': [np.array([1, 2]), np.array([1, 2]), np.array([[1, 2]])],
        }
    )
    assert table.clean()[1].duplicate == 0
    same = from_arrays({'ids': [np.array([1, 2]), np.array([1]), np.array([1, 2]), np.array([])]})
    assert str(same.clean()[1]) == '4 rows: 1 missing, 1 duplicate, 0 invalid; 2 kept'


def test_cleaning_drops_and_counts_unreadable_rows():
    kept, report = slow(damaged=(2, 5)).clean()
    assert kept.column('y').tolist() == [0, 1, 0, 1, 0, 1, 2, 0]
    assert str(report) == '10 rows: 0 missing, 0 duplicate, 2 invalid; 8 kept'
    assert report.unreadable == ('row 2 is damaged', 'row 5 is damaged')
    with pytest.raises(UnreadableRowError):
        slow(damaged=(2,))[:]


def test_digits_are_clean():
    kept, report = digits().clean()
    assert str(report) == '1797 rows: 0 missing, 0 duplicate, 0 invalid; 1797 kept'
    assert len(kept) == 1797


def test_wrong_predicate_is_an_error():
    with pytest.raises(UsageError, match=r'valid made float64 \[10, 2\]; bool \[10\] is needed'):
        slow().clean(valid=lambda columns: columns['x'])


@pytest.mark.parametrize('shape', [(1300,), (1300, 3), (1300, 4, 4, 2)])
def test_moments_are_numpys(shape):
    x = np.random.default_rng(0).normal(1000, 0.1, shape)
    mean, std = moments(from_arrays({'x': x}), 'x')
    axes = tuple(range(max(len(shape) - 1, 1)))
    assert mean.shape == std.shape == shape[1:][-1:]
    np.testing.assert_allclose(mean, x.mean(axes), rtol=1e-7)
    np.testing.assert_allclose(std, x.std(axes), rtol=1e-6)


def test_constant_feature_has_deviation_one():
    mean, std = moments(from_arrays({'x': np.full((5, 2), 7)}), 'x')
    assert (mean.tolist(), std.tolist()) == ([7, 7], [1, 1])


@pytest.mark.parametrize(
    ('columns', 'message'),
    [
        ({}, 'columns of one length are needed'),
        ({'x': np.zeros(3), 'y': np.zeros(4)}, "not {'x': 3, 'y': 4}"),
        ({'x': np.float32(1)}, "column 'x' is no array of rows"),
    ],
)
def test_array_errors(columns, message):
    with pytest.raises(UsageError, match=message):
        from_arrays(columns)
