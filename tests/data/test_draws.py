"""Draws: parts that never change for a seed, are disjoint and exact, and their batches."""

import itertools

import numpy as np
import pytest
from asked import Asked

from jaxdl.data import order
from jaxdl.data.draws import Draw, balanced
from jaxdl.data.labels import checked
from jaxdl.data.sets.digits import digits
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import UsageError
from jaxdl.task import Labels

WRITERS = np.repeat([*'ecabdfgh'], [2, 5, 3, 1, 4, 2, 6, 3])  # 26 rows


def table(n=26, **columns):
    return from_arrays({'row': np.arange(n), **columns}, name='rows')


def rows_of(source, seed):
    """Every real row that a seed is sent in one pass of at most 60 batches."""
    sent = itertools.islice(source.open(seed, 0), 60)
    rows = [source.make(None, source.resident, each) for each in sent]
    return np.concatenate([batch['row'][batch['mask']] for batch in rows]).tolist()


# ---- which rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('how', 'expected'),
    [
        ({}, [[11, 13, 22, 24, 25], [7, 11, 13, 15, 19]]),
        ({'by': 'y'}, [[0, 2, 13, 16, 21], [1, 6, 8, 12, 22]]),
        ({'contiguous': True}, [[20, 21, 22, 23, 24], [2, 3, 4, 5, 6]]),
        ({'groups': 'writer'}, [[2, 3, 4, 5, 6], [15, 16, 23, 24, 25]]),
    ],
)
def test_draws_are_golden(how, expected):
    data = table(y=np.arange(26) % 3, writer=WRITERS)
    _, test = data.draw(test=0.2, **how)
    assert [test.numbers(seed).tolist() for seed in (0, 1)] == expected


@pytest.mark.parametrize('how', [{}, {'by': 'y'}, {'contiguous': True}, {'groups': 'writer'}])
def test_parts_of_every_seed_are_disjoint_and_complete(how):
    data = table(y=np.arange(26) % 3, writer=WRITERS)
    parts = data.draw(valid=0.15, test=9, **how)
    assert [part.name for part in parts] == ['rows train', 'rows valid', 'rows test']
    assert [len(part) for part in parts] == [13, 4, 9]
    seen = set()
    for seed in range(30):
        rows = [part.numbers(seed) for part in parts]
        assert [len(r) for r in rows] == [13, 4, 9]
        assert sorted(np.concatenate(rows).tolist()) == list(range(26))
        again = [part.numbers(seed) for part in data.draw(valid=0.15, test=9, **how)]
        assert all(np.array_equal(a, b) for a, b in zip(rows, again, strict=True))
        seen.add(tuple(rows[2].tolist()))
    assert len(seen) > 7


def test_contiguous_parts_follow_each_other_on_the_ring():
    parts = table().draw(valid=0.15, test=9, contiguous=True)
    starts = set()
    for seed in range(200):
        ring = np.concatenate([part.numbers(seed) for part in parts])
        assert np.array_equal(np.diff(ring) % 26, np.ones(25))
        starts.add(int(ring[0]))
    assert starts == set(range(26))


def test_stratified_parts_have_each_label_to_one_row():
    y = np.sort(np.random.default_rng(0).choice([0, 0, 0, 1, 5], 101))
    rest, few = table(101, y=y).draw(few=20, by='y')
    for seed in range(10):
        counts = [np.bincount(y[part.numbers(seed)], minlength=6) for part in (rest, few)]
        assert counts[1].sum() == 20
        assert (np.abs(counts[1] - 20 / 101 * np.bincount(y)) < 1).all()


def test_groups_stay_whole_and_sizes_are_the_nearest_that_they_have():
    sizes = [4, 4, 7, 9]
    group = np.random.default_rng(0).permutation(np.repeat(range(4), sizes))
    sums = {sum(c) for k in (1, 2, 3) for c in itertools.combinations(sizes, k)}
    for asked in range(1, 24):
        rest, test = table(24, writer=group).draw(test=asked, groups='writer')
        near = min(sums, key=lambda s, asked=asked: (abs(s - asked), s))
        assert (len(test), len(rest)) == (near, 24 - near)
        for seed in range(5):
            held = test.numbers(seed)
            assert not set(group[held]) & set(group[rest.numbers(seed)])
    # Which they are is the seed's choice, wherever there is one.
    found = {tuple(set(group[test.numbers(s)])) for s in range(20) for test in [
        table(24, writer=group).draw(test=4, groups='writer')[1]
    ]}  # fmt: skip
    assert found == {(0,), (1,)}


