"""Windows of one long text, for language models: drawn at random, or one after another.

A window of `length` has length + 1 tokens: all but the last are read, all but the first predicted.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.source import Source
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import UsageError
from jaxdl.keys import Key
from jaxdl.task import Batch


def random_windows(
    tokens: Sequence[int] | np.ndarray,
    *,
    length: int,
    batch: int,
    private: bool = False,
    name: str = 'text',
) -> Source:
    """An endless stream of windows `tokens` int32 [batch, length + 1], drawn on the device.

    Where they begin is uniform, and a pure function of the step's key; the text lives on the device
    and nothing is sent. `mask` is all true.

    tokens: the text, int [n]. private: each seed sees windows of its own.
    """
    text = _text(tokens, length, name)
    if batch < 1:
        raise UsageError(f'{name}: batch={batch}; at least 1')

    def send(seed: int, step: int) -> Iterator[tuple[()]]:
        return (() for _ in itertools.count(step))

    def make(key: Key, resident: Any, sent: Any) -> Batch:
        held = jnp.asarray(resident['text'])
        first = jax.random.randint(key, (batch,), 0, len(held) - length)
        window = held[first[:, None] + jnp.arange(length + 1)[None]]
        return {'tokens': window, 'mask': jnp.ones(batch, bool)}

    said = f'{name}: {len(text)} tokens in {batch} random windows of {length}, on the device'
    known: dict[str, Any] = {'private': private, 'order': 'windows at random places'}
    return Source(send, make, {'text': text}, name=said, **known)


def windows(
    tokens: Sequence[int] | np.ndarray, *, length: int, step: int | None = None, name: str = 'text'
) -> Table:
    """Windows in the order of the text: `tokens` int32 [length + 1], `lengths` int32.

    step: tokens between the beginnings of two; None: `length`, so that each token but the first is
        predicted once, and the last window may be shorter, filled up with 0. Less than `length`
        makes windows that overlap, all whole.
    """
    text = _text(tokens, 1, name)
    if step is None:
        starts = np.arange(0, len(text) - 1, length)
    elif 1 <= step:
        starts = np.arange(0, len(_text(tokens, length, name)) - length, step)
    else:
        raise UsageError(f'{name}: step={step}; at least 1')
    places = starts[:, None] + np.arange(length + 1)
    there = places < len(text)
    rows = np.where(there, text[np.minimum(places, len(text) - 1)], 0)
    held = {'tokens': rows.astype(np.int32), 'lengths': there.sum(1).astype(np.int32)}
    return from_arrays(held, name=f'{name}, windows of {length}')


def next_token(key: Key, batch: Batch) -> Batch:
    """A transform of whole windows for a classifier of what comes next: the last token is `y`.

    `tokens` [B, T + 1] become `tokens` [B, T] and `y` [B].
    """
    tokens = batch['tokens']
    rest = {name: x for name, x in batch.items() if name != 'lengths'}
    return {**rest, 'tokens': tokens[:, :-1], 'y': tokens[:, -1]}


def _text(tokens: Sequence[int] | np.ndarray, length: int, name: str) -> np.ndarray:
    text = np.asarray(tokens)
    if length < 1:
        raise UsageError(f'{name}: length={length}; at least 1')
    if text.ndim != 1 or text.dtype.kind not in 'iu':
        raise UsageError(
            f'{name}: the text is {text.dtype} {list(text.shape)}; it is ids in one row, int [n]: '
            'tokenizer.encode(text)'
        )
    if len(text) <= length:
        raise UsageError(f'{name}: {len(text)} tokens; a window of {length} needs {length + 1}')
    return text.astype(np.int32)
