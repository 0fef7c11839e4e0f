"""Class numbers, checked on the host: of every split before the first step, or row by row as read.

A class that there is not makes no error in a program: it is a loss that means nothing, or a row
that is not counted.
"""

import itertools
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxdl.data.numbers import first, numeric, place
from jaxdl.data.rows import Columns
from jaxdl.data.source import Source
from jaxdl.data.table import Table
from jaxdl.errors import UsageError, nearest
from jaxdl.keys import Key, key_at, key_for
from jaxdl.task import Batch, Labels

LOOKED_AT = 100  # batches at most, of labels that are made in the program
ENDLESS = 10  # batches, of a stream that has no end
SHOWN = 12  # names of classes in one line
UNEVEN = 1e-3  # how far the sum of probabilities may be from one


def checked(source: Source, labels: Mapping[str, Labels]) -> Source:
    """The same source, whose columns of class numbers are right.

    Columns in memory are checked now and wholly; those of rows that are read when asked, as they
    are read. Labels that a transform makes, or a source of another kind, are looked at in the first
    batches. Raises UsageError, naming the source, column, row, value and what is allowed.
    """
    if not labels:
        return source
    table = source.table
    name = source.name if table is None else table.name
    after, untouched = _traced(source)
    for column in labels:
        if column not in after:
            raise UsageError(f'{name}: the task needs a column {column!r}{nearest(column, after)}')
    if table is None:
        _check_made(source, labels, name)
        return source
    raw: dict[str, Labels] = {}
    for column, spec in labels.items():
        mixed = spec.probabilities and np.issubdtype(after[column].dtype, np.floating)
        kept = column in untouched or (mixed and after[column].ndim == 2)
        if column in table.columns and (
            kept or (spec.axes and _sample_is_right(source, column, spec))
        ):
            raw[column] = spec
    for column, spec in raw.items():
        if table.in_memory or _names_more(table, column, spec):
            _check(_columns(table, column, spec).arrays, column, spec, name)
    _check_made(source, {c: s for c, s in labels.items() if c not in raw}, name)
    return source if table.in_memory else _watched(source, raw)


def check_names(train: Source, tests: Mapping[str, Source], labels: Mapping[str, Labels]) -> None:
    """Raise UsageError where one number means two classes: in two splits, or in data and task."""
    for column, spec in labels.items():
        known = {split: _names(source, column) for split, source in tests.items()}
        first, others = _names(train, column), {s: names for s, names in known.items() if names}
        for split, names in others.items():
            if first and names != first:
                raise UsageError(
                    f'{split}: column {column!r} has the classes {_numbered(names)}, and that of '
                    f'training {_numbered(first)}: number them alike (classes=)'
                )
        for split, names in {'train': first, **others}.items():
            # Other words for the same classes are no contradiction, another order is.
            if names != spec.names and sorted(names) == sorted(spec.names):
                raise UsageError(
                    f'{split}: column {column!r} has the classes {_numbered(names)}, and the task '
                    f'{_numbered(spec.names)}: give it classes in the order of the data'
                )


def _names(source: Source, column: str) -> tuple[str, ...]:
    return () if source.table is None else tuple(source.table.classes.get(column, ()))


def _numbered(names: Sequence[str]) -> str:
    shown = [f'{number} {name}' for number, name in enumerate(names[:SHOWN])]
    return ', '.join([*shown, '...'] if len(names) > SHOWN else shown)


def _traced(source: Source) -> tuple[Mapping[str, Any], set[str]]:
    """Shapes of a batch's columns, and which of them come out of the transform as they went in."""
    untouched: set[str] = set()
    key = jax.random.key(0)
    if source.table is None or source.rows is None:
        return jax.eval_shape(source.make, key, source.resident, _first_sent(source)), untouched
    rows = len(source.rows(0)(0))
    columns = numeric(source.table[:1], source.table.name)
    before = {n: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype) for n, x in columns.items()}
    if source.transform is None:
        return before, set(before)
    transform = source.transform

    def run(key: Key, batch: Batch) -> Batch:
        made = transform(key, batch)
        untouched.update(name for name in made if made[name] is batch.get(name))
        return made

    return jax.eval_shape(
        run, key, {**before, 'mask': jax.ShapeDtypeStruct((rows,), bool)}
    ), untouched


def _first_sent(source: Source) -> Any:
    stream = source.open(0, 0)
    sent = next(stream)
    if isinstance(stream, Generator):
        stream.close()
    return sent


def _columns(table: Table, column: str, spec: Labels) -> Table:
    """A column of labels, and the one that says which are real."""
    mask = [spec.mask] if spec.mask in table.columns else []
    return table.select({name: name for name in [column, *mask]})


