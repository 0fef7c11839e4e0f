"""Class numbers: what is refused, with its place, in rows, in made batches and as rows are read."""

import contextlib
import itertools

import jax
import numpy as np
import pytest
from asked import Asked

from jaxdl.data.augment import flip, mixup
from jaxdl.data.labels import check_names, checked
from jaxdl.data.source import Source
from jaxdl.data.stream import in_order, nothing, shuffled, synthetic
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import UsageError
from jaxdl.task import Labels

ONE = {'y': Labels(3, probabilities=True)}
MAP = {'segmentation': Labels(3, axes=2, ignore=255)}
BOXES = {'classes': Labels(3, axes=1, mask='boxes_mask')}
RIGHT = np.array([0, 1, 2, 2, 1, 0, 1, 2])


def blobs(y):
    return from_arrays({'x': np.zeros((len(y), 4, 4, 1)), 'y': y}, name='blobs')


def asked(table, **options):
    return Table(Asked(table), table.name, **options)


def put(y, row, value):
    changed = np.array(y)
    changed[row] = value
    return changed


def said(source, labels=ONE):
    with pytest.raises(UsageError) as error:
        checked(source, labels)
    assert '\n' not in str(error.value)
    return str(error.value)


WRONG = {
    'minus one': (put(RIGHT, 5, -1), 'row 5 holds -1 (of -1..2, int32 [rows])'),
    'from one': (RIGHT + 1, 'row 2 holds 3 (of 1..3, int32 [rows])'),
    'one row beyond': (put(RIGHT, 7, 3), 'row 7 holds 3 (of 0..3, int32 [rows])'),
    'bool': (RIGHT > 0, 'row 0 holds False (bool [rows])'),
    'float': (RIGHT.astype(float), 'row 0 holds 0.0 (float32 [rows])'),
    'a column': (RIGHT[:, None], 'row 0 at [0] holds 0 (int32 [rows, 1])'),
    'a column of floats': (RIGHT[:, None] * 1.0, 'row 0 at [0] holds 0.0 (float32 [rows, 1])'),
    'whole one-hot': (np.eye(3, dtype=int)[RIGHT], 'row 0 at [0] holds 1 (int32 [rows, 3])'),
    'true one-hot': (np.eye(3) > 0, 'row 0 at [0] holds True (bool [rows, 3])'),
    'few probabilities': (np.eye(2)[RIGHT % 2], 'row 0 at [0] holds 1.0 (float32 [rows, 2])'),
    'scores': (np.eye(3)[RIGHT] * 2, 'row 0 holds [2. 0. 0.] (no probabilities: they are 0..1'),
    'beyond 8 bits': (RIGHT.astype(np.uint8) - np.uint8(1), 'row 0 holds 255 (of 0..255, uint8'),
}


@pytest.mark.parametrize('make', [shuffled, in_order])
@pytest.mark.parametrize('case', WRONG)
def test_wrong_labels_are_named(case, make):
    y, line = WRONG[case]
    message = said(make(blobs(y), batch=4))
    assert message.startswith(f"blobs: column 'y', {line}")
    allowed = 'the classes 0..2 as whole numbers, [rows], or their probabilities, floats [rows, 3]'
    assert message.endswith(f'; allowed are {allowed}')


@pytest.mark.parametrize('y', [RIGHT, RIGHT.astype(np.uint8), np.eye(3)[RIGHT], RIGHT % 2])
@pytest.mark.parametrize('options', [{}, {'resident': False}])
def test_right_labels_change_nothing(y, options):
    source = shuffled(blobs(y), batch=4, **options)
    assert checked(source, ONE) is source
    assert checked(source, {}) is source
    streamed = checked(shuffled(asked(blobs(y)), batch=4, resident=False), ONE)
    for ours, theirs in zip(
        itertools.islice(streamed.open(1, 5), 3),
        itertools.islice(shuffled(blobs(y), batch=4, resident=False).open(1, 5), 3),
        strict=True,
    ):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_rows_that_are_read_when_asked_are_checked_as_they_are_read():
    source = checked(in_order(asked(blobs(put(RIGHT, 6, 7))), batch=3, resident=False), ONE)
    stream = source.open(0, 0)
    next(stream), next(stream)
    with pytest.raises(UsageError, match=r"blobs: column 'y', row 6 holds 7"):
        next(stream)
    # Opened where it is wrong, and where it is not.
    with pytest.raises(UsageError, match='row 6 holds 7'):
        next(source.open(0, 2))
    with contextlib.closing(source.open(0, 1)) as late:
        assert next(late)['y'].tolist() == RIGHT[3:6].tolist()


def test_a_table_that_knows_more_classes_is_read_before_the_first_step():
    table = asked(blobs(put(RIGHT, 6, 3)), classes={'y': ('a', 'b', 'c', 'd')})
    assert 'row 6 holds 3' in said(in_order(table, batch=3, resident=False))
    # Of a table of which only some classes were taken, those count.
    some = asked(blobs(RIGHT), classes={'y': ('a', 'b', 'c', 'd')})
    checked(in_order(some, batch=3, resident=False), ONE)


def test_a_task_needs_its_column():
    table = from_arrays({'x': np.zeros(4), 'label': np.zeros(4, int)}, name='blobs')
    assert said(in_order(table, batch=2)).startswith("blobs: the task needs a column 'y'; (allowed")
    assert "nothing: the task needs a column 'y'; there are none" == said(nothing(batches=1))


# Transforms


def relabelled(by):
    return lambda key, batch: {**batch, 'y': batch['y'] + by}


