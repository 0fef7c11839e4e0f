"""What BERT is pre-trained on: masked words and sentences that follow (Devlin et al. 2019, 3.1).

Pure functions of (key, tokens), and the same as transforms of batches::

    augment=compose(sentence_pairs(tokenizer, length=128), masked(tokenizer, mask='<mask>'))
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.augment import Transform
from jaxdl.data.table import Table, from_arrays
from jaxdl.data.text.tables import known, pad_of, padded, told_cut
from jaxdl.data.text.vocabulary import Tokenizer
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.lengths import within
from jaxdl.task import Batch

Array = jax.Array


class Masked(NamedTuple):
    """What is read, inputs [B, T]; what is to be said, targets [B, T], where `chosen` is true."""

    inputs: Array
    targets: Array
    chosen: Array


def mask_tokens(
    key: Key,
    tokens: Array,
    lengths: Array,
    *,
    vocabulary: int,
    mask_id: int,
    rate: float = 0.15,
    never: Sequence[int] = (),
) -> Masked:
    """Tokens int [B, T] of which some are hidden (Devlin et al. 2019, section 3.1, task 1).

    Each of the first `lengths` [B] tokens of a row is chosen with probability `rate`. A chosen one
    becomes `mask_id` with probability 0.8, any of the vocabulary with 0.1, and stays with 0.1.

    never: ids that are not chosen, those of tokens that are no text.
    """
    if not 0 <= rate <= 1:
        raise UsageError(f'mask_tokens: rate={rate}; a probability, 0..1')
    real = _text(tokens, lengths, never)
    chosen = real & jax.random.bernoulli(key_for(key, 'chosen'), rate, tokens.shape)
    kind = jax.random.uniform(key_for(key, 'kind'), tokens.shape)
    other = jax.random.randint(key_for(key, 'other'), tokens.shape, 0, vocabulary, tokens.dtype)
    hidden = jnp.where(kind < 0.8, mask_id, jnp.where(kind < 0.9, other, tokens))
    return Masked(jnp.where(chosen, hidden, tokens).astype(tokens.dtype), tokens, chosen)


def masked(
    tokenizer: Tokenizer, *, mask: str = '<mask>', rate: float = 0.15, most: int | None = None
) -> Transform:
    """A transform of `tokens` and `lengths`: some tokens are hidden, `targets` and `chosen` added.

    mask: the piece that hides; tokens that are no text are never chosen.
    most: of a row at most so many, the first, are hidden, and only these are asked for: `places`
        int [B, most] is added, and `targets` and `chosen` are [B, most]. Where fewer are hidden
        `chosen` is false. None: no limit, and they are [B, T].
    """
    if most is not None and most < 1:
        raise UsageError(f'masked: most={most}; at least 1 token a row')
    mask_id, size, never = tokenizer.id(mask), tokenizer.vocabulary, _no_text(tokenizer)

    def transform(key: Key, batch: Batch) -> Batch:
        made = mask_tokens(
            key,
            batch['tokens'],
            batch['lengths'],
            vocabulary=size,
            mask_id=mask_id,
            rate=rate,
            never=never,
        )
        if most is None:
            return {**batch, 'tokens': made.inputs, 'targets': made.targets, 'chosen': made.chosen}
        chosen = made.chosen & (jnp.cumsum(made.chosen, axis=1) <= most)
        places = jnp.argsort(~chosen, axis=1, stable=True)[:, :most].astype(jnp.int32)
        asked = {
            'tokens': jnp.where(chosen, made.inputs, made.targets),
            'places': places,
            'targets': jnp.take_along_axis(made.targets, places, axis=1),
            'chosen': jnp.take_along_axis(chosen, places, axis=1),
        }
        return {**batch, **asked}

    return transform


def scrambled(tokenizer: Tokenizer) -> Transform:
    """A transform of `tokens` and `lengths`: the tokens of text change places within the batch.

    A control for pre-training: what is read and how often, the lengths of rows and the marks in
    them stay as they are; which tokens stand beside each other says nothing any more. (Sinha et al.
    2021 draw words from the whole corpus for the same end, section 3.)
    """
    never = _no_text(tokenizer)

    def transform(key: Key, batch: Batch) -> Batch:
        tokens = jnp.asarray(batch['tokens'])
        real = _text(tokens, batch['lengths'], never).reshape(-1)
        flat, draw = tokens.reshape(-1), jax.random.uniform(key_for(key, 'place'), real.shape)
        # Where text stands, in order, and the same places shuffled; what is no text comes last.
        places, others = jnp.argsort(~real, stable=True), jnp.argsort(jnp.where(real, draw, 2.0))
        moved = flat.at[places].set(flat[others])
        return {**batch, 'tokens': jnp.where(real, moved, flat).reshape(tokens.shape)}

    return transform


def _no_text(tokenizer: Tokenizer) -> list[int]:
    """The ids of tokens that are no text, but for the unknown."""
    special = tokenizer.special
    return sorted({i for i in (special.pad, special.start, special.end) if i is not None})


def _text(tokens: Array, lengths: Array, never: Sequence[int]) -> Array:
    """Which of tokens [B, T] are text: of the first `lengths` [B], and none of `never`."""
    real = within(lengths, tokens.shape[1])
    for each in never:
        real &= tokens != each
    return real


def spans(text: str, *, most: int) -> list[str]:
    """A text in consecutive spans of nearly as many words, `most` at most, and two spans at least.

    What BERT calls a sentence is "an arbitrary span of contiguous text" (Devlin et al. 2019,
    section 3): so a text is a document for `sentence_table` whether it is a book or one sentence.
    A text of one word is one span.
    """
    if most < 1:
        raise UsageError(f'spans: most={most}; at least 1 word')
    words = text.split()
    parts = min(len(words), max(2, -(-len(words) // most)))
    return [' '.join(part) for part in np.array_split(words, parts)] if parts else []


def sentence_table(
    documents: Iterable[Sequence[str]],
    tokenizer: Tokenizer,
    *,
    length: int,
    name: str = 'sentences',
) -> Table:
    """A row for each two sentences that follow each other in a document.

    Columns `first` and `second`, int32 [length], and their `_lengths`: what `sentence_pairs` takes.
    What is longer is cut, and the name of the table says how many were.
    """
    rows: tuple[list[list[int]], list[list[int]]] = ([], [])
    for document in documents:
        encoded = [tokenizer.encode(sentence) for sentence in document]
        for first, second in pairwise(encoded):
            rows[0].append(first)
            rows[1].append(second)
    if not rows[0]:
        raise UsageError(f'{name}: no document has two sentences')
    held: dict[str, np.ndarray] = {}
    cut = 0
    for kind, some in zip(('first', 'second'), rows, strict=True):
        held[kind], held[f'{kind}_lengths'], cuts = padded(
            some, length=length, pad=pad_of(tokenizer)
        )
        cut += cuts
    return from_arrays(held, name=name + told_cut(cut, 2 * len(rows[0]), length))


def sentence_pairs(tokenizer: Tokenizer, *, length: int) -> Transform:
    """A transform of rows of `sentence_table`: does the second sentence follow the first?

    (Devlin et al. 2019, section 3.1, task 2.) With probability 1/2 the second is that of another
    row of the batch, and `follows` [B] is 1; else it is its own, and `follows` is 0. Both are
    joined as in `joined_pairs`.
    """
    start, end = known(tokenizer, 'start'), known(tokenizer, 'end')

    def transform(key: Key, batch: Batch) -> Batch:
        rows = len(batch['first'])
        if rows < 2:
            raise UsageError('sentence_pairs: a batch of 1 row has no other sentence: at least 2')
        other = jax.random.bernoulli(key_for(key, 'other'), shape=(rows,))
        away = jax.random.randint(key_for(key, 'which'), (rows,), 1, rows)
        row = jnp.where(other, (jnp.arange(rows) + away) % rows, jnp.arange(rows))
        made = joined_pairs(
            batch['first'],
            batch['first_lengths'],
            batch['second'][row],
            batch['second_lengths'][row],
            length=length,
            start=start,
            end=end,
            pad=pad_of(tokenizer),
        )
        gone = ('first', 'first_lengths', 'second', 'second_lengths')
        rest = {name: x for name, x in batch.items() if name not in gone}
        return {**rest, **made._asdict(), 'follows': other.astype(jnp.int32)}

    return transform


class Joined(NamedTuple):
    """Two texts in a row: tokens [B, T], lengths [B], and of which each token is, [B, T]."""

    tokens: Array
    lengths: Array
    sentences: Array


def joined_pairs(
    first: Array,
    first_lengths: Array,
    second: Array,
    second_lengths: Array,
    *,
    length: int,
    start: int,
    end: int,
    pad: int = 0,
) -> Joined:
    """Rows 'start, first, end, second, end' (Devlin et al. 2019, figure 2); sentences 0 or 1.

    first int [B, S], second int [B, R]. What does not fit into `length` is cut from the second text
    and then from the first, so that both keep their end tokens.
    """
    a = jnp.minimum(first_lengths, length - 3)[:, None]
    b = jnp.minimum(second_lengths[:, None], length - 3 - a)
    t = jnp.arange(length)[None]

    def read(text: Array, place: Array) -> Array:
        place = jnp.broadcast_to(place, (len(text), length))
        return jnp.take_along_axis(text, jnp.clip(place, 0, text.shape[1] - 1), axis=1)

    tokens = jnp.where(t <= a, read(first, t - 1), read(second, t - a - 2))
    tokens = jnp.where((t == a + 1) | (t == a + b + 2), end, tokens)
    tokens = jnp.where(t == 0, start, tokens)
    tokens = jnp.where(t <= a + b + 2, tokens, pad)
    sentences = ((t > a + 1) & (t <= a + b + 2)).astype(jnp.int32)
    return Joined(tokens.astype(first.dtype), (a + b + 3)[:, 0], sentences)