def _sample_is_right(source: Source, column: str, spec: Labels) -> bool:
    """Whether the rows have right labels before a transform, which then only moves them."""
    assert source.table is not None and source.rows is not None
    table = _columns(source.table, column, spec)
    rows = slice(None) if table.in_memory else np.maximum(source.rows(0)(0), 0)
    return _wrong(table[rows], column, spec) is None


def _names_more(table: Table, column: str, spec: Labels) -> bool:
    """Whether a table that is read when asked knows more classes: then all its labels are read."""
    return len(table.classes.get(column, ())) > spec.classes


def _watched(source: Source, labels: Mapping[str, Labels]) -> Source:
    """The source, whose rows are checked as they are sent."""
    assert source.table is not None and source.rows is not None
    numbers, name = source.rows, source.table.name

    def send(seed: int, step: int, part: slice = slice(None)) -> Iterator[Any]:
        rows, known = numbers(seed), source.open_rows
        stream: Any = known(seed, step, part) if known else source.open(seed, step)
        with closing(stream):
            for at, sent in zip(itertools.count(step), stream, strict=False):
                for column, spec in labels.items():
                    _check(sent, column, spec, name, np.maximum(rows(at)[part], 0))
                yield sent

    return replace(source, open=send, open_rows=send if source.open_rows else None)


def _check_made(source: Source, labels: Mapping[str, Labels], name: str) -> None:
    """Check what the program of a source makes, in its first batches."""
    if not labels:
        return
    wanted = {'mask', *labels, *(spec.mask for spec in labels.values())}

    @jax.jit
    def make(key: Key, resident: Any, sent: Any) -> Batch:
        batch = source.make(key, resident, sent)
        return {name: column for name, column in batch.items() if name in wanted}

    root = key_for(jax.random.key(0), 'labels')
    for index, sent in enumerate(itertools.islice(source.open(0, 0), _looked_at(source))):
        batch = jax.device_get(make(key_at(root, index), source.resident, sent))
        real = batch.pop('mask', np.ones(len(batch[next(iter(labels))]), bool))
        rows = np.flatnonzero(real) if source.rows is None else source.rows(0)(index)[real]
        where = f'{name}, batch {index}' if source.rows is None else name
        batch = {column: values[real] for column, values in batch.items()}
        for column, spec in labels.items():
            _check(batch, column, spec, where, rows)


def _looked_at(source: Source) -> int:
    """How many batches are looked at: of rows that are read when asked only the first."""
    if source.table is None or source.rows is None:
        return min(LOOKED_AT, source.batches or ENDLESS)
    if not source.table.in_memory:
        return 1
    return min(LOOKED_AT, math.ceil(len(source.table) / len(source.rows(0)(0))))


def _check(
    columns: Columns, column: str, spec: Labels, name: str, rows: np.ndarray | None = None
) -> None:
    """Raise UsageError for the first label that is not allowed. rows: what the rows are called."""
    wrong = _wrong(columns, column, spec)
    if wrong is None:
        return
    at, remark = wrong
    values = columns[column]
    raise UsageError(
        f'{name}: column {column!r}, {place(at, rows)} holds {values[at]} ({remark}); allowed are '
        f'{_allowed(spec)}'
    )


def _allowed(spec: Labels) -> str:
    text = f'the classes 0..{spec.classes - 1} as whole numbers'
    if spec.ignore is not None:
        text += f', and {spec.ignore} where none counts'
    inner = ['boxes' if spec.mask else 'tokens'], ['height', 'width']
    shape = ['rows', *(inner[spec.axes - 1] if spec.axes else ())]
    text += f', [{", ".join(shape)}]'
    if spec.probabilities:
        text += f', or their probabilities, floats [rows, {spec.classes}]'
    return text


def _wrong(columns: Columns, column: str, spec: Labels) -> tuple[tuple[int, ...], str] | None:
    """The place of the first label that is not allowed, and what is wrong with it."""
    values = columns[column]
    kind = f'{values.dtype} [rows{"".join(f", {n}" for n in values.shape[1:])}]'
    if not values.size:
        return None
    if spec.probabilities and values.dtype.kind == 'f' and values.shape[1:] == (spec.classes,):
        bad = ~(values >= 0).all(1) | ~(np.abs(values.sum(1) - 1) < UNEVEN)
        return (
            (first(bad), 'no probabilities: they are 0..1 and add up to 1') if bad.any() else None
        )
    if values.dtype.kind not in 'iu' or values.ndim != 1 + spec.axes:
        return (0,) * values.ndim, kind
    bad = (values < 0) | (values >= spec.classes)
    if spec.ignore is not None:
        bad &= values != spec.ignore
    if spec.mask in columns:
        bad &= columns[spec.mask].astype(bool)
    return (first(bad), f'of {values.min()}..{values.max()}, {kind}') if bad.any() else None
