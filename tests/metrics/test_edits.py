"""Edit distance and error rates: by hand, by their laws, and jiwer's."""

import numpy as np
import pytest

from jaxdl.metrics import add, finish
from jaxdl.metrics.edits import ErrorRate, edit_distance


def test_known_distances():
    assert edit_distance('kitten', 'sitting') == 3
    assert edit_distance('', 'abc') == 3 == edit_distance('abc', '')
    assert edit_distance('flaw', 'lawn') == 2 and edit_distance('same', 'same') == 0


def test_it_is_a_distance():
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(0, 3, rng.integers(0, 9)).tolist() for _ in range(3))
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def rate(found, truth, mask=None, **options):
    def padded(rows):
        return np.array([row + [9] * (6 - len(row)) for row in rows])

    lengths, counts = ([len(row) for row in rows] for rows in (found, truth))
    mask = np.ones(len(found), bool) if mask is None else np.array(mask)
    return ErrorRate.of(
        padded(found), np.array(lengths), padded(truth), np.array(counts), mask, **options
    )


def test_words_by_hand():
    metric = rate([[1, 2], [3], [], [5]], [[1, 2, 3], [4], [7], [5]], [True, True, False, True])
    assert finish({'': metric}) == {'wer': 2 / 5, 'ser': 2 / 3}
    assert metric.directions() == {'wer': 'lower', 'ser': 'lower'}


def test_characters_and_their_words():
    # "ab a" heard as "ab b", "b" as "bb": 0 is the space.
    metric = rate([[1, 2, 0, 2], [2, 2]], [[1, 2, 0, 1], [2]], space=0)
    assert finish({'': metric}) == {'cer': 2 / 5, 'wer': 2 / 3, 'ser': 1.0}


def test_batches_add():
    one, two = rate([[1]], [[2]]), rate([[1, 1], [3]], [[1, 1], [3]])
    assert finish({'': add([one, two])}) == {'wer': 1 / 4, 'ser': 1 / 3}
    empty = add([one]).replace(mask=np.array([False]))
    assert np.isnan(finish({'': empty})['wer'])


def test_jiwer():
    jiwer = pytest.importorskip('jiwer')
    rng = np.random.default_rng(1)
    found, truth = (
        [rng.integers(1, 4, rng.integers(1, 6)).tolist() for _ in range(30)] for _ in range(2)
    )
    texts = [[' '.join(map(str, row)) for row in rows] for rows in (truth, found)]
    assert finish({'': rate(found, truth)})['wer'] == pytest.approx(jiwer.wer(*texts))
