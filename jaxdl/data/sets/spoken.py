"""Spoken digits: 2,500 recordings of five speakers, and utterances of several joined.

The Free Spoken Digit Dataset (Jackson et al. 2018), from TFDS `spoken_digit`: 50 recordings of each
digit by each speaker, at 8,000 samples a second. Its own test set are the recordings 0 to 4.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.augment import Transform
from jaxdl.data.source import Source
from jaxdl.data.stream import nothing, over
from jaxdl.data.table import Table, from_arrays
from jaxdl.data.tfds import tfds
from jaxdl.errors import UsageError, nearest
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

RATE = 8000
LONGEST = 8400  # samples; two of the 2,500 recordings are longer, and silent there
DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
OFFICIAL = 5  # recordings of each speaker and digit, the first ones, that are to be tested on


def spoken_digit(*, longest: int = LONGEST) -> Table:
    """All recordings, by digit, speaker and number.

    x int16 [longest], followed by zeros, and how many samples count, `lengths`; y 0..9; speaker, by
    name in the order of the alphabet; index, the number of the recording, 0..49.
    """
    columns = {'x': 'audio', 'y': 'label', 'file': 'audio/filename'}
    table = tfds('spoken_digit', 'train', columns=columns)
    read = table.arrays
    found = recordings(read['x'], read['y'], read['file'], longest=longest)
    return replace(found, card=table.card)


def recordings(waves: Any, digits: Any, files: Any, *, longest: int) -> Table:
    """The table of `spoken_digit` from waves [samples] and file names, DIGIT_SPEAKER_INDEX.wav."""
    parts = [name.removesuffix('.wav').split('_') for name in files]
    for name, digit, part in zip(files, digits, parts, strict=True):
        if len(part) != 3 or part[0] != str(digit) or not part[2].isdigit():
            raise UsageError(f'spoken_digit: {name!r} of digit {digit}; DIGIT_SPEAKER_INDEX.wav')
    who = sorted({part[1] for part in parts})
    speaker = np.array([who.index(part[1]) for part in parts], np.int32)
    index = np.array([int(part[2]) for part in parts], np.int32)
    y = np.asarray(digits, np.int32)
    x = np.zeros((len(parts), longest), np.int16)
    lengths = np.array([min(len(wave), longest) for wave in waves], np.int32)
    for row, wave, length in zip(x, waves, lengths, strict=True):
        row[:length] = np.clip(wave[:length], -(2**15), 2**15 - 1)
    order = np.lexsort((index, speaker, y))
    columns: dict[str, np.ndarray] = {
        'x': x,
        'lengths': lengths,
        'y': y,
        'speaker': speaker,
        'index': index,
    }
    return from_arrays(
        {name: column[order] for name, column in columns.items()},
        name='spoken_digit',
        classes={'y': DIGITS, 'speaker': who},
    )


def official(table: Table) -> tuple[Table, Table]:
    """Recordings 5 to 49 to train on, and 0 to 4 of each speaker and digit to test on."""
    tested = table.column('index') < OFFICIAL
    return _named(table.take(~tested), 'train'), _named(table.take(tested), 'test')


def speakers_apart(table: Table, held_out: Sequence[str]) -> tuple[Table, Table]:
    """Those of the other speakers to train on, and those of speakers that are held out."""
    names = table.classes['speaker']
    for name in held_out:
        if name not in names:
            raise UsageError(f'spoken_digit: there is no speaker {name!r}{nearest(name, names)}')
    out = np.isin(table.column('speaker'), [names.index(name) for name in held_out])
    if out.all() or not out.any():
        raise UsageError(f'spoken_digit: held_out={list(held_out)}; some of the speakers, not all')
    said = ', '.join(held_out)
    return _named(table.take(~out), f'without {said}'), _named(table.take(out), f'of {said}')


def spelled(table: Table) -> Table:
    """The same, and the name of each digit: `text` int [5], a is 1 and z is 26, then 0.

    How many there are is `text_lengths`.
    """
    rows = [[ord(letter) - ord('a') + 1 for letter in name] for name in DIGITS]
    counts = np.array([len(row) for row in rows], np.int32)
    letters = np.array([row + [0] * (max(counts) - len(row)) for row in rows], np.int32)
    y = table.column('y')
    columns = {**table.arrays, 'text': letters[y], 'text_lengths': counts[y]}
    return from_arrays(columns, name=table.name, classes=table.classes, card=table.card)


def utterances(
    table: Table,
    *,
    batch: int,
    words: tuple[int, int] = (1, 5),
    gap: float = 0.1,
    longest: float = 3.0,
    batches: int | None = None,
    transform: Transform | None = None,
    private: bool = False,
) -> Source:
    """Some recordings of one speaker after another, drawn anew for each batch, on the device.

    x float32 [batch, samples], -1..1, with `lengths`; y int [batch, most words], a digit and 1
    more, 0 beyond `y_lengths` (for CTC, whose blank is 0); speaker.

    words: the fewest and the most. gap: seconds of silence around each word, up to. longest:
    seconds of an utterance; words that do not fit are left out. batches: how many, None for ever.
    transform: of the batch, such as `as_features`.
    """
    least, most = words
    samples, pause = round(longest * RATE), round(gap * RATE)
    arrays = table.arrays
    if not 1 <= least <= most:
        raise UsageError(f'utterances: words={words}; the fewest, at least 1, and the most')
    one = int(arrays['lengths'].max()) + 2 * pause
    if samples < one:
        raise UsageError(f'utterances: longest={longest}; a word may take {one / RATE:g} seconds')
    present = np.unique(arrays['speaker'])
    rows = [np.flatnonzero(arrays['speaker'] == each) for each in present]
    own = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for line, each in zip(own, rows, strict=True):
        line[: len(each)] = each
    held = {name: arrays[name] for name in ('x', 'lengths', 'y')}
    held |= {'speakers': present, 'own': own, 'counts': np.array([len(each) for each in rows])}

    def make(key: Key, empty: Batch, held: Any) -> Batch:
        def draw(name: str, shape: tuple[int, ...], low: Any, high: Any) -> jax.Array:
            return jax.random.randint(key_for(key, name), shape, low, high)

        who = draw('speaker', (batch,), 0, len(present))
        asked = draw('words', (batch,), least, most + 1)
        place = draw('recording', (batch, most), 0, held['counts'][who][:, None])
        chosen = held['own'][who[:, None], place]
        sizes = held['lengths'][chosen]
        silence = draw('gap', (batch, most + 1), 0, pause + 1)
        ends = jnp.cumsum(sizes + silence[:, :-1], axis=1)
        starts = ends - sizes
        last = silence[:, -1:]
        fits = (ends + last <= samples) & (jnp.arange(most)[None] < asked[:, None])
        count = fits.sum(1)
        lengths = jnp.take_along_axis(ends, count[:, None] - 1, axis=1)[:, 0] + last[:, 0]

        at = jnp.arange(samples)[None]
        word = (at[..., None] >= starts[:, None]).sum(-1) - 1  # the last that has begun
        row = jnp.arange(batch)[:, None]
        inside = at - starts[row, jnp.maximum(word, 0)]
        word_size = sizes[row, jnp.maximum(word, 0)]
        sounds = (word >= 0) & (word < count[:, None]) & (inside < word_size)
        wave = held['x'][chosen[row, jnp.maximum(word, 0)], jnp.where(sounds, inside, 0)]
        x = jnp.where(sounds, wave.astype(jnp.float32) / 2**15, 0)
        result = {
            'x': x,
            'lengths': lengths,
            'y': jnp.where(fits, held['y'][chosen] + 1, 0),
            'y_lengths': count,
            'speaker': held['speakers'][who],
            'mask': jnp.ones(batch, bool),
        }
        return result if transform is None else transform(key_for(key, 'transform'), result)

    name = f'{table.name}: utterances of {least} to {most} words in batches of {batch}'
    source = replace(nothing(batches=batches), name=name, private=private)
    return over(source, held, make)


def _named(table: Table, part: str) -> Table:
    return replace(table, name=f'{table.name} {part}')
