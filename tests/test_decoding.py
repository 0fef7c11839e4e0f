"""Decoding against all rows there are, written out, and what is drawn against probabilities."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.decoding import beam, decode, greedy, no_penalty, sampler, wu_penalty

WORDS, LENGTH, END = 4, 4, 0
# What comes after a token depends on it and on how many were said: a state that must be carried.
TABLE = 1.5 * jax.random.normal(jax.random.key(0), (LENGTH, WORDS, WORDS)).at[:, :, END].add(-1.0)
FIRST = jnp.array([1, 2, 3])
START = jnp.zeros(3, jnp.int32)


def step(state, tokens):
    return TABLE[state, tokens], state + 1


def score(first, row):
    """The log-probability of a row, up to and with its end."""
    logs, total, token = jax.nn.log_softmax(TABLE, -1), 0.0, first
    for i, word in enumerate(row):
        total += float(logs[i, token, word])
        token = word
    return total


def rows():
    for size in range(1, LENGTH + 1):
        for row in itertools.product(range(WORDS), repeat=size):
            if END not in row[:-1] and (size == LENGTH or row[-1] == END):
                yield row


@pytest.mark.parametrize('penalty', [no_penalty, wu_penalty(0.6)], ids=['none', 'wu'])
def test_a_wide_beam_finds_the_best_row_there_is(penalty):
    search = partial(beam, step, length=LENGTH, end=END, width=64, penalty=penalty)
    found = jax.jit(search)(START, FIRST)
    for i, first in enumerate(map(int, FIRST)):
        scores = {row: score(first, row) / float(penalty(jnp.float32(len(row)))) for row in rows()}
        best = max(scores, key=lambda row: scores[row])
        assert tuple(found.tokens[i, : len(best)].tolist()) == best
        assert found.lengths[i] == len(best)
        np.testing.assert_allclose(found.scores[i], scores[best], rtol=1e-5)
        assert (found.tokens[i, len(best) :] == END).all()


def test_greedy_takes_the_likeliest_and_stops_at_the_end():
    found = jax.jit(partial(greedy, step, length=LENGTH, end=END))(START, FIRST)
    for i, first in enumerate(map(int, FIRST)):
        row, token = [], first
        while len(row) < LENGTH and (not row or row[-1] != END):
            token = int(TABLE[len(row), token].argmax())
            row.append(token)
        assert found.tokens[i, : len(row)].tolist() == row and found.lengths[i] == len(row)
        np.testing.assert_allclose(found.scores[i], score(first, row), rtol=1e-5)


def test_a_beam_of_one_is_greedy():
    one = beam(step, START, FIRST, length=LENGTH, end=END, width=1)
    other = greedy(step, START, FIRST, length=LENGTH, end=END)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), one, other)


@pytest.mark.parametrize(
    ('options', 'kept'),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({'top_k': 2}, [4 / 7, 3 / 7, 0, 0]),
        ({'top_p': 0.6}, [4 / 7, 3 / 7, 0, 0]),
        ({'top_p': 0.35}, [1, 0, 0, 0]),
        ({'top_p': 0.75}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({'temperature': 0.5}, np.square([4, 3, 2, 1]) / 30),
        ({'temperature': 0}, [1, 0, 0, 0]),
        ({'temperature': 0.5, 'top_k': 2}, np.array([16, 9, 0, 0]) / 25),
        ({'top_k': 9}, [0.4, 0.3, 0.2, 0.1]),
    ],
    ids=str,
)
def test_draws_have_the_probabilities_that_are_left(options, kept):
    logits = jnp.tile(jnp.log(jnp.array([0.3, 0.1, 0.4, 0.2])), (20_000, 1))
    drawn = np.bincount(sampler(**options)(jax.random.key(0), logits), minlength=4) / 20_000
    want = np.asarray(kept)
    np.testing.assert_allclose(drawn[[2, 0, 3, 1]], want, atol=0.015)
    assert not drawn[[2, 0, 3, 1]][want == 0].any()


def test_rows_are_drawn_by_the_key_alone():
    draw = jax.jit(partial(decode, step, choose=sampler(), length=LENGTH, end=END))
    first = draw(START, FIRST, key=jax.random.key(1))
    again = draw(START, FIRST, key=jax.random.key(1))
    other = [draw(START, FIRST, key=jax.random.key(i)).tokens for i in range(2, 6)]
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert any((first.tokens != tokens).any() for tokens in other)


@pytest.mark.parametrize('wrong', [{'temperature': -1}, {'top_k': 0}, {'top_p': 0}, {'top_p': 2}])
def test_what_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(ValueError, match='temperature'):
        sampler(**wrong)
