"""Time series: windows of what came before and what comes after, in the order of time.

A `Series` is split where time is, never at random: what is trained on came first. It is scaled by
the part that is trained on, and stays on the device once; windows are cut from it there.
"""

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data import table as tables
from jaxdl.data.augment import Transform
from jaxdl.data.numbers import check_finite
from jaxdl.data.source import Source
from jaxdl.data.stream import in_order, over, shuffled
from jaxdl.data.table import Table, from_arrays, moments
from jaxdl.errors import DataMissingError, UsageError, nearest
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

Bounds = Mapping[str, tuple[int, int]]
Predict = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class Series:
    """Values float32 [n, C] in the order of time, the names of the C, and the parts of the n.

    parts: {'train': (first, end), ...}. mean, std: [C], of the part 'train', in the units of the
    file; where `scaled` was called, the values are (x - mean) / std.
    """

    values: np.ndarray
    names: tuple[str, ...]
    parts: Bounds
    name: str
    mean: np.ndarray
    std: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def scaled(self) -> 'Series':
        """The same in units of the part that is trained on: its mean 0, its deviation 1."""
        return replace(self, values=((self.values - self.mean) / self.std).astype(np.float32))

    def windows(self, part: str, *, past: int = 96, future: int = 24, stride: int = 1) -> 'Windows':
        """All windows of `past` and `future` steps whose future lies in a part.

        The past of the first ones may lie in the part before, which is known then.
        """
        if part not in self.parts:
            raise UsageError(f'{self.name}: there is no part {part!r}{nearest(part, self.parts)}')
        if min(past, future, stride) < 1:
            raise UsageError(f'windows: past={past}, future={future}, stride={stride}; 1 or more')
        first, end = self.parts[part]
        begin = max(first, past)
        if end - begin < future:
            raise UsageError(
                f'{self.name}: {part} has {end - first} steps, too few for past={past} and '
                f'future={future}'
            )
        starts = np.arange(begin, end - future + 1, stride, dtype=np.int32)
        return Windows(self, part, starts, past, future)