def test_labels_that_a_transform_makes_right_are_right():
    checked(shuffled(blobs(RIGHT + 1), batch=4, augment=relabelled(-1)), ONE)
    message = said(shuffled(blobs(RIGHT), batch=4, augment=relabelled(1)))
    assert message.startswith("blobs: column 'y', row ") and ' holds 3 (of ' in message
    assert 'row 2 holds 3' in said(in_order(blobs(RIGHT), batch=4, transform=relabelled(1)))


def test_a_transform_of_other_columns_leaves_them():
    checked(shuffled(blobs(RIGHT), batch=4, augment=flip()), ONE)
    assert 'row 5 holds -1' in said(shuffled(blobs(put(RIGHT, 5, -1)), batch=4, augment=flip()))


@pytest.mark.parametrize('y', [RIGHT + 1, RIGHT - 1])
def test_mixtures_of_wrong_labels_are_wrong(y):
    mixed = mixup(0.2, classes=3)
    checked(shuffled(blobs(RIGHT), batch=4, augment=mixed), ONE)
    assert "column 'y', row" in said(shuffled(blobs(y), batch=4, augment=mixed))


def test_the_padding_of_a_last_batch_is_not_looked_at():
    # Row 0 stands for rows that are not there, and its label is named once, as its own.
    assert 'row 0 holds 3' in said(in_order(blobs(RIGHT + 3), batch=5, transform=relabelled(0)))


# Maps and boxes


def cells(segmentation, **more):
    n = len(segmentation)
    return from_arrays({'x': np.zeros((n, 2, 2, 1)), 'segmentation': segmentation, **more})


def test_maps_may_have_pixels_that_do_not_count():
    maps = np.zeros((3, 2, 2), np.uint8)
    maps[1, 0, 1] = 255
    checked(in_order(cells(maps), batch=2), MAP)
    maps[2, 1, 0] = 3
    message = said(in_order(cells(maps), batch=2), MAP)
    assert "column 'segmentation', row 2 at [1, 0] holds 3" in message
    assert message.endswith(
        '0..2 as whole numbers, and 255 where none counts, [rows, height, width]'
    )
    flipped = shuffled(cells(maps), batch=2, augment=flip())
    assert 'holds 3' in said(flipped, MAP)
    assert '(uint8 [rows, 2, 2, 1])' in said(in_order(cells(maps[..., None]), batch=2), MAP)
    assert '(bool [rows, 2, 2])' in said(in_order(cells(maps > 0), batch=2), MAP)


def test_labels_of_what_is_no_box_do_not_count():
    classes, real = np.array([[0, -1], [2, 9]]), np.array([[True, False], [True, False]])
    boxes = {'x': np.zeros((2, 2)), 'classes': classes, 'boxes_mask': real}
    checked(in_order(from_arrays(boxes), batch=2), BOXES)
    boxes['boxes_mask'] = ~real
    message = said(in_order(from_arrays(boxes), batch=2), BOXES)
    assert "column 'classes', row 0 at [1] holds -1" in message
    assert message.endswith('0..2 as whole numbers, [rows, boxes]')


def test_tags_of_padding_do_not_count():
    spec = {'tags': Labels(3, axes=1, ignore=-1)}
    tags = {'tokens': np.zeros((2, 2)), 'tags': np.array([[0, -1], [2, 3]])}
    message = said(in_order(from_arrays(tags), batch=2), spec)
    assert "column 'tags', row 1 at [1] holds 3" in message
    assert message.endswith('0..2 as whole numbers, and -1 where none counts, [rows, tokens]')
    tags['tags'][1, 1] = -1
    checked(in_order(from_arrays(tags), batch=2), spec)


# Sources that are no tables


def test_made_labels_are_looked_at():
    def labels(low):
        return lambda key: {'x': jax.random.normal(key, (8,)), 'y': low + jax.numpy.arange(8) % 3}

    checked(synthetic(labels(0), name='made'), ONE)
    message = said(synthetic(labels(1), name='made'))
    assert message.startswith("made, batch 0: column 'y', row 2 holds 3 (of 1..3")
    floats = synthetic(lambda key: {'y': jax.random.normal(key, (8,))}, batches=2, name='made')
    assert "made, batch 0: column 'y', row 0 holds" in said(floats)


def test_every_batch_of_a_finite_source_of_ones_own_is_looked_at():
    def opened(seed, step):
        return iter([np.array([0, 1]), np.array([2, 3])][step:])

    def make(key, resident, sent):
        return {'y': sent, 'mask': sent < 9}

    source = Source(opened, make, batches=2, name='own')
    assert said(source).startswith("own, batch 1: column 'y', row 1 holds 3")


# Names


def named(*names, y=RIGHT):
    table = from_arrays({'x': np.zeros(len(y)), 'y': y}, name='blobs', classes={'y': names})
    return in_order(table, batch=4)


def test_a_number_is_one_class_in_all_splits():
    check_names(named('a', 'b', 'c'), {'test': named('a', 'b', 'c'), 'own': nothing()}, ONE)
    check_names(in_order(blobs(RIGHT), batch=4), {'test': named('a', 'b', 'c')}, ONE)
    with pytest.raises(UsageError) as error:
        check_names(named('a', 'b', 'c'), {'test': named('a', 'c')}, ONE)
    assert str(error.value) == (
        "test: column 'y' has the classes 0 a, 1 c, and that of training 0 a, 1 b, 2 c: "
        'number them alike (classes=)'
    )


def test_a_number_is_one_class_in_data_and_task():
    spec = {'y': Labels.of(('a', 'c', 'b'))}
    with pytest.raises(UsageError, match='0 a, 1 b, 2 c, and the task 0 a, 1 c, 2 b: give it'):
        check_names(named('a', 'b', 'c'), {}, spec)
    check_names(named('A', 'B', 'C'), {}, spec)  # other words
    check_names(named('a', 'c', 'b'), {}, spec)
