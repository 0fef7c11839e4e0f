"""Additive numbers against numpy and scikit-learn: sums over batches, padding, scans."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from jaxdl.errors import UsageError
from jaxdl.metrics import (
    About,
    Each,
    Mean,
    Metric,
    Profile,
    add,
    describe,
    finish,
    joined,
    read_classes,
    total,
    widened,
)
from jaxdl.metrics.confusion import Confusion, Score, accuracy, counts_of_rows, f1, macro_f1

RNG = np.random.default_rng(0)
ROWS, CLASSES = 29, 4
VALUES = RNG.normal(size=(ROWS, 3)).astype(np.float32)
WEIGHTS = RNG.uniform(0.1, 2, ROWS).astype(np.float32)
LABELS, PREDICTED = RNG.integers(0, CLASSES, (2, ROWS))


def in_batches(array, size, fill):
    """Batches of `size`, the last one padded, each with its mask."""
    for start in range(0, len(array), size):
        part = array[start : start + size]
        padding = np.full((size - len(part), *array.shape[1:]), fill, array.dtype)
        yield np.concatenate([part, padding]), np.arange(size) < len(part)


class TestMean:
    def test_is_that_of_numpy(self):
        np.testing.assert_allclose(Mean.of(VALUES).value(), VALUES.mean(), rtol=1e-5)
        np.testing.assert_allclose(
            Mean.of(VALUES, WEIGHTS).value(),
            np.average(VALUES, weights=np.repeat(WEIGHTS[:, None], 3, 1)),
            rtol=1e-5,
        )

    @pytest.mark.parametrize('size', [1, 7, 13, 29, 64])
    @pytest.mark.parametrize('fill', [0.0, np.nan, np.inf])
    def test_batches_with_padding_give_the_same(self, size, fill):
        parts = [Mean.of(x, mask) for x, mask in in_batches(VALUES, size, fill)]
        np.testing.assert_allclose(add(parts).value(), VALUES.mean(), rtol=1e-5)
        assert add(parts).weight == VALUES.size

    def test_a_mean_of_batch_means_would_differ(self):
        parts = [Mean.of(x, mask) for x, mask in in_batches(VALUES, 13, 0.0)]
        wrong = np.mean([part.value() for part in parts])
        assert abs(wrong - VALUES.mean()) > 1e-3

    def test_addition_is_associative_and_commutative(self):
        a, b, c = (Mean.of(np.float32(i), np.float32(w)) for i, w in ((1, 2), (4, 1), (8, 4)))
        for order in ((a + b) + c, a + (b + c), (c + a) + b):
            assert order.value() == (2 + 4 + 32) / 7

    def test_a_mask_of_full_shape_or_of_a_prefix(self):
        full = RNG.random(VALUES.shape) < 0.5
        np.testing.assert_allclose(Mean.of(VALUES, full).value(), VALUES[full].mean(), rtol=1e-5)
        rows = full[:, 0]
        np.testing.assert_allclose(Mean.of(VALUES, rows).value(), VALUES[rows].mean(), rtol=1e-5)

    def test_booleans_and_scalars(self):
        assert Mean.of(np.array([True, False, True, True])).value() == 0.75
        assert Mean.of(3.5).value() == 3.5

    def test_nothing_weighed_is_nan_and_adds_nothing(self):
        empty = Mean.of(VALUES, np.zeros(ROWS))
        assert np.isnan(empty.value()) and np.isnan(empty.ratio())
        assert (empty + Mean.of(2.0)).value() == 2

    def test_ratio_is_the_value_inside_a_program(self):
        ratio = jax.jit(lambda x, w: Mean.of(x, w).ratio())(VALUES, WEIGHTS)
        np.testing.assert_allclose(ratio, Mean.of(VALUES, WEIGHTS).value(), rtol=1e-5)


class TestConfusion:
    def test_is_that_of_sklearn(self):
        ours = Confusion.of(jnp.asarray(LABELS), jnp.asarray(PREDICTED), CLASSES).value()
        np.testing.assert_array_equal(ours['confusion'], confusion_matrix(LABELS, PREDICTED))

    @pytest.mark.parametrize('size', [7, 13])
    @pytest.mark.parametrize('fill', [0, -1, CLASSES, 10**6])
    def test_padding_is_not_counted(self, size, fill):
        pairs = zip(in_batches(LABELS, size, fill), in_batches(PREDICTED, size, 0), strict=True)
        parts = [
            Confusion.of(jnp.asarray(y), jnp.asarray(p), CLASSES, mask)
            for (y, mask), (p, _) in pairs
        ]
        got = add(parts).value()['confusion']
        np.testing.assert_array_equal(got, confusion_matrix(LABELS, PREDICTED))

    @pytest.mark.parametrize('odd', [-1, 3, 255])
    def test_a_number_that_is_no_class_is_not_counted(self, odd):
        y, p = jnp.array([0, odd, 2, 1]), jnp.array([0, 2, odd, 1])
        np.testing.assert_array_equal(Confusion.of(y, p, 3).counts, np.diag([1, 1, 0]))

    def test_pixels(self):
        y, p = RNG.integers(0, 3, (2, 4, 5, 6))
        mask = RNG.random((4, 5, 6)) < 0.7
        ours = Confusion.of(jnp.asarray(y), jnp.asarray(p), 3, mask).counts
        np.testing.assert_array_equal(ours, confusion_matrix(y[mask], p[mask]))


class Mixed(Metric):
    """A leaf of each kind."""

    half: jax.Array
    small: jax.Array
    seen: jax.Array

    def value(self):
        return float(self.half)


class TestHostTotals:
    def test_count_beyond_what_programs_count(self):
        """2^24 and 2^31: float32 and int32 end there."""
        rows = widened({'mean': Mean(np.float32(2**24), np.float32(2**24))})['mean']
        one = widened({'mean': Mean.of(0.0)})['mean']
        assert (rows + one).weight == 2**24 + 1 and (rows + one).value() == 2**24 / (2**24 + 1)
        counts = widened({'confusion': Confusion(np.full((2, 2), 2**30, np.int32))})['confusion']
        assert (counts + counts + counts).counts.tolist() == [[3 * 2**30] * 2] * 2

    def test_widen_numbers_and_nothing_else(self):
        mixed = Mixed(jnp.bfloat16(1.5), jnp.uint8(200), jnp.array([True, False]))
        wide = mixed.widened()
        kinds = [leaf.dtype for leaf in jax.tree.leaves(wide)]
        assert kinds == [np.float64, np.int64, np.bool_] and wide.value() == 1.5
        assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(wide))
        again = jax.tree.leaves(wide.widened())
        for a, b in zip(again, jax.tree.leaves(wide), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


def test_collapse_is_the_sum_over_a_scan():
    def step(carry, x):
        labels = (x > 0).astype(jnp.int32)
        return carry, {'mean': Mean.of(x), '': Confusion.of(labels, 1 - labels, 2)}

    _, stacked = jax.lax.scan(step, 0, VALUES)
    total = {name: metric.collapse() for name, metric in stacked.items()}
    numbers = finish(total)
    np.testing.assert_allclose(numbers['mean'], VALUES.mean(), rtol=1e-5)
    positive = (VALUES > 0).sum()
    np.testing.assert_array_equal(
        numbers['confusion'], [[0, VALUES.size - positive], [positive, 0]]
    )
    assert total[''].counts.dtype == jnp.int32


def test_finish_gives_host_numbers():
    numbers = finish({'a': Mean.of(jnp.arange(4.0)), 'b': Confusion(jnp.eye(2, dtype=jnp.int32))})
    assert numbers['a'] == 1.5 and type(numbers['a']) is float
    assert type(numbers['b/confusion']) is np.ndarray


class Tokens(Metric):
    """A field of each kind: rows that join, two arrays of them, and a count that is summed."""

    rows: dict = joined()
    count: jax.Array
    better: str = struct.field(pytree_node=False, default='higher')

    @classmethod
    def of(cls, low, high):
        rows = np.arange(low, high, dtype=np.int32)
        return cls({'a': rows, 'b': rows[:, None].repeat(2, 1).astype('f')}, np.int32(high - low))

    def value(self):
        total = float(self.rows['b'].sum())
        return {'sum': total, 'mean': total / max(len(self.rows['a']), 1), 'rows': self.rows['a']}

    def directions(self):
        return {'mean': self.better}

    def labels(self):
        return {'rows': ('x', 'y')}


class TestFields:
    def test_what_has_a_number_before_anything_is_measured_does_not_add(self):
        fields = {'__annotations__': {'limit': float}, 'limit': 0.5}
        with pytest.raises(TypeError, match=r'Near.limit: adding would sum its default 0.5'):
            type('Near', (Metric,), fields)

    def test_are_summed_or_joined_as_they_say(self):
        whole, parts = Tokens.of(0, 9), [Tokens.of(0, 2), Tokens.of(2, 2), Tokens.of(2, 9)]
        for both in (add(parts), parts[0] + parts[1] + parts[2]):
            assert both.count == 9 and both.rows['a'].dtype == np.int32
            for got, want in zip(jax.tree.leaves(both), jax.tree.leaves(whole), strict=True):
                np.testing.assert_array_equal(got, want)
        assert whole.joins() and not Mean.of(1.0).joins()

    def test_widen_only_where_they_are_summed(self):
        wide = Tokens.of(0, 3).widened()
        kinds = [leaf.dtype for leaf in jax.tree.leaves(wide)]
        assert kinds == [np.int32, np.float32, np.int64]

    def test_collapse_what_a_scan_stacked(self):
        def step(carry, x):
            both = {'a': x, 'b': jnp.stack([x, x], 1).astype(float)}
            return carry, Tokens(both, jnp.int32(len(x)))

        _, stacked = jax.lax.scan(step, 0, jnp.arange(12).reshape(4, 3))
        total = stacked.collapse()
        np.testing.assert_array_equal(total.rows['a'], np.arange(12))
        assert total.rows['b'].shape == (12, 2) and total.count == 12


class TestNames:
    def test_of_one_record_with_many_numbers(self):
        tokens = Tokens.of(0, 3)
        assert finish({'t': tokens}).keys() == {'t/sum', 't/mean', 't/rows'}
        assert finish({'': tokens, 'other': Mean.of(1.0)}).keys() == {
            'sum',
            'mean',
            'rows',
            'other',
        }

    def test_that_clash_are_refused(self):
        with pytest.raises(UsageError, match="two numbers are called 'mean'"):
            finish({'mean': Mean.of(1.0), '': Tokens.of(0, 3)})

    def test_are_known_from_shapes(self):
        shapes = jax.eval_shape(
            lambda: {'loss': Mean.of(jnp.ones(3), better='lower'), '': Tokens.of(0, 3)}
        )
        assert describe(shapes) == {
            'loss': About((), 'lower'),
            'sum': About(()),
            'mean': About((), 'higher'),
            'rows': About((3,), None, ('x', 'y')),
        }


class TestEach:
    def test_the_values_that_count_stay_in_order(self):
        values, mask = np.arange(10.0), np.arange(10) % 3 > 0
        parts = [Each.of(values[i : i + 4], mask[i : i + 4]) for i in (0, 4, 8)]
        got = finish({'accuracy/each': total([{'a': part} for part in parts])['a']})
        assert got['accuracy/each'].tolist() == [1, 2, 4, 5, 7, 8]
        assert Each.of(values > 3).value().tolist() == [0] * 4 + [1] * 6
        assert Each.of([np.nan, 1.0], [False, True]).value().tolist() == [1]

    def test_are_one_a_row_known_from_shapes_and_joined(self):
        shapes = jax.eval_shape(lambda: {'a/each': Each.of(jnp.ones(3), jnp.ones(3, bool))})
        (about,) = describe(shapes).values()
        assert about.shape == (0,) and about.better is None and shapes['a/each'].joins()
        with pytest.raises(UsageError, match=r'Each.of: values \[2, 3\]; they are one a row'):
            Each.of(jnp.ones((2, 3)))


def test_the_matrix_of_each_row_is_that_of_the_row_alone():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(-1, 5, (2, 6, 3, 7))  # -1 and 4 are no classes
    mask = rng.uniform(size=truth.shape) < 0.7
    got = counts_of_rows(jnp.asarray(truth), jnp.asarray(predicted), mask, classes=4)
    for row in range(6):
        known = mask[row] & (np.minimum(truth, predicted)[row] >= 0)
        known &= np.maximum(truth, predicted)[row] < 4
        pair = truth[row][known], predicted[row][known]
        np.testing.assert_array_equal(got[row], confusion_matrix(*pair, labels=range(4)))
    np.testing.assert_array_equal(
        got.sum(0), Confusion.of(jnp.asarray(truth), jnp.asarray(predicted), 4, mask).counts
    )


def test_a_matrix_gives_scores_and_the_names_of_its_classes():
    scores = {'accuracy': Score(accuracy), 'f1': Score(f1), 'macro_f1': Score(macro_f1)}
    pairs = jnp.asarray(LABELS), jnp.asarray(PREDICTED)
    ours = Confusion.of(*pairs, ('a', 'b', 'c', 'd'), scores=scores)
    got = ours.value()
    assert got['accuracy'] == pytest.approx(accuracy_score(LABELS, PREDICTED), rel=1e-12)
    for average, name in ((None, 'f1'), ('macro', 'macro_f1')):
        want = f1_score(LABELS, PREDICTED, average=average)
        np.testing.assert_allclose(got[name], want, rtol=1e-12)
    micro = f1_score(LABELS, PREDICTED, average='micro')
    assert got['accuracy'] == pytest.approx(micro, rel=1e-12)
    about = describe({'': ours})
    assert about['confusion'] == About((4, 4), None, ('a', 'b', 'c', 'd'))
    assert about['f1'] == About((4,), 'higher', ('a', 'b', 'c', 'd'))


@pytest.mark.parametrize(
    'classes,want',
    [(3, (3, ())), (np.int64(2), (2, ())), (('a', 'b'), (2, ('a', 'b'))), (['a'], (1, ('a',)))],
)
def test_classes_are_a_number_or_names(classes, want):
    assert read_classes(classes) == want


@pytest.mark.parametrize('classes', [0, -1, True, 'ab', (), ('a', 'a')])
def test_what_tells_no_classes_is_refused(classes):
    with pytest.raises(UsageError, match='classes: .* how many, or a name for each'):
        read_classes(classes)


class TestProfile:
    def test_means_by_hand_and_what_their_entries_stand_for(self):
        values = jnp.array([[1.0, 2.0], [3.0, 4.0], [np.nan, 6.0]])
        rows = Profile.of(values, jnp.array([True, True, False]), entries=(0, 10))
        np.testing.assert_allclose(rows.value(), [2.0, 3.0])
        each = jnp.array([[True, False], [True, False], [False, False]])
        np.testing.assert_array_equal(Profile.of(values, each, entries='ab').value(), [2, np.nan])
        both = add([jax.device_get(rows).widened(), jax.device_get(rows).widened()])
        np.testing.assert_allclose(both.value(), [2.0, 3.0])
        assert describe({'slope': rows})['slope'] == About((2,), None, ('0', '10'))

    def test_entries_must_fit(self):
        with pytest.raises(UsageError, match=r'values are \[3, 2\], and there are 1 entries'):
            Profile.of(jnp.ones((3, 2)), entries='a')
