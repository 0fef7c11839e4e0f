"""Spoken digits: rows from file names, splits, and utterances joined on the device."""

import jax
import numpy as np
import pytest

from jaxdl.data.sets.spoken import (
    DIGITS,
    OFFICIAL,
    official,
    recordings,
    speakers_apart,
    spelled,
    spoken_digit,
    utterances,
)
from jaxdl.errors import DataMissingError, UsageError

RATE = 8000


def small():
    """Three speakers, ten digits, six recordings of each: a wave says which it is."""
    names = [(d, who, i) for i in range(6) for who in ('cy', 'al', 'bo') for d in range(10)]
    waves = [
        np.full(40 + 7 * d + i, 1000 + 100 * d + 10 * 'abc'.index(who[0]) + i)
        for d, who, i in names
    ]
    return recordings(
        waves, [d for d, *_ in names], [f'{d}_{w}_{i}.wav' for d, w, i in names], longest=100
    )


TABLE = small()


def test_rows_are_in_order_padded_and_named():
    assert len(TABLE) == 180 and TABLE.classes['speaker'] == ('al', 'bo', 'cy')
    assert TABLE.classes['y'] == DIGITS
    row = TABLE[[6 * 3 * 4 + 6 + 2]]
    assert [int(row[name][0]) for name in ('y', 'speaker', 'index', 'lengths')] == [4, 1, 2, 70]
    x = row['x'][0]
    assert x.dtype == np.int16 and (x[:70] == 1412).all() and not x[70:].any()
    assert TABLE.column('lengths').max() == 100 and (TABLE.column('x')[-1] == 1925).all()


def test_splits():
    train, test = official(TABLE)
    assert len(train) == 30 and set(train.column('index')) == {5} and len(test) == 150
    assert test.column('index').max() == OFFICIAL - 1
    train, test = speakers_apart(TABLE, ['bo'])
    assert set(train.column('speaker')) == {0, 2} and set(test.column('speaker')) == {1}


def test_digits_are_spelled():
    table = spelled(TABLE)
    row = table[[0, 7 * 18]]
    assert row['text'].tolist() == [[26, 5, 18, 15, 0], [19, 5, 22, 5, 14]]
    assert row['text_lengths'].tolist() == [4, 5] and table.classes == TABLE.classes


def read(x, length):
    """The (digit, speaker, index) that were said, from where the wave is not silent."""
    values = np.round(np.asarray(x[:length]) * 2**15).astype(int) - 1000
    edges = np.flatnonzero(np.diff(values, prepend=-1000))
    said = [values[i] for i in edges if values[i] >= 0]
    return [(v // 100, v // 10 % 10, v % 10) for v in said]


def test_utterances_are_of_one_speaker_and_say_what_they_are_labelled():
    source = utterances(TABLE, batch=32, words=(1, 4), gap=0.01, longest=0.05, batches=2)
    batches = jax.device_get(list(source))
    assert len(batches) == 2 and source.batches == 2
    counts = []
    for batch in batches:
        assert batch['x'].shape == (32, 400) and batch['mask'].all()
        for i in range(32):
            n = int(batch['y_lengths'][i])
            labels = np.asarray(batch['y'][i])
            counts.append(n)
            assert not labels[n:].any() and not batch['x'][i, int(batch['lengths'][i]) :].any()
            said = read(batch['x'][i], int(batch['lengths'][i]))
            # Two words with no silence between them, alike, would be one run.
            assert len(said) in (n, n - 1, n - 2)
            if len(said) == n:
                assert [digit + 1 for digit, *_ in said] == labels[:n].tolist()
            assert {who for _, who, _ in said} == {int(batch['speaker'][i])}
    assert min(counts) == 1 and max(counts) >= 3
    assert not np.array_equal(batches[0]['x'], batches[1]['x'])


def test_a_word_that_does_not_fit_is_not_labelled():
    source = utterances(TABLE, batch=64, words=(4, 4), gap=0.0, longest=0.03, batches=1)
    batch = jax.device_get(next(iter(source)))
    sizes = [40 + 7 * d for d in range(10)]
    for i in range(64):
        n, labels = int(batch['y_lengths'][i]), np.asarray(batch['y'][i])
        assert 1 <= n < 4 or sum(sizes[d - 1] for d in labels) <= 240
        assert batch['lengths'][i] <= 240


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: recordings([[1]], [3], ['4_al_0.wav'], longest=9), "'4_al_0.wav' of digit 3"),
        (lambda: speakers_apart(TABLE, ['b']), "no speaker 'b'; did you mean 'bo'"),
        (lambda: speakers_apart(TABLE, ['al', 'bo', 'cy']), 'some of the speakers, not all'),
        (lambda: utterances(TABLE, batch=1, words=(0, 2)), r'words=\(0, 2\); the fewest'),
        (lambda: utterances(TABLE, batch=1, longest=0.1), 'a word may take 0.2125 seconds'),
    ],
)
def test_errors(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_the_real_recordings():
    try:
        table = spoken_digit()
    except DataMissingError as error:
        pytest.skip(str(error))
    train, test = official(table)
    assert (len(train), len(test)) == (2250, 250)
    assert (np.bincount(test.column('y')) == 25).all()
    assert table.column('lengths').min() == 1148 and (table.column('lengths') < 8400).sum() == 2498
