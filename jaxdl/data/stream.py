"""Sources: tables in random order or one pass in order, synthetic batches, and nothing."""

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.blame import at
from jaxdl.data import order
from jaxdl.data.augment import Transform
from jaxdl.data.draws import Draw
from jaxdl.data.numbers import check_told_apart, numeric
from jaxdl.data.rows import Arrays, Columns
from jaxdl.data.source import Source
from jaxdl.data.table import Table
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

RESIDENT_BYTES = 512 * 2**20  # a table of at most this size lives on the device
LOOKED_AT = 4096  # rows of a larger table in memory; the others are looked at as they are sent
RowsOfStep = Callable[[int], np.ndarray]


def shuffled(
    table: Table | Draw,
    *,
    batch: int,
    augment: Transform | None = None,
    private: bool = False,
    resident: bool | None = None,
    threads: int | None = None,
) -> Source:
    """An endless stream: every epoch is a new permutation, a pure function of (seed, epoch).

    The batch of step s holds positions s * batch ... of the permutations one after another, so no
    remainder is dropped. It has the table's columns and `mask` [batch], all true.

    table: or a draw of one, of which each seed has its own rows.
    augment(key, batch) -> batch: runs in the compiled step (see `jaxdl.data.augment`).
    private: each seed has its own order, as it always has of a draw.
    resident: keep the table on the device and send row numbers; None: if it is at most 512 MB.
        Otherwise rows are read ahead on the host by `threads` (None: as many as there are cores
        for a table read from files, the caller's own for one in memory). The batches are the same.
    """

    def positions(seed: int) -> RowsOfStep:
        return order.shuffled_rows(len(table), batch=batch, seed=seed)

    _check(table, batch)
    source = _source(table, positions, batch, None, augment, private, resident, threads)
    return replace(source, order='shuffled, each epoch anew')


