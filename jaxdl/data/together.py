"""Sources side by side: labelled and unlabelled rows in one batch."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from jaxdl.data.source import Source
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch


def together(main: Source, others: Mapping[str, Source]) -> Source:
    """A source whose batches have those of others beside their own columns.

    ``together(shuffled(labelled, batch=32), {'unlabelled': shuffled(rest, batch=128)})`` makes
    {'x': [32, ...], 'y': [32], 'mask': [32], 'unlabelled': {'x': [128, ...], 'mask': [128]}}. Each
    source has its own order, length of epoch and key; epochs and labels are those of `main`. If
    one of them is private the whole is, and the others still send every seed the same.

    Raises UsageError where not all are endless or have as many batches, and where a batch of `main`
    has a column of another's name.
    """
    for name, other in others.items():
        if other.batches != main.batches:
            lengths = [
                'never ends' if each.batches is None else f'has {each.batches} batches'
                for each in (main, other)
            ]
            raise UsageError(
                f'together: {main.name!r} {lengths[0]}, and {name!r} {lengths[1]}: both are '
                'endless, or have as many'
            )

    def send(seed: int, step: int) -> Iterator[Any]:
        with ExitStack() as stack:
            streams = []
            for each in (main, *others.values()):
                streams.append(each.open(seed if each.private else 0, step))
                # One that reads ahead holds threads until it is closed.
                stack.callback(getattr(streams[-1], 'close', lambda: None))
            for own, *more in zip(*streams, strict=True):
                yield own, dict(zip(others, more, strict=True))

    def make(key: Key, resident: Any, sent: Any) -> Batch:
        (held, beside), (own, more) = resident, sent
        batch = main.make(key_for(key, 'main'), held, own)
        for name in others:
            if name in batch:
                raise UsageError(f'together: {main.name!r} has a column {name!r} already')
        made = {
            name: other.make(key_for(key, name), beside[name], more[name])
            for name, other in others.items()
        }
        return {**batch, **made}

    said = ', '.join(f'{name!r} of {other.name}' for name, other in others.items())
    source = replace(
        main,
        open=send,
        open_rows=None,
        make=make,
        resident=(main.resident, {name: other.resident for name, other in others.items()}),
        private=main.private or any(other.private for other in others.values()),
        name=f'{main.name}; beside it {said}',
        drawn=_drawn([main, *others.values()]),
        order=f'{main.order}; beside it {said}',
    )
    if main.table is None or main.table.in_memory:
        return source
    # What is sent are no longer columns alone, which could be looked at as they are sent.
    return replace(source, table=None, rows=None, transform=None)


def _drawn(sources: list[Source]) -> Any:
    """The rows that a seed draws in all of the sources in which it does."""
    drawn = [source.drawn for source in sources if source.drawn is not None]
    if len(drawn) < 2:
        return drawn[0] if drawn else None
    return lambda seed: np.concatenate([rows(seed) for rows in drawn])
