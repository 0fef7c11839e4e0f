"""Sources: the same batches from device or host, opened anywhere, every row exactly once."""

import itertools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from asked import Asked

from jaxdl.data import stream
from jaxdl.data.stream import in_order, nothing, over, shuffled, synthetic
from jaxdl.data.table import Table, from_arrays
from jaxdl.data.together import together
from jaxdl.errors import UsageError

KEY = jax.random.key(0)


def table(n=10):
    pixels = np.random.default_rng(n).integers(0, 256, (n, 4, 4, 1), np.uint8)
    return from_arrays({'x': pixels, 'y': np.arange(n), 'w': np.linspace(0, 1, n)}, name='rows')


def salted(key, batch):
    """A cheap augmentation that shows which key it was given."""
    return {**batch, 'w': batch['w'] + (jax.random.key_data(key)[0] % 1000).astype(jnp.float32)}


def batches(source, *, seed=0, step=0, count=None):
    sent = source.open(seed, step)
    return [
        source.make(jax.random.fold_in(KEY, step + index), source.resident, each)
        for index, each in enumerate(itertools.islice(sent, count))
    ]


def rows(source, **options):
    return np.concatenate([batch['y'] for batch in batches(source, **options)])


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


def test_order_is_golden():
    assert rows(shuffled(table(), batch=4), seed=5, count=5).tolist() == [
        *(2, 9, 0, 1, 6, 3, 4, 5, 8, 7),
        *(2, 3, 9, 7, 5, 8, 4, 1, 6, 0),
    ]