def test_a_draw_is_independent_of_a_split_and_of_the_order_of_training():
    n, test = 1000, table(1000).draw(test=0.2)[1]
    split = order.parts(n, sizes=[200], seed=3, labels=None)[1]
    drawn = set(test.numbers(3).tolist())
    assert 20 < len(drawn & set(split.tolist())) < 60  # 40 by chance
    ring = table(n).draw(test=0.2, contiguous=True)[0]
    for name in ('split', 'epoch'):
        first = [order.permutation(n, seed=seed, name=name)[0] for seed in range(20)]
        assert sum(ring.numbers(seed)[0] == row for seed, row in enumerate(first)) < 3


@pytest.mark.parametrize(
    ('how', 'message'),
    [
        ({}, 'rows: draw needs named fractions, e.g. draw'),
        ({'train': 0.5}, "rows: draw train=0.5: 'train' is the rest"),
        ({'test': 0}, 'rows: draw test=0: between 0 and 1, exclusive, or a number of rows'),
        ({'test': True}, 'rows: draw test=True: between 0 and 1'),
        ({'test': 1.5}, 'rows: draw test=1.5: between 0 and 1'),
        ({'test': 26}, r"rows: draw of 26 rows into {'test': 26} leaves a part or the rest empty"),
        ({'test': 0.01}, 'leaves a part or the rest empty'),
        ({'test': 0.5, 'by': 'z'}, r"rows: no column 'z'"),
        ({'test': 0.5, 'by': 'x'}, r"rows: draw by 'x' of shape \[26, 2\]: one label a row"),
        ({'test': 0.5, 'groups': 'writr'}, "rows: no column 'writr'; did you mean 'writer'"),
        ({'test': 0.5, 'by': 'writer', 'contiguous': True},
         "rows: draw by='writer' and contiguous=True: only one of them"),
        ({'test': 0.5, 'by': 'writer', 'groups': 'writer'}, 'only one of them'),
        ({'a': 0.2, 'b': 0.2, 'groups': 'two'},
         "rows: draw groups='two': 2 groups are too few for 3 parts"),
    ],
)  # fmt: skip
def test_mistakes(how, message):
    data = table(writer=WRITERS, x=np.zeros((26, 2)), two=np.arange(26) % 2)
    with pytest.raises(UsageError, match=message) as error:
        data.draw(**how)
    assert '\n' not in str(error.value)


def test_groups_that_do_not_add_up_for_a_seed_are_named():
    group = np.repeat(range(3), [4, 5, 6])  # of 9 and 4 rows: where 4 is part of 9, it is gone
    _, most, few = table(15, writer=group).draw(most=9, few=4, groups='writer')
    with pytest.raises(UsageError, match="groups='writer': seed 0 finds no whole groups for 9 row"):
        few.numbers(0)


# ---- a draw of one's own ------------------------------------------------------------------------


def test_any_function_of_the_seed_is_a_draw():
    folds = np.arange(26)[:25].reshape(5, 5)
    draw = Draw(table(), lambda seed: folds[seed % 5], 'rows fold')
    assert len(draw) == 5 and draw.numbers(7).tolist() == [10, 11, 12, 13, 14]
    assert draw.of(7).column('row').tolist() == [10, 11, 12, 13, 14]
    assert draw.of(7).name == 'rows fold'
    twice = draw.select({'a': 'row'}).map({'a': lambda a: 2 * a})
    assert twice.of(7).column('a').tolist() == [20, 22, 24, 26, 28] and twice.name == draw.name


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        (lambda seed: np.arange(3 + seed), 'fold: seed 2 draws 5 rows and seed 0 3: every seed'),
        (lambda seed: [0, 25 + seed], 'fold: seed 2 draws row 27; rows has the rows 0..25'),
        (lambda seed: [0, 1 - seed], 'fold: seed 2 draws row -1; rows has'),
        (lambda seed: np.arange(26) < 3, r'fold: of seed 2 the rows are bool \[26\]; they are'),
        (lambda seed: np.zeros((2, 2), int), r'of seed 2 the rows are int64 \[2, 2\]'),
        (lambda seed: np.arange(0), r'of seed 2 the rows are int64 \[0\]; they are whole'),
    ],
)
def test_rows_that_are_none(rows, message):
    with pytest.raises(UsageError, match=message):
        Draw(table(), rows, 'fold').numbers(2)