def in_order(
    table: Table | Draw,
    *,
    batch: int,
    transform: Transform | None = None,
    resident: bool | None = None,
    threads: int | None = None,
) -> Source:
    """One pass in the order of the table, ceil(n / batch) batches, for measuring.

    The last one is filled up with row 0 where `mask` is false. Of a draw it is each seed's pass
    over its own rows. The rest is as in `shuffled`.
    """

    def positions(seed: int) -> RowsOfStep:
        return order.rows_in_order(len(table), batch=batch)

    _check(table, batch)
    batches = -(-len(table) // batch)
    source = _source(table, positions, batch, batches, transform, False, resident, threads)
    return replace(source, order='in order')


def synthetic(
    fn: Callable[[Key], Batch],
    *,
    batches: int | None = None,
    private: bool = False,
    name: str = 'synthetic',
) -> Source:
    """Batches made on the device, fn(key) -> batch; nothing is sent. Finite with `batches`.

    If the batch has no `mask`, all its rows count.
    """

    def make(key: Key, resident: Any, sent: Any) -> Batch:
        batch = fn(key)
        if 'mask' in batch or not batch:
            return batch
        return {**batch, 'mask': jnp.ones(len(jax.tree.leaves(batch)[0]), bool)}

    known: dict[str, Any] = {'batches': batches, 'private': private, 'order': 'synthetic'}
    return Source(_empty(batches), make, name=name, **known)


def nothing(*, batches: int | None = None) -> Source:
    """Empty batches, for a task that makes its own data. Finite with `batches`."""

    def make(key: Key, resident: Any, sent: Any) -> Batch:
        return {}

    return Source(_empty(batches), make, batches=batches, name='nothing')


def over(
    source: Source,
    arrays: Mapping[str, Any],
    make: Callable[[Key, Batch, Mapping[str, Any]], Batch],
) -> Source:
    """A source whose batches are made from its own and from arrays that live on the device.

    make(key, batch, arrays) -> batch, on the device: ``over(nothing(), {'words': words}, join)``
    draws utterances from words; windows are cut from a series that is held once. If the batch has
    no `mask`, all its rows count.
    """
    columns = numeric({n: np.asarray(a) for n, a in arrays.items()}, source.name)

    def made(key: Key, resident: Any, sent: Any) -> Batch:
        inner, held = resident
        batch = source.make(key_for(key, 'inner'), inner, sent)
        after = make(key, batch, {n: jnp.asarray(a) for n, a in held.items()})
        if 'mask' in after:
            return after
        rows = len(jax.tree.leaves(after)[0])
        return {**after, 'mask': batch.get('mask', jnp.ones(rows, bool))}

    return replace(
        source,
        make=made,
        resident=(source.resident, columns),
        table=None,
        rows=None,
        transform=None,
    )


def _source(
    data: Table | Draw,
    positions: Callable[[int], RowsOfStep],
    batch: int,
    batches: int | None,
    transform: Transform | None,
    private: bool,
    resident: bool | None,
    threads: int | None,
) -> Source:
    known: dict[str, Any] = {'batches': batches, 'transform': transform}
    if isinstance(data, Draw):
        table, rows = data.table, _rows_of(data, positions)
        name = f'{data.name}: {len(data)} of {len(table)} rows drawn by each seed,'
        known |= {'private': True, 'drawn': data.numbers}
    else:
        table, rows = data, positions
        name = f'{table.name}: {len(table)} rows'
        known |= {'private': private}
    name += f' in batches of {batch}'
    known |= {'rows': rows}
    if table.nbytes <= RESIDENT_BYTES if resident is None else resident:
        columns = table.sendable

        def send(seed: int, step: int) -> Iterator[np.ndarray]:
            steps = itertools.count(step) if batches is None else range(step, batches)
            return map(rows(seed), steps)

        held = replace(table, rows=Arrays(columns))
        known |= {'name': f'{name}, on the device', 'table': held}
        return Source(send, _gather(transform), columns, **known)
    if threads is None:
        threads = 0 if table.in_memory else min(os.cpu_count() or 1, 16)
    # A column that cannot be sent is an error now, not at step 0.
    some = table[:LOOKED_AT] if table.in_memory else table[:1]
    numeric(some, table.name)
    check_told_apart(some, table.name)

    def read_ahead(seed: int, step: int, part: slice = slice(None)) -> Iterator[Columns]:
        return _read_ahead(table, rows(seed), step, batches, threads, part)

    by = f'read by {threads} threads' if threads else 'from memory'
    known |= {'name': f'{name}, {by}', 'table': table, 'open_rows': read_ahead}
    return Source(read_ahead, _receive(transform), **known)


def _rows_of(draw: Draw, positions: Callable[[int], RowsOfStep]) -> Callable[[int], RowsOfStep]:
    """The rows of each step of a seed, from positions among those it draws; -1 stays padding."""

    def rows(seed: int) -> RowsOfStep:
        numbers, at = draw.numbers(seed).astype(np.int32), positions(seed)

        def of_step(step: int) -> np.ndarray:
            places = at(step)
            return np.where(places < 0, np.int32(-1), numbers[places])

        return of_step

    return rows


def _gather(transform: Transform | None) -> Callable[[Key, Any, Any], Batch]:
    """Batches from row numbers, on the device; -1 is padding, filled up with row 0."""

    def make(key: Key, resident: Any, rows: Any) -> Batch:
        picked = jnp.maximum(rows, 0)
        columns = {name: jnp.asarray(column)[picked] for name, column in resident.items()}
        return _finished(key, {**columns, 'mask': jnp.asarray(rows) >= 0}, transform)

    return make


def _receive(transform: Transform | None) -> Callable[[Key, Any, Any], Batch]:
    """Batches from sent columns."""

    def make(key: Key, resident: Any, sent: Any) -> Batch:
        return _finished(key, {n: jnp.asarray(column) for n, column in sent.items()}, transform)

    return make


def _finished(key: Key, batch: Batch, transform: Transform | None) -> Batch:
    if transform is None:
        return batch
    after = transform(key, batch)
    if not isinstance(after, Mapping):
        raise UsageError(
            f'{at("a transform", transform)}: it must return the batch, columns by name, '
            f'not a {type(after).__name__}'
        )
    return {'mask': batch['mask'], **after}


def _read_ahead(
    table: Table, rows: RowsOfStep, first: int, end: int | None, threads: int, part: slice
) -> Iterator[Columns]:
    """Batches in the order of steps, or a part of each, read by Grain's threads, a few ahead."""
    import grain

    def read(step: int) -> Columns:
        numbers = rows(int(step))[part]
        real = np.maximum(numbers, 0)
        columns = numeric(table[real], table.name, real)
        return {**columns, 'mask': numbers >= 0}

    if end is not None and first >= end:
        return
    steps = grain.MapDataset.range(first, sys.maxsize if end is None else end).map(read)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = iter(steps.to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()


def _empty(batches: int | None) -> Callable[[int, int], Iterator[tuple[()]]]:
    def send(seed: int, step: int) -> Iterator[tuple[()]]:
        steps = itertools.count(step) if batches is None else range(step, batches)
        return (() for _ in steps)

    return send


def _check(data: Table | Draw, batch: int) -> None:
    table = data.table if isinstance(data, Draw) else data
    if batch < 1:
        raise UsageError(f'{data.name}: batch={batch}; at least 1')
    if not len(table):
        raise UsageError(f'{table.name}: there are no rows')
    if 'mask' in table.columns:
        raise UsageError(
            f"{data.name}: column 'mask' has the name of the padding mask; "
            "rename it, e.g. select({'target': 'mask', ...})"
        )
