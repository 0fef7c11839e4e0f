"""Invention: valid, unique and novel by hand, of all batches together."""

import math

import numpy as np
import pytest

from jaxdl.data.text import Characters
from jaxdl.metrics import describe, finish, total
from jaxdl.metrics.invention import Invented

LETTERS = Characters.learn('abcd!')


def canonical(text):
    """Letters in any order are one word; what has a '!' is none."""
    return None if '!' in text or not text else ''.join(sorted(text))


def invented(texts, rows=4, known=('ab',)):
    tokens, mask = np.zeros((rows, 4), int), np.zeros(rows, bool)
    for i, text in enumerate(texts):
        tokens[i, : len(text)], mask[i] = LETTERS.encode(text), True
    how = {'decode': LETTERS.decode, 'canonical': canonical, 'known': known}
    return {'': Invented.of(tokens, mask, **how)}


def test_of_all_batches_together():
    parts = [invented(['ab', 'ba', 'cd']), invented(['dc', 'a!', 'abc', ''])]
    # Valid are ab ba cd dc abc; different ab cd abc; new cd abc.
    want = {'valid': 5 / 7, 'unique': 3 / 5, 'novel': 2 / 3, 'new': 2 / 7}
    assert finish(total(parts)) == pytest.approx(want)
    assert finish(parts[0])['unique'] == pytest.approx(2 / 3)


def test_of_nothing_nothing_is_known():
    assert all(math.isnan(x) for x in finish(invented([])).values())
    none = finish(invented(['!', '!!']))
    assert none['valid'] == none['new'] == 0 and math.isnan(none['unique'])
    assert {it.better for it in describe(invented(['ab'])).values()} == {'higher'}