def test_rows_that_are_no_function_of_the_seed_are_refused():
    rng = np.random.default_rng(0)
    draw = Draw(table(), lambda seed: rng.permutation(26)[:10], 'rows fold')
    with pytest.raises(UsageError, match='rows fold: seed 0 draws other rows when it'):
        draw.numbers(2)


# ---- its batches --------------------------------------------------------------------------------


@pytest.mark.parametrize('options', [{'resident': True}, {'resident': False}, {'asked': True}])
def test_every_seed_is_sent_its_own_rows(options):
    data = table()
    if options.pop('asked', False):
        data, options = Table(Asked(data), 'rows'), {'resident': False, 'threads': 2}
    train, test = data.draw(test=10)
    source = in_order(test, batch=4, **options)
    assert source.private and source.batches == 3
    for seed in (0, 3):
        assert rows_of(source, seed) == test.numbers(seed).tolist()
        assert source.drawn(seed).tolist() == test.numbers(seed).tolist()
    assert rows_of(source, 0) != rows_of(source, 3)
    stream = shuffled(train, batch=4, **options)
    assert stream.private and stream.batches is None
    for seed in (0, 3):
        epochs = np.reshape(rows_of(stream, seed), (15, 16))  # 60 batches of 4, 16 rows
        assert all(sorted(epoch) == train.numbers(seed).tolist() for epoch in epochs.tolist())
        late = stream.make(None, stream.resident, next(stream.open(seed, 7)))
        assert late['row'].tolist() == epochs.ravel()[28:32].tolist()


def test_few_labels_are_as_many_of_each_class():
    y = np.array([*'abcbbabcccaabbbcccbbbcbbbb'])
    few, more = (balanced(table(y=y), each=each) for each in (2, 4))
    assert (len(few), len(more), few.name) == (6, 12, 'rows, 2 of each y')
    seen = set()
    for seed in range(30):
        rows = few.numbers(seed)
        assert sorted(y[rows]) == [*'aabbcc'] and (np.diff(rows) > 0).all()
        assert set(rows) < set(more.numbers(seed))
        seen |= set(rows)
    assert seen == set(range(26))
    for each in (0, 5):
        with pytest.raises(UsageError, match=f'rows: balanced each={each}; .* at most 4, the rows'):
            balanced(table(y=y), each=each)
    with pytest.raises(UsageError, match="rows: no column 'z'"):
        balanced(table(y=y), each=1, by='z')


def test_a_source_says_that_it_is_drawn():
    train, test = digits().draw(test=1 / 3)
    name = 'digits test: 599 of 1797 rows drawn by each seed, in batches of 600, on the device'
    assert in_order(test, batch=600).name == name
    plain = in_order(digits(), batch=600)
    assert plain.drawn is None and not plain.private
    # A loop of one's own has the rows of seed 0.
    batches = list(in_order(table().draw(test=10)[1], batch=5))
    want = table().draw(test=10)[1].numbers(0).tolist()
    assert np.concatenate([batch['row'] for batch in batches]).tolist() == want


def test_parts_of_one_table_hold_the_same_arrays():
    train, test = table().draw(test=10)
    sources = shuffled(train, batch=4), in_order(test, batch=4)
    assert sources[0].resident['row'] is sources[1].resident['row']


def test_labels_are_looked_at_in_the_whole_table():
    y = np.arange(26) % 3
    data = table(y=y)
    test = Draw(data, lambda seed: np.arange(4), 'rows test')
    assert checked(in_order(test, batch=4), {'y': Labels(3)})
    y[20] = 3  # in no seed's rows
    with pytest.raises(UsageError, match="rows: column 'y', row 20 holds 3"):
        checked(in_order(Draw(table(y=y), test.rows, 'rows test'), batch=4), {'y': Labels(3)})
