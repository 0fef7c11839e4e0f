"""Masked words and sentences that follow: the parts, and that nothing else is touched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.augment import compose
from jaxdl.data.stream import shuffled
from jaxdl.data.text import (
    Words,
    joined_pairs,
    mask_tokens,
    masked,
    scrambled,
    sentence_pairs,
    sentence_table,
    spans,
)
from jaxdl.errors import UsageError

KEY = jax.random.key(0)
DOCUMENTS = [[f'd{d} s{s} w' for s in range(4)] for d in range(5)]
TOKENIZER = Words.learn([' '.join(d) for d in DOCUMENTS], marks=['<mask>'])


def test_the_parts_are_those_of_the_paper():
    # One id everywhere, which no random draw is: what stayed can be told from what was drawn.
    tokens = jnp.full((400, 500), 999, jnp.int32)
    lengths = jnp.full(400, 450)
    made = jax.tree.map(np.asarray, mask_tokens(KEY, tokens, lengths, vocabulary=90, mask_id=950))
    n = 400 * 450
    chosen, inputs = made.chosen, made.inputs
    assert not chosen[:, 450:].any() and (inputs[~chosen] == 999).all()
    np.testing.assert_array_equal(made.targets, tokens)

    def near(count, p, n):
        assert abs(count - n * p) < 4 * np.sqrt(n * p * (1 - p))

    total = chosen.sum()
    near(total, 0.15, n)
    near((inputs[chosen] == 950).sum(), 0.8, total)
    near((inputs[chosen] == 999).sum(), 0.1, total)
    drawn = inputs[chosen & (inputs != 950) & (inputs != 999)]
    near(len(drawn), 0.1, total)
    assert set(drawn) == set(range(90))
    # Not the same places in all rows, nor under another key.
    assert (chosen[0] != chosen[1]).any()
    other = mask_tokens(jax.random.key(1), tokens, lengths, vocabulary=90, mask_id=950)
    assert (np.asarray(other.chosen) != chosen).any()


def test_some_are_never_chosen():
    tokens = jnp.tile(jnp.arange(5), (200, 4))
    made = mask_tokens(
        KEY, tokens, jnp.full(200, 20), vocabulary=5, mask_id=4, rate=1.0, never=(0, 2)
    )
    np.testing.assert_array_equal(made.chosen, (tokens != 0) & (tokens != 2))
    with pytest.raises(UsageError, match=r'rate=1\.5; a probability'):
        mask_tokens(KEY, tokens, jnp.full(200, 20), vocabulary=5, mask_id=4, rate=1.5)


def test_pairs_are_joined_as_in_the_figure():
    first, second = jnp.array([[11, 12, 13], [14, 0, 0]]), jnp.array([[21, 22], [23, 24]])
    made = joined_pairs(
        first, jnp.array([3, 1]), second, jnp.array([2, 1]), length=9, start=2, end=3
    )
    np.testing.assert_array_equal(
        made.tokens, [[2, 11, 12, 13, 3, 21, 22, 3, 0], [2, 14, 3, 23, 3, 0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(made.lengths, [8, 5])
    np.testing.assert_array_equal(
        made.sentences, [[0, 0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 0, 0, 0, 0]]
    )
    short = joined_pairs(
        first, jnp.array([3, 1]), second, jnp.array([2, 1]), length=7, start=2, end=3
    )
    np.testing.assert_array_equal(short.tokens[0], [2, 11, 12, 13, 3, 21, 3])
    shorter = joined_pairs(
        first, jnp.array([3, 1]), second, jnp.array([2, 1]), length=5, start=2, end=3
    )
    np.testing.assert_array_equal(shorter.tokens, [[2, 11, 12, 3, 3], [2, 14, 3, 23, 3]])


def test_half_of_the_sentences_follow():
    table = sentence_table(DOCUMENTS, TOKENIZER, length=3)
    assert len(table) == 15
    source = shuffled(table, batch=15, augment=sentence_pairs(TOKENIZER, length=9))
    follows, stream = [], iter(source)
    for _ in range(40):
        batch = jax.device_get(next(stream))
        assert batch['mask'].all() and (batch['lengths'] == 9).all()
        for tokens, other in zip(batch['tokens'], batch['follows'], strict=True):
            pair = [TOKENIZER.decode(part).split() for part in (tokens[:5], tokens[5:])]
            (d, s, _), (e, t, _) = pair
            assert (d == e and int(t[1]) == int(s[1]) + 1) == (not other)
        follows += batch['follows'].tolist()
    assert abs(np.mean(follows) - 0.5) < 4 * 0.5 / np.sqrt(600)


def test_a_batch_is_made_of_both():
    table = sentence_table(DOCUMENTS, TOKENIZER, length=3)
    both = compose(sentence_pairs(TOKENIZER, length=9), masked(TOKENIZER, rate=0.5))
    batch = jax.device_get(next(iter(shuffled(table, batch=12, augment=both))))
    assert set(batch) == {
        'tokens', 'lengths', 'sentences', 'follows', 'targets', 'chosen', 'mask'
    }  # fmt: skip
    marks = np.isin(batch['targets'], (0, 2, 3))
    assert not batch['chosen'][marks].any() and 0.3 < batch['chosen'][~marks].mean() < 0.7
    hidden = batch['tokens'] == TOKENIZER.id('<mask>')
    assert hidden.any() and batch['chosen'][hidden].all()


def test_what_cannot_be_paired_is_said():
    with pytest.raises(UsageError, match='no document has two sentences'):
        sentence_table([['one']], TOKENIZER, length=3)
    table = sentence_table(DOCUMENTS, TOKENIZER, length=3)
    with pytest.raises(UsageError, match='a batch of 1 row has no other sentence'):
        next(iter(shuffled(table, batch=1, augment=sentence_pairs(TOKENIZER, length=9))))
    with pytest.raises(UsageError, match="no piece '<msk>'; did you mean '<mask>'"):
        masked(TOKENIZER, mask='<msk>')


def test_only_the_places_that_are_hidden_are_asked_for():
    table = sentence_table(DOCUMENTS, TOKENIZER, length=3)
    make = sentence_pairs(TOKENIZER, length=9)
    rows = make(KEY, {**table.arrays, 'mask': np.ones(15, bool)})
    whole, some, all_of_them = (
        jax.device_get(masked(TOKENIZER, rate=0.5, most=most)(KEY, rows)) for most in (None, 2, 9)
    )
    # Where no limit is reached it is the same, told by places.
    back = np.zeros((15, 9), bool)
    np.put_along_axis(back, all_of_them['places'], all_of_them['chosen'], axis=1)
    np.testing.assert_array_equal(back, whole['chosen'])
    np.testing.assert_array_equal(all_of_them['tokens'], whole['tokens'])
    np.testing.assert_array_equal(
        np.take_along_axis(whole['targets'], all_of_them['places'], 1), all_of_them['targets']
    )
    # A limit takes the first, and hides no others.
    counts = np.minimum(whole['chosen'].sum(1), 2)
    assert (whole['chosen'].sum(1) > 2).any() and some['places'].shape == (15, 2)
    np.testing.assert_array_equal(some['chosen'].sum(1), counts)
    for row in range(15):
        first = np.flatnonzero(whole['chosen'][row])[:2]
        np.testing.assert_array_equal(some['places'][row][some['chosen'][row]], first)
        others = np.setdiff1d(np.arange(9), first)
        np.testing.assert_array_equal(some['tokens'][row, others], rows['tokens'][row, others])
    with pytest.raises(UsageError, match='masked: most=0; at least 1 token a row'):
        masked(TOKENIZER, most=0)


def test_scrambled_text_keeps_its_words_and_loses_their_places():
    table = sentence_table(DOCUMENTS, TOKENIZER, length=3)
    make = sentence_pairs(TOKENIZER, length=12)
    rows = jax.device_get(make(KEY, {**table.arrays, 'mask': np.ones(15, bool)}))
    got, other = (
        jax.device_get(scrambled(TOKENIZER)(jax.random.key(seed), rows)) for seed in (0, 1)
    )
    text = (rows['tokens'] > 3) & (np.arange(12)[None] < rows['lengths'][:, None])
    np.testing.assert_array_equal(got['tokens'][~text], rows['tokens'][~text])
    np.testing.assert_array_equal(np.sort(got['tokens'][text]), np.sort(rows['tokens'][text]))
    assert (got['tokens'] != other['tokens']).any()
    # A word lands in its own row no more often than in any other.
    first = TOKENIZER.id('d0')
    here = (rows['tokens'] == first).any(1)
    assert (got['tokens'][~here] == first).any()
    assert {name for name in rows if (got[name] != rows[name]).any()} == {'tokens'}


@pytest.mark.parametrize(
    ('text', 'most', 'expected'),
    [
        ('a b c d e', 9, ['a b c', 'd e']),
        ('a b c d e f g', 3, ['a b c', 'd e', 'f g']),
        (' a\n b ', 9, ['a', 'b']),
        ('a', 9, ['a']),
        (' ', 9, []),
    ],
)
def test_a_text_is_cut_into_spans(text, most, expected):
    assert spans(text, most=most) == expected


def test_a_span_has_a_word():
    with pytest.raises(UsageError, match='spans: most=0; at least 1 word'):
        spans('a b', most=0)
