"""Columns as the numbers of the device: 32 bits, finite, and none changed in silence."""

import logging

import jax
import numpy as np

from jaxdl.data.rows import Columns
from jaxdl.errors import UsageError

LOST = 0.1  # of the steps between neighbouring values: more may not vanish in float32
NOISE = 2.0**-44  # of a column's largest value: smaller steps are rounding, and no difference
SAMPLED = 2**21  # values in which vanished steps are looked for
log = logging.getLogger(__name__)


def numeric(columns: Columns, name: str, rows: np.ndarray | None = None) -> Columns:
    """The columns as the device holds them: 32-bit unless jax's 64-bit mode is on.

    rows: what the rows are called in errors, if not 0, 1, ...
    Raises UsageError, naming column, row and value, for what are no numbers, for NaN and infinity,
    and for what 32 bits cannot hold.
    """
    return {
        key: _numeric(column, f'{name}: column {key!r}', rows) for key, column in columns.items()
    }


def check_finite(column: np.ndarray, where: str, rows: np.ndarray | None = None) -> None:
    """Raise UsageError, naming row and place, where floats hold NaN or infinity."""
    if column.dtype.kind not in 'fc':
        return
    finite = np.isfinite(column)
    if not finite.all():
        at = first(~finite)
        raise UsageError(
            f'{where}, {place(at, rows)} holds {column[at]!s}; numbers are finite: drop such rows '
            'with clean(), or replace the values with map()'
        )


def check_told_apart(columns: Columns, name: str) -> None:
    """Raise UsageError where many values of a feature (of the last axis) become equal.

    Of many random numbers a few neighbours always do, which harms nobody: times and numbered ids
    do all at once. A whole number that becomes another is said.
    """
    for key, column in columns.items():
        dtype = _held(column.dtype) if column.dtype.kind == 'f' else column.dtype
        if dtype.itemsize < column.dtype.itemsize and column.size:
            where = f'{name}: column {key!r}'
            _told_apart(column, where, dtype)
            _say_changed(column, where, dtype)


def first(wrong: np.ndarray) -> tuple[int, ...]:
    """Where the first true value is."""
    return tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))


def place(at: tuple[int, ...], rows: np.ndarray | None = None) -> str:
    """'row 5', or of rows that are arrays 'row 5 at [1, 2]'."""
    row = at[0] if rows is None else int(rows[at[0]])
    return f'row {row} at {list(at[1:])}' if len(at) > 1 else f'row {row}'


def _numeric(column: np.ndarray, where: str, rows: np.ndarray | None) -> np.ndarray:
    if column.dtype.kind not in 'biufc':
        kind = 'text, or rows of different shapes' if column.dtype == object else column.dtype
        raise UsageError(
            f'{where} holds {kind}; batches are numbers: map it to an array, or select others'
        )
    check_finite(column, where, rows)
    dtype = _held(column.dtype)
    if dtype == column.dtype or not column.size:
        return column.astype(dtype, copy=False)
    if column.dtype.kind in 'iu':
        limits = np.iinfo(dtype)
        beyond = (column < limits.min) | (column > limits.max)
        if beyond.any():
            at = first(beyond)
            raise UsageError(
                f'{where}, {place(at, rows)} holds {column[at]!s}, which {dtype} cannot'
            )
        return column.astype(dtype)
    with np.errstate(over='ignore', under='ignore'):
        held = column.astype(dtype)
    beyond = ~np.isfinite(held)
    if beyond.any():
        at = first(beyond)
        raise UsageError(
            f'{where}, {place(at, rows)} holds {column[at]!s}, which {dtype} cannot: scale it'
        )
    return held


def _held(dtype: np.dtype) -> np.dtype:
    """The type in which the device holds numbers of a type of the host."""
    if dtype.itemsize > 8 and dtype.kind == 'f':
        dtype = np.dtype(np.float64)
    elif dtype.itemsize > 16:
        dtype = np.dtype(np.complex128)
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype)).newbyteorder('=')


def _told_apart(column: np.ndarray, where: str, dtype: np.dtype) -> None:
    features = column.reshape(-1, column.shape[-1] if column.ndim > 1 else 1)
    count = max(256, min(4096, SAMPLED // features.shape[1]))
    if len(features) > count:
        # Neighbours, which in sorted data are the closest, and rows from everywhere.
        spread = np.linspace(0, len(features) - 1, count // 2).astype(np.int64)
        features = features[np.union1d(np.arange(count // 2), spread)]
    values = np.sort(features, axis=0)
    low, high = values[:-1], values[1:]
    scale = np.abs(values).max(0)
    whole = (low == np.rint(low)) & (high == np.rint(high)) & (scale < 2**53)
    apart = np.where(whole, high > low, high - low > NOISE * scale)
    with np.errstate(under='ignore'):
        lost = apart & (low.astype(dtype) == high.astype(dtype))
    worst = lost.sum(0) > LOST * apart.sum(0)
    if worst.any():
        feature = int(worst.argmax())
        pair = int(lost[:, feature].argmax())
        which = f' at [..., {feature}]' if column.ndim > 1 else ''
        raise UsageError(
            f'{where}{which} holds {low[pair, feature]!s} and {high[pair, feature]!s}, which '
            f'{dtype} does not tell apart: subtract an offset with map(), or make it int'
        )


def _say_changed(column: np.ndarray, where: str, dtype: np.dtype) -> None:
    held = column.astype(dtype)
    changed = (held != column) & (column == np.rint(column)) & (np.abs(column) < 2**53)
    if changed.any():
        at = first(changed)
        log.warning(
            '%s, %s holds %.0f, which is %.0f as %s',
            *(where, place(at), column[at], held[at], dtype),
        )
