"""Predictions without training, against loops, known values and scikit-learn's."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from jaxdl import baselines
from jaxdl.baselines import (
    frequent_tags,
    majority,
    nearest_neighbour,
    overlapping,
    persistence,
)
from jaxdl.errors import UsageError

RNG = np.random.default_rng(0)


def test_majority_is_the_most_frequent_label_for_everything():
    assert majority([2, 1, 2, 0, 1, 2], [0, 0, 1]).tolist() == [2, 2, 2]
    assert majority([3, 1, 3, 1], np.zeros((2, 2))).tolist() == [[1, 1], [1, 1]]  # the least of two
    assert majority(np.array([[0, 7], [7, 0], [7, 7]]), [1]).tolist() == [7]  # of pixels
    with pytest.raises(UsageError, match='majority: there are no training labels'):
        majority([], [1])


def test_a_word_has_the_tag_that_it_most_often_had():
    words = [['a', 'b', 'a'], ['a', 'c', 'b']]
    tags = [[1, 2, 0], [1, 0, 0]]
    # a: 1 twice of three; b: 2 and 0, the least; c: 0; of all six words 0 is the most frequent.
    assert frequent_tags(words, tags, [['c', 'a'], ['b'], ['new'], []]) == [[0, 1], [0], [0], []]
    assert frequent_tags([['a']], np.array([[3]]), [np.array(['a', 'A'])]) == [[3, 3]]
    with pytest.raises(UsageError, match='frequent_tags: there are no training words'):
        frequent_tags([[]], [[]], [['a']])


def test_a_question_finds_the_sentence_with_its_words():
    sentences = ['It rained.', 'Ann went to Rome, by train.', 'Rome has rain.', 'A train to Rome?']
    assert overlapping('How did Ann go to Rome?', sentences) == sentences[1]
    assert overlapping('ROME', sentences) == sentences[1]  # the first of equal ones
    assert overlapping('Why?', sentences) == sentences[0]
    with pytest.raises(UsageError, match='overlapping: there are no sentences'):
        overlapping('Why?', [])


def by_a_loop(train, labels, test, neighbours):
    """The definition: exact distances, the first of equals, the nearest of equal votes."""
    found = []
    for point in test:
        distances = [
            sum((float(a) - float(b)) ** 2 for a, b in zip(x, point, strict=True)) for x in train
        ]
        order = sorted(range(len(train)), key=lambda i: (distances[i], i))[:neighbours]
        votes = [labels[i] for i in order]
        found.append(max(votes, key=lambda vote: (votes.count(vote), -votes.index(vote))))
    return found


@pytest.mark.parametrize('neighbours', [1, 2, 3, 5])
@pytest.mark.parametrize('offset', [0, 1000, 1e5 + 1 / 3])
def test_nearest_neighbours_by_a_loop(neighbours, offset, monkeypatch):
    monkeypatch.setattr(baselines, 'BLOCK', 200)  # several blocks, the last one short
    # Few whole numbers: many distances are equal, and far from zero float32 loses most of them.
    train = RNG.integers(0, 4, (60, 3)) + offset
    test = RNG.integers(0, 4, (31, 3)) + offset
    labels = RNG.integers(0, 3, 60)
    found = nearest_neighbour(train, labels, test, neighbours=neighbours)
    assert found.tolist() == by_a_loop(train.tolist(), labels.tolist(), test.tolist(), neighbours)


@pytest.mark.parametrize('neighbours', [1, 3])
def test_nearest_neighbours_by_scikit_learn(neighbours):
    train, test = RNG.normal(size=(300, 8, 8)), RNG.normal(size=(120, 8, 8))
    labels = np.array(['a', 'b'])[RNG.integers(0, 2, 300)]  # two labels: odd votes never tie
    theirs = KNeighborsClassifier(neighbours).fit(train.reshape(300, -1), labels)
    found = nearest_neighbour(train, labels, test, neighbours=neighbours)
    np.testing.assert_array_equal(found, theirs.predict(test.reshape(120, -1)))


def test_of_examples_that_are_there_twice_the_first_counts():
    point = RNG.integers(0, 256, (1, 784)).astype(np.uint8)
    others = RNG.integers(0, 256, (500, 784)).astype(np.uint8)
    train = np.concatenate([others[:250], point, others[250:], np.repeat(point, 40, 0)])
    labels = np.arange(len(train))
    assert nearest_neighbour(train, labels, point).tolist() == [250]
    assert nearest_neighbour(train, labels, point, neighbours=40).tolist() == [250]


@pytest.mark.parametrize(
    ('arguments', 'line'),
    [
        (([[0.0]], [1, 2], [[0.0]]), r'train_y has the shape \(2,\), and train_x 1 rows'),
        (([[0.0]], [[1]], [[0.0]]), r'train_y has the shape \(1, 1\)'),
        (([[0.0]], [1], [[0.0, 1.0]]), 'rows of train_x hold 1 numbers, and those of test_x 2'),
        (([], [], [[0.0]]), 'there are no examples'),
    ],
)
def test_shapes_that_do_not_fit_are_one_line(arguments, line):
    with pytest.raises(UsageError, match=line):
        nearest_neighbour(*arguments)


@pytest.mark.parametrize('neighbours', [0, 3, 1.0])
def test_there_are_as_many_neighbours_as_examples(neighbours):
    with pytest.raises(UsageError, match='neighbours is .*; it is a whole number, at least 1 and'):
        nearest_neighbour([[0.0], [1.0]], [0, 1], [[0.0]], neighbours=neighbours)


def test_persistence_predicts_what_was_last_known():
    series = np.arange(12.0).reshape(6, 2) ** 2
    found = persistence(series, 2)
    assert found.shape == series[2:].shape
    for t in range(4):
        assert (found[t] == series[t]).all()  # for time t + 2
    for horizon in (0, -1, 6, 1.0):
        with pytest.raises(UsageError, match='persistence: horizon is'):
            persistence(series, horizon)
