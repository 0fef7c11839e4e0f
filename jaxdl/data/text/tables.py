"""Texts as tables of tokens: padded rows, pairs for translation, words with tags, packed rows.

Rows are filled up with the padding token; `lengths` says how many tokens are real. What a number is
compared with as text (a reference translation) travels as UTF-8 bytes, see `utf8`.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.data.card import Card
from jaxdl.data.table import Table, from_arrays
from jaxdl.data.text.vocabulary import Tokenizer
from jaxdl.errors import UsageError
from jaxdl.metrics.text import utf8

IGNORED = -1  # the tag of what has none


def token_table(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    *,
    length: int,
    start: bool = False,
    end: bool = False,
    columns: Mapping[str, Any] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    name: str = 'texts',
    card: Card | None = None,
) -> Table:
    """A row for each text: `tokens` int32 [length] and `lengths` int32.

    length: tokens of a row, with start and end. A longer text is cut, and the name of the table
        says how many were.
    start, end: whether the tokens that mark them are added.
    columns: more columns of these rows, such as their labels {'y': ...}; classes: their names.
    card: the dataset that the texts are of.
    """
    rows = [marked(tokenizer.encode(text), tokenizer, start=start, end=end) for text in texts]
    tokens, lengths, cut = padded(rows, length=length, pad=pad_of(tokenizer), last=end)
    held = {'tokens': tokens, 'lengths': lengths, **(columns or {})}
    named = name + told_cut(cut, len(rows), length)
    return from_arrays(held, name=named, classes=classes, card=card)


def pair_table(
    sources: Iterable[str],
    targets: Iterable[str],
    *,
    tokenizers: tuple[Tokenizer, Tokenizer],
    length: tuple[int, int],
    name: str = 'pairs',
    card: Card | None = None,
) -> Table:
    """A row for each pair: `source` and `target`, int32 [length], with `source_lengths` and
    `target_lengths`, and `reference`, the target's text as UTF-8 bytes, uint8 [longest].

    A source ends, and a target starts and ends, with the token for it.

    tokenizers, length: of sources and of targets. What is longer is cut, and the name of the table
        says how many were; the reference is never cut.
    card: the dataset that the texts are of.
    """
    texts = list(sources), list(targets)
    if len(texts[0]) != len(texts[1]):
        raise UsageError(f'{name}: {len(texts[0])} sources and {len(texts[1])} targets')
    held: dict[str, np.ndarray] = {}
    cuts = []
    for kind, some, tokenizer, size in zip(
        ('source', 'target'), texts, tokenizers, length, strict=True
    ):
        start = kind == 'target'
        rows = [marked(tokenizer.encode(text), tokenizer, start=start, end=True) for text in some]
        made = padded(rows, length=size, pad=pad_of(tokenizer), last=True)
        held[kind], held[f'{kind}_lengths'] = made[:2]
        cuts.append(told_cut(made[2], len(rows), size, kind))
    held['reference'] = utf8(texts[1])
    return from_arrays(held, name=name + ''.join(cuts), card=card)


def tag_table(
    sentences: Iterable[Sequence[str]],
    tags: Iterable[Sequence[int]],
    tokenizer: Tokenizer,
    *,
    length: int,
    start: bool = False,
    end: bool = False,
    classes: Sequence[str] = (),
    name: str = 'sentences',
    card: Card | None = None,
) -> Table:
    """A row for each sentence of words: `tokens`, `lengths`, and `tags` int32 [length].

    A word of several tokens has its tag at the first of them (Devlin et al. 2019, section 5.3); the
    others, marks and padding have IGNORED, -1. A word of which the tokenizer makes nothing is
    unknown, so that no tag is lost.

    length, start, end, card: as in `token_table`; classes: the names of the tags.
    """
    rows, marks = [], []
    for number, (words, given) in enumerate(zip(sentences, tags, strict=True)):
        if len(words) != len(given):
            raise UsageError(f'{name}, row {number}: {len(words)} words and {len(given)} tags')
        row: list[int] = []
        kinds: list[int] = []
        for word, tag in zip(words, given, strict=True):
            parts = tokenizer.encode(str(word)) or [known(tokenizer, 'unknown')]
            row += parts
            kinds += [int(tag), *[IGNORED] * (len(parts) - 1)]
        rows.append(marked(row, tokenizer, start=start, end=end))
        marks.append([*[IGNORED] * start, *kinds, *[IGNORED] * end])
    tokens, lengths, cut = padded(rows, length=length, pad=pad_of(tokenizer), last=end)
    held = {'tokens': tokens, 'lengths': lengths}
    held['tags'] = padded(marks, length=length, pad=IGNORED, last=end)[0]
    named = {'tags': classes} if classes else None
    whole = name + told_cut(cut, len(rows), length)
    return from_arrays(held, name=whole, classes=named, card=card)


def packed(
    rows: Iterable[Sequence[int]], *, length: int, pad: int = 0, name: str = 'packed'
) -> Table:
    """Short rows of tokens side by side in rows of `length`: `tokens`, `segments`, `lengths`.

    segments: int32 [length], 1, 2, ... for the texts of a row and 0 for padding; see `segment_mask`
    and `language_model`. Each row goes where the least room is left after it (best fit), in its
    order; what is longer than a row is cut, and the name of the table says how many were.
    """
    if length < 1:
        raise UsageError(f'{name}: length={length}; at least 1')
    room: list[tuple[int, int]] = []  # (what is free in a row, its number), sorted
    bins: list[list[list[int]]] = []
    cut = count = 0
    for row in rows:
        count, cut = count + 1, cut + (len(row) > length)
        text = list(row[:length])
        if not text:
            continue
        at = bisect_left(room, (len(text), 0))
        free, number = room.pop(at) if at < len(room) else (length, len(bins))
        if number == len(bins):
            bins.append([])
        bins[number].append(text)
        insort(room, (free - len(text), number))
    if not bins:
        raise UsageError(f'{name}: there are no tokens')
    tokens = np.full((len(bins), length), pad, np.int32)
    segments = np.zeros((len(bins), length), np.int32)
    lengths = np.zeros(len(bins), np.int32)
    for i, texts in enumerate(bins):
        line = [token for text in texts for token in text]
        tokens[i, : len(line)], lengths[i] = line, len(line)
        segments[i, : len(line)] = np.repeat(np.arange(len(texts)) + 1, [len(t) for t in texts])
    held = {'tokens': tokens, 'segments': segments, 'lengths': lengths}
    return from_arrays(held, name=name + told_cut(cut, count, length))


# ---- rows ---------------------------------------------------------------------------------------


def marked(ids: Sequence[int], tokenizer: Tokenizer, *, start: bool, end: bool) -> list[int]:
    """Ids with the tokens of a start and an end, if these are wanted."""
    first = [known(tokenizer, 'start')] if start else []
    last = [known(tokenizer, 'end')] if end else []
    return [*first, *ids, *last]


def known(tokenizer: Tokenizer, kind: str) -> int:
    """The id of the 'start', 'end' or 'unknown' token. Raises UsageError where there is none."""
    found = getattr(tokenizer.special, kind)
    if found is None:
        raise UsageError(f'{tokenizer!r:.80} has no token of kind {kind!r}')
    return found


def pad_of(tokenizer: Tokenizer) -> int:
    """What rows are filled up with; 0 where there is no token for it: it is never looked at."""
    return tokenizer.special.pad or 0


def padded(
    rows: Sequence[Sequence[int]], *, length: int, pad: int, last: bool = False
) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows as int32 [n, length], how long each is [n], and how many were cut.

    last: of a row that is cut its last token, a mark of the end, is kept.
    """
    if length < 1:
        raise UsageError(f'length={length}; at least 1 token a row')
    table = np.full((len(rows), length), pad, np.int32)
    lengths = np.array([min(len(row), length) for row in rows], np.int32)
    cut = 0
    for i, row in enumerate(rows):
        table[i, : lengths[i]] = row[:length]
        if len(row) > length:
            cut += 1
            if last:
                table[i, -1] = row[-1]
    return table, lengths, cut


def told_cut(cut: int, rows: int, length: int, what: str = '') -> str:
    """', 3 of 20 cut at 64 tokens', where any were."""
    return f', {what}{" " if what else ""}{cut} of {rows} cut at {length} tokens' if cut else ''
