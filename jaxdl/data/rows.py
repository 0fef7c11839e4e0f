"""Rows by number: what a table reads from, arrays in memory or records that are read when asked."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.errors import UsageError

Columns = dict[str, np.ndarray]
MASKED = 'is masked: leave such rows out, or fill them, as in array.filled(0)'
ColumnFunction = Callable[[np.ndarray], np.ndarray]


class UnreadableRowError(UsageError):
    """A row cannot be read (a damaged file); `Table.clean` drops and counts such rows."""


class Rows(ABC):
    """Equally long columns, read by row numbers. All but `read` is lazy here.

    `read` is pure and may be called from several threads at once.
    """

    names: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int:
        """How many rows."""

    @abstractmethod
    def read(self, indices: np.ndarray, names: Sequence[str]) -> Columns:
        """The rows `indices` [k] of the columns `names`, each [k, ...]."""

    @functools.cached_property
    def nbytes(self) -> int:
        """Bytes of all rows, decoded; estimated from at most 16 of them, evenly spaced."""
        if not len(self):
            return 0
        sample = np.unique(np.linspace(0, len(self) - 1, 16).astype(np.int64))
        total = sum(_nbytes(column) for column in self.read(sample, self.names).values())
        return total * len(self) // len(sample)

    def pick(self, indices: np.ndarray) -> 'Rows':
        """The rows `indices`, in that order."""
        return _Picked(self, indices)

    def select(self, sources: Mapping[str, str]) -> 'Rows':
        """The columns {new name: name}."""
        return _Selected(self, sources)

    def apply(self, functions: Mapping[str, ColumnFunction]) -> 'Rows':
        """The columns, with {name: function} applied to blocks of rows of some."""
        return _Applied(self, functions)


class Arrays(Rows):
    """Rows that are in memory."""

    def __init__(self, columns: Mapping[str, np.ndarray]):
        self.columns = {name: _frozen(column) for name, column in columns.items()}
        self.names = tuple(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def read(self, indices: np.ndarray, names: Sequence[str]) -> Columns:
        """Copies of the rows."""
        return {name: self.columns[name][indices] for name in names}

    @functools.cached_property
    def nbytes(self) -> int:
        """Exact, but for objects."""
        return sum(_nbytes(column) for column in self.columns.values())

    def pick(self, indices: np.ndarray) -> Rows:
        """Copies of the rows `indices`."""
        return Arrays(self.read(indices, self.names))

    def select(self, sources: Mapping[str, str]) -> Rows:
        """The same arrays under new names."""
        return Arrays({new: self.columns[name] for new, name in sources.items()})

    def apply(self, functions: Mapping[str, ColumnFunction]) -> Rows:
        """The functions applied now, each to its whole column."""
        return Arrays(_applied(self.columns, functions))


class _Picked(Rows):
    """Chosen rows of other rows."""

    def __init__(self, rows: Rows, indices: np.ndarray):
        self._rows, self._indices, self.names = rows, indices, rows.names

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, indices: np.ndarray, names: Sequence[str]) -> Columns:
        return self._rows.read(self._indices[indices], names)


class _Selected(Rows):
    """Some columns of other rows, under new names."""

    def __init__(self, rows: Rows, sources: Mapping[str, str]):
        self._rows, self._sources, self.names = rows, dict(sources), tuple(sources)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: np.ndarray, names: Sequence[str]) -> Columns:
        wanted = tuple(dict.fromkeys(self._sources[name] for name in names))
        columns = self._rows.read(indices, wanted)
        return {name: columns[self._sources[name]] for name in names}


class _Applied(Rows):
    """Other rows with functions applied to some columns as they are read."""

    def __init__(self, rows: Rows, functions: Mapping[str, ColumnFunction]):
        self._rows, self._functions, self.names = rows, dict(functions), rows.names

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: np.ndarray, names: Sequence[str]) -> Columns:
        functions = {name: f for name, f in self._functions.items() if name in names}
        return _applied(self._rows.read(indices, names), functions)


def _applied(columns: Mapping[str, np.ndarray], functions: Mapping[str, ColumnFunction]) -> Columns:
    result = dict(columns)
    for name, function in functions.items():
        column = plain(function(columns[name]), f'map of column {name!r}')
        if column.shape[:1] != columns[name].shape[:1]:
            raise UsageError(
                f'map of column {name!r}: the function made shape {list(column.shape)} of '
                f'{len(columns[name])} rows; it must keep the number of rows'
            )
        result[name] = column
    return result


def column_of(values: Sequence[Any], dtype: Any = None, *, where: str = 'a column') -> np.ndarray:
    """One column: an array where all values have one shape, else an object array of arrays.

    Raises UsageError, naming `where` and the row, for a value that is masked.
    """
    for row, value in enumerate(values):
        if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
            raise UsageError(f'{where}, row {row} {MASKED}')
    if dtype is not object and len({np.shape(value) for value in values}) <= 1:
        return np.asarray(values, dtype)
    column = np.empty(len(values), object)
    for index, value in enumerate(values):  # an assignment at once would try to stack arrays
        column[index] = np.asarray(value) if isinstance(value, list | tuple) else value
    return column


def plain(array: Any, where: str) -> np.ndarray:
    """An array of NumPy's own, in the byte order of this machine.

    Raises UsageError, naming `where` and the row, for one of which something is masked.
    """
    if isinstance(array, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(array)
        if masked.any():
            raise UsageError(f'{where}, row {int(np.argwhere(masked)[0][0])} {MASKED}')
    column = np.asarray(array)
    return column if column.dtype.isnative else column.astype(column.dtype.newbyteorder('='))


def joined(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """One column from its blocks; an object column where their rows differ in shape."""
    if len({(block.shape[1:], block.dtype == object) for block in blocks}) <= 1:
        return np.concatenate(blocks)
    return column_of([row for block in blocks for row in block], object)


def _frozen(column: np.ndarray) -> np.ndarray:
    view = column.view()
    view.flags.writeable = False
    return view


def _nbytes(column: np.ndarray) -> int:
    if column.dtype != object:
        return column.nbytes
    return sum(v.nbytes if isinstance(v, np.ndarray) else len(str(v)) for v in column.flat)
