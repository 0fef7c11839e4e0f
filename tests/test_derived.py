"""Numbers on the way there against values worked out by hand."""

import math

import numpy as np
import pytest

from jaxdl.derived import (
    Derived,
    area,
    derived,
    first_time,
    gap,
    is_training,
    measured,
    refuse_underived,
    restricted,
    twin,
)
from jaxdl.errors import UsageError


@pytest.mark.parametrize(
    ('name', 'made'),
    [
        ('area of test/accuracy', Derived('area', 'test/accuracy')),
        ('gap of pretrain/test/loss', Derived('gap', 'pretrain/test/loss')),
        ('steps to test/accuracy >= 0.9', Derived('steps', 'test/accuracy', 0.9, True)),
        ('seconds to test/log loss <= -1e-05', Derived('seconds', 'test/log loss', -1e-5, False)),
    ],
)
def test_a_name_says_it_all(name, made):
    assert derived(name) == made and made.name == name
    assert measured(name) == made.metric


@pytest.mark.parametrize('name', ['test/accuracy', 'area', 'steps to x', 'steps to x >= much'])
def test_what_is_measured_is_not_derived(name):
    assert derived(name) is None and measured(name) == name


def test_the_area_is_the_mean_over_steps():
    steps = np.array([10, 20, 40])
    values = np.array([[0.0, 1.0, 0.5], [1.0, 1.0, math.nan], [1.0, 1.0, 0.5]])
    # (10 * 0.5 + 20 * 1) / 30
    assert area(steps, values, end=40) == pytest.approx([25 / 30, 1.0, math.nan], nan_ok=True)
    # Of a run that stopped early the last value stays: (5 + 20 + 60) / 90.
    assert area(steps, values, end=100)[0] == pytest.approx(85 / 90)
    assert area(steps[:1], values[:1], end=10).tolist() == [0.0, 1.0, 0.5]
    # As the trapezoid rule of two straight pieces: the mean of a straight line is its middle.
    line = np.linspace(0, 1, 11)
    assert area(10 * np.arange(11), line[:, None], end=100) == pytest.approx([0.5])


def test_a_larger_gap_is_worse():
    test, train = np.array([0.8, 0.9]), np.array([1.0, 0.9])
    assert gap(test, train, better='higher') == pytest.approx([0.2, 0.0])
    assert gap(test, train, better='lower') == pytest.approx([-0.2, 0.0])


def test_the_first_time_and_its_restriction():
    times, nan = np.array([10.0, 20.0, 30.0]), math.nan
    # Reached at once, later and lost again, exactly, never, and unknown at first.
    values = np.array([[9, 0, 0, 0, nan], [9, 9, 0, 0, 9], [9, 0, 5, 4, 9]])
    first = first_time(times, values, bound=5, above=True)
    assert first.tolist() == [10, 20, 30, math.inf, 20]
    assert first_time(times, -values, bound=-5, above=False).tolist() == first.tolist()
    assert restricted(first, 25.0).tolist() == [10, 20, 25, 25, 20]


@pytest.mark.parametrize(
    ('name', 'better', 'said'),
    [
        (
            'gap of test/a',
            'higher',
            "no number of the same name is measured in training, 'train/a'",
        ),
        ('gap of test/b', None, "nothing says which values of 'test/b' are better"),
        ('steps to test/b >= 0.9', 'lower', 'at_least is reached by getting worse; say at_most'),
        ('seconds to test/b <= 0.9', 'higher', 'at_most is reached by getting worse; say at_least'),
    ],
)
def test_what_cannot_be_made_is_refused(name, better, said):
    with pytest.raises(UsageError) as error:
        refuse_underived(derived(name), better, ['test/a', 'test/b', 'train/b'])
    assert said in str(error.value) and '\n' not in str(error.value)


def test_what_can_be_made_is_not_refused():
    names = ['test/b', 'train/b']
    for name in ('gap of test/b', 'area of test/b', 'steps to test/b >= 0.9'):
        refuse_underived(derived(name), 'higher', names)
    refuse_underived(derived('steps to test/b <= 0.9'), None, names)
    refuse_underived(derived('area of test/b'), None, names)


def test_which_values_of_a_derived_number_are_better():
    for name, expected in {
        'area of a': ['higher', 'lower', None],
        'gap of a': ['lower'] * 3,
        'steps to a >= 1': ['lower'] * 3,
    }.items():
        assert [derived(name).better(way) for way in ('higher', 'lower', None)] == expected


def test_a_derived_number_has_no_twin_and_may_be_of_training():
    assert twin('test/b', ['train/b']) == 'train/b'
    assert twin('area of test/b', ['train/b']) is None
    assert is_training('area of train/b') and not is_training('gap of test/b')
