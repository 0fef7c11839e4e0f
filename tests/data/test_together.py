"""Sources side by side: each as it is alone, in one batch."""

import itertools

import jax
import numpy as np
import pytest

from jaxdl.data.draws import balanced
from jaxdl.data.labels import checked
from jaxdl.data.stream import in_order, shuffled, synthetic
from jaxdl.data.table import from_arrays
from jaxdl.data.together import together
from jaxdl.errors import UsageError
from jaxdl.keys import key_for
from jaxdl.task import Labels

KEY = jax.random.key(0)
TABLE = from_arrays({'x': np.arange(30.0), 'y': np.arange(30) % 3}, name='rows')
REST = shuffled(TABLE.select({'x': 'x'}), batch=7)


def salted(key, batch):
    return {**batch, 'x': batch['x'] + jax.random.uniform(key)}


def batches(source, *, seed=0, step=0, count=3):
    sent = itertools.islice(source.open(seed, step), count)
    return [source.make(KEY, source.resident, each) for each in sent]


def same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize('resident', [True, False])
def test_each_source_is_as_it_is_alone(resident):
    main = shuffled(TABLE, batch=4, augment=salted, resident=resident)
    other = shuffled(TABLE.select({'x': 'x'}), batch=7, augment=salted, resident=resident)
    source = together(main, {'unlabelled': other, 'more': REST})
    for step in (0, 3):
        found = batches(source, step=step)
        for batch, own, one, two in zip(
            found, *(each.open(0, step) for each in (main, other, REST)), strict=False
        ):
            alone = main.make(key_for(KEY, 'main'), main.resident, own)
            beside = other.make(key_for(KEY, 'unlabelled'), other.resident, one)
            more = REST.make(key_for(KEY, 'more'), REST.resident, two)
            same(batch, {**alone, 'unlabelled': beside, 'more': more})
    assert batch['mask'].shape == (4,) and batch['unlabelled']['mask'].shape == (7,)
    assert source.name.startswith(main.name) and other.name in source.name
    assert (source.batches, source.private, source.drawn) == (None, False, None)


def test_only_the_private_ones_are_sent_to_each_seed_alone():
    draw = balanced(TABLE, each=4)
    source = together(shuffled(draw, batch=4), {'unlabelled': REST})
    assert source.private
    first, second = (batches(source, seed=seed) for seed in (0, 1))
    same([batch['unlabelled'] for batch in first], [batch['unlabelled'] for batch in second])
    rows = [np.concatenate([batch['x'] for batch in found]) for found in (first, second)]
    for seed, seen in enumerate(rows):
        assert sorted(seen) == sorted(TABLE.column('x')[draw.numbers(seed)])
        np.testing.assert_array_equal(source.drawn(seed), draw.numbers(seed))
    both = together(shuffled(draw, batch=4), {'other': shuffled(draw, batch=2)})
    np.testing.assert_array_equal(both.drawn(1), np.tile(draw.numbers(1), 2))


def test_labels_are_checked_as_they_are_of_the_first_source_alone():
    for resident in (True, False):
        main = shuffled(TABLE, batch=4, resident=resident)
        source = together(main, {'unlabelled': REST})
        checked(source, {'y': Labels(3)})
        with pytest.raises(UsageError, match="rows: column 'y', row 2 holds 2"):
            checked(source, {'y': Labels(2)})


def test_sources_end_together_or_never():
    once = in_order(TABLE, batch=4)
    with pytest.raises(UsageError, match="never ends, and 'test' has 8 batches: both are endless"):
        together(REST, {'test': once})
    assert len(batches(together(once, {'again': once}), count=None)) == 8


def test_a_column_has_one_name():
    with pytest.raises(UsageError, match="has a column 'x' already"):
        batches(together(REST, {'x': synthetic(lambda key: {'z': np.zeros(3)})}), count=1)