@dataclass(frozen=True, eq=False)
class Windows:
    """Where windows lie in a series: `starts` are the first steps of their futures."""

    series: Series
    part: str
    starts: np.ndarray
    past: int
    future: int

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All of them: x [n, past, C] and y [n, future, C]."""
        at = self.starts[:, None] + np.arange(-self.past, self.future)[None]
        both = self.series.values[at]
        return both[:, : self.past], both[:, self.past :]

    def shuffled(
        self, *, batch: int, private: bool = False, transform: Transform | None = None
    ) -> Source:
        """An endless stream of x [batch, past, C] and y [batch, future, C]; see `shuffled`."""
        return self._cut(shuffled(self._table(), batch=batch, private=private), transform)

    def in_order(self, *, batch: int, transform: Transform | None = None) -> Source:
        """One pass, for measuring, as `stream.in_order`."""
        return self._cut(in_order(self._table(), batch=batch), transform)

    def _table(self) -> Table:
        name = f'{self.series.name} {self.part}, {self.past} steps and {self.future}'
        return from_arrays({'start': self.starts}, name=name)

    def _cut(self, source: Source, transform: Transform | None) -> Source:
        past, future = self.past, self.future

        def make(key: Key, batch: Batch, held: Any) -> Batch:
            at = batch['start'][:, None] + jnp.arange(-past, future)[None]
            both = held['series'][at]
            cut = {'x': both[:, :past], 'y': both[:, past:], 'mask': batch['mask']}
            return cut if transform is None else transform(key_for(key, 'transform'), cut)

        return over(source, {'series': self.series.values}, make)


def series(
    values: np.ndarray, *, parts: Bounds, names: Sequence[str] | None = None, name: str = 'series'
) -> Series:
    """A series of values [n, C] or [n], with its parts in the order of time, one of them 'train'.

    Raises UsageError for values that are missing: say how to fill them before.
    """
    values = np.asarray(values)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not len(values):
        raise UsageError(f'{name}: values of shape {list(values.shape)}; [steps, features]')
    names = tuple(names or map(str, range(values.shape[1])))
    if len(names) != values.shape[1]:
        raise UsageError(f'{name}: {len(names)} names of {values.shape[1]} features')
    for feature, column in zip(names, values.T, strict=True):
        check_finite(column, f'{name}: column {feature!r}')
    if 'train' not in parts:
        raise UsageError(f'{name}: the parts are {list(parts)}; one is to be called train')
    for part, (first, end) in parts.items():
        if not 0 <= first < end <= len(values):
            raise UsageError(f'{name}: {part} is {first} to {end} of {len(values)} steps')
        if part != 'train' and first < parts['train'][1]:
            raise UsageError(f'{name}: {part} begins before train ends')
    rows = from_arrays({'x': values[slice(*parts['train'])]}, name=f'{name} train')
    mean, std = moments(rows, 'x')
    return Series(values.astype(np.float32), names, dict(parts), name, mean, std)


def csv_series(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    valid: float = 0.1,
    test: float = 0.2,
    delimiter: str = ',',
) -> Series:
    """The series in a CSV file with a header, a step a line: prices, a sensor, a load.

    columns: which; None: all whose first cell is a number. valid, test: how much of the end is
    tested on, and how much before it is to choose by. Raises UsageError, naming column and row,
    where a cell is missing or no number.
    """
    path = Path(path).expanduser()
    if not (valid > 0 and test > 0 and valid + test < 1):
        raise UsageError(f'csv_series: valid={valid}, test={test}; parts of 1 that leave some')
    columns = _numeric_columns(path, delimiter) if columns is None else tuple(columns)
    read = tables.csv(path, columns=dict.fromkeys(columns, float), delimiter=delimiter).arrays
    values = np.stack([read[name] for name in columns], axis=1)
    n = len(values)
    first, second = n - round(n * test) - round(n * valid), n - round(n * test)
    parts = {'train': (0, first), 'valid': (first, second), 'test': (second, n)}
    return series(values, parts=parts, names=columns, name=path.stem)


def _numeric_columns(path: Path, delimiter: str) -> tuple[str, ...]:
    """The columns of a CSV file whose first cell is a number."""
    if not path.is_file():
        raise DataMissingError(f'{path}: there is no such file')
    with path.open(newline='', encoding='utf-8-sig') as lines:
        reader = csv.reader(lines, delimiter=delimiter)
        header, cells = next(reader, []), next(reader, [])
    found = tuple(name for name, cell in zip(header, cells, strict=False) if _is_number(cell))
    if not found:
        raise UsageError(f'{path}: no column begins with a number; say columns=')
    return found


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# ---- forecasts that need no training ------------------------------------------------------------


def persistence(past: Any, future: int) -> Any:
    """The last value again and again: [B, T, C] -> [B, future, C]."""
    last = past[:, -1:]
    return (jnp if isinstance(past, jax.Array) else np).repeat(last, future, axis=1)


def seasonal(period: int) -> Predict:
    """What was there one period (24 hours) before, again and again."""

    def predict(past: Any, future: int) -> Any:
        if past.shape[1] < period:
            raise UsageError(f'seasonal: a past of {past.shape[1]} has no period of {period}')
        return past[:, -period:][:, np.arange(future) % period]

    return predict


def baseline_errors(windows: Windows, predict: Predict = persistence) -> dict[str, float]:
    """'mse' and 'mae' of a forecast over all windows, in the units of their series."""
    squares = absolutes = count = 0.0
    for first in range(0, len(windows), 1024):
        x, y = replace(windows, starts=windows.starts[first : first + 1024]).arrays
        error = predict(x, windows.future).astype(np.float64) - y
        squares, absolutes = squares + (error**2).sum(), absolutes + np.abs(error).sum()
        count += error.size
    return {'mse': float(squares / count), 'mae': float(absolutes / count)}