@pytest.mark.parametrize('batch', [3, 10, 25])
def test_every_epoch_holds_each_row_once_and_no_remainder_is_dropped(batch):
    stream_of_rows = rows(shuffled(table(), batch=batch), count=60 // batch + 1)[:60]
    epochs = stream_of_rows.reshape(-1, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6


@pytest.mark.parametrize('step', [0, 1, 7, 1000])
@pytest.mark.parametrize('threads', [0, 3])
def test_resident_and_streamed_batches_are_the_same(step, threads):
    options = {'batch': 4, 'augment': salted}
    lazy = Table(Asked(table()), 'rows')
    expected = batches(shuffled(table(), resident=True, **options), seed=2, step=step, count=6)
    for source in (
        shuffled(table(), resident=False, threads=threads, **options),
        shuffled(lazy, resident=False, threads=threads, **options),
        shuffled(lazy, **options),
    ):
        same(batches(source, seed=2, step=step, count=6), expected)


@pytest.mark.parametrize('resident', [True, False])
def test_opening_at_a_step_is_skipping_batches(resident):
    source = shuffled(table(), batch=4, resident=resident)
    same(batches(source, step=13, count=3), batches(source, count=16)[13:])


def test_opening_late_costs_no_more_than_opening_early(monkeypatch):
    sorts = []
    permutation = stream.order.permutation
    monkeypatch.setattr(
        stream.order, 'permutation', lambda n, **how: sorts.append(n) or permutation(n, **how)
    )
    next(shuffled(table(), batch=4).open(0, 10**9))
    assert len(sorts) <= 2


def test_seeds_have_different_orders():
    source = shuffled(table(), batch=10, private=True)
    assert source.private and source.batches is None
    assert rows(source, seed=0, count=1).tolist() != rows(source, seed=1, count=1).tolist()


@pytest.mark.parametrize('resident', [True, False])
@pytest.mark.parametrize('size', [7, 13, 26, 40])
def test_one_pass_in_order_is_padded_with_row_0(size, resident):
    source = in_order(table(26), batch=size, resident=resident)
    assert source.batches == -(-26 // size)
    passed = batches(source)
    assert len(passed) == source.batches
    assert all(len(batch['y']) == len(batch['mask']) == size for batch in passed)
    mask = np.concatenate([batch['mask'] for batch in passed])
    values = np.concatenate([batch['y'] for batch in passed])
    assert mask.sum() == 26 and mask.dtype == bool
    assert values[mask].tolist() == list(range(26))
    assert (values[~mask] == 0).all()
    same(batches(source, step=1), passed[1:])
    assert batches(source, step=source.batches) == []


def test_resident_and_streamed_passes_are_the_same():
    options = {'batch': 7, 'transform': salted}
    same(
        batches(in_order(table(), resident=False, threads=2, **options)),
        batches(in_order(table(), resident=True, **options)),
    )


def test_what_is_sent_is_small_and_numbers_are_32_bit():
    source = shuffled(table(), batch=4)
    assert next(source.open(0, 0)).dtype == np.int32 and next(source.open(0, 0)).shape == (4,)
    assert source.resident['x'].dtype == np.uint8
    batch = batches(source, count=1)[0]
    assert {n: c.dtype.name for n, c in batch.items()} == {
        'x': 'uint8', 'y': 'int32', 'w': 'float32', 'mask': 'bool'
    }  # fmt: skip
    assert batch['mask'].all()


def test_make_is_compiled_and_mapped_over_seeds():
    source = shuffled(table(), batch=4, augment=salted)
    sent = next(source.open(0, 0))
    keys = jax.random.split(KEY, 3)
    mapped = jax.jit(jax.vmap(source.make, in_axes=(0, None, None)))(keys, source.resident, sent)
    for seed, key in enumerate(keys):
        expected = source.make(key, source.resident, sent)
        for name in expected:
            np.testing.assert_array_equal(mapped[name][seed], expected[name])


def test_residence_is_by_size(monkeypatch):
    assert shuffled(table(), batch=4).name == 'rows: 10 rows in batches of 4, on the device'
    monkeypatch.setattr(stream, 'RESIDENT_BYTES', 100)
    source = shuffled(table(), batch=4)
    assert source.resident == () and source.name.endswith('from memory')
    lazy = shuffled(Table(Asked(table()), 'rows'), batch=4, threads=2)
    assert lazy.name.endswith('read by 2 threads')


def test_an_augmentation_need_not_keep_the_mask():
    source = shuffled(table(), batch=4, augment=lambda key, batch: {'x': batch['x']})
    assert batches(source, count=1)[0].keys() == {'x', 'mask'}


def test_threads_end_when_the_stream_is_closed():
    before = threading.active_count()
    sent = shuffled(table(), batch=4, resident=False, threads=3).open(0, 0)
    next(sent)
    assert threading.active_count() > before
    sent.close()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(timeout=5)
    assert threading.active_count() <= before + 1  # Grain may keep one idle


def test_an_error_while_reading_reaches_the_caller():
    class Failing(Asked):
        def read(self, indices, names):
            if len(indices) > 1:
                raise UsageError('file 7 is damaged')
            return super().read(indices, names)

    source = shuffled(Table(Failing(table()), 'rows'), batch=4, resident=False, threads=2)
    with pytest.raises(UsageError, match='file 7 is damaged'):
        next(source.open(0, 0))


@pytest.mark.parametrize('resident', [True, False])
@pytest.mark.parametrize(
    ('columns', 'message'),
    [
        ({'t': np.array(['a', 'b'], object)}, "rows: column 't' holds text, or rows of diff"),
        ({'t': np.array(['a', 'b'])}, "column 't' holds <U1; batches are numbers"),
        ({'t': np.array([1, 2**40])}, "column 't', row 1 holds 1099511627776, which int32 cannot"),
        ({'mask': np.ones(2)}, "column 'mask' has the name of the padding mask"),
        ({'t': np.ones(0)}, 'rows: there are no rows'),
    ],
)
def test_columns_that_cannot_be_sent(columns, message, resident):
    with pytest.raises(UsageError, match=message):
        source = shuffled(from_arrays(columns, name='rows'), batch=2, resident=resident)
        next(source.open(0, 0))


@pytest.mark.parametrize('source', [shuffled, in_order])
def test_batch_size_is_positive(source):
    with pytest.raises(UsageError, match='rows: batch=0; at least 1'):
        source(table(), batch=0)


def test_synthetic_batches_are_drawn_from_the_key():
    source = synthetic(lambda key: {'x': jax.random.normal(key, (3, 2))}, batches=2)
    assert source.order == 'synthetic'
    first, second = batches(source)
    assert source.batches == 2 and first['mask'].tolist() == [True] * 3
    assert (np.asarray(first['x']) != np.asarray(second['x'])).any()
    assert next(source.open(0, 0)) == ()
    own = synthetic(lambda key: {'x': jnp.ones(2), 'mask': jnp.array([True, False])})
    assert batches(own, count=1)[0]['mask'].tolist() == [True, False]
    assert own.batches is None and len(batches(own, step=10**6, count=5)) == 5


def test_nothing():
    assert batches(nothing(batches=1)) == [{}]
    assert batches(nothing(), count=3) == [{}] * 3
    assert batches(nothing(batches=3), step=2) == [{}]


def test_a_source_over_arrays_that_stay_on_the_device():
    weights = np.arange(10) * 10

    def looked_up(key, batch, held):
        return {'v': held['weights'][batch['y']], 'y': batch['y']}

    source = over(in_order(table(), batch=4), {'weights': weights}, looked_up)
    assert source.batches == 3 and source.resident[1]['weights'].dtype == np.int32
    found = batches(source)
    for batch, plain in zip(found, batches(in_order(table(), batch=4)), strict=True):
        np.testing.assert_array_equal(batch['v'], 10 * plain['y'])
        np.testing.assert_array_equal(batch['mask'], plain['mask'])
    later = batches(source, step=2)
    np.testing.assert_array_equal(later[0]['v'], found[2]['v'])
    own = over(shuffled(table(), batch=4, private=True), {'weights': weights}, looked_up)
    assert own.private and (rows(own, seed=0, count=3) != rows(own, seed=1, count=3)).any()


def test_batches_drawn_from_arrays_alone():
    def draw(key, empty, held):
        assert empty == {}
        return {'y': held['y'][jax.random.randint(key, (5,), 0, 3)]}

    source = over(nothing(batches=2), {'y': np.array([7, 8, 9])}, draw)
    first, second = batches(source)
    assert first['mask'].all() and set(np.asarray(first['y']).tolist()) <= {7, 8, 9}
    assert not np.array_equal(first['y'], second['y'])
    np.testing.assert_array_equal(batches(source)[0]['y'], first['y'])
    with pytest.raises(UsageError, match="'y', row 1 holds nan"):
        over(nothing(), {'y': np.array([1, np.nan])}, draw)


def test_rows_of_a_batch_can_be_read_alone():
    """What one of many processes reads; together they are what one alone reads."""
    source = shuffled(table(), batch=4, resident=False)
    whole = list(itertools.islice(source.open(0, 3), 4))
    parts = [
        list(itertools.islice(source.open_rows(0, 3, part), 4))
        for part in (slice(0, 1), slice(1, 4))
    ]
    for one, *both in zip(whole, *parts, strict=True):
        for name in one:
            joined = np.concatenate([each[name] for each in both])
            np.testing.assert_array_equal(joined, one[name])


def test_only_what_is_sent_row_by_row_can_be_read_in_parts():
    assert shuffled(table(), batch=4).open_rows is None
    assert synthetic(lambda key: {'x': jnp.zeros(4)}).open_rows is None
    streamed, other = shuffled(table(), batch=4, resident=False), shuffled(table(), batch=4)
    assert together(streamed, {'other': other}).open_rows is None
