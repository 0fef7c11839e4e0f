"""Tables: named columns of equal length with random access, in memory or read when asked."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.data import cleaning, files, folders, order
from jaxdl.data.card import Card
from jaxdl.data.cleaning import CleaningReport
from jaxdl.data.numbers import check_finite, check_told_apart, numeric
from jaxdl.data.rows import (
    Arrays,
    ColumnFunction,
    Columns,
    Rows,
    UnreadableRowError,
    column_of,
    joined,
    plain,
)
from jaxdl.errors import UsageError, nearest

if TYPE_CHECKING:
    from jaxdl.data.draws import Draw

ValidRows = Callable[[Columns], np.ndarray]
BLOCK = 512  # rows read at once where all are read
LARGE_ROW = 32 * 2**10  # bytes; decoding smaller rows on several threads only fights for the GIL


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length with random access; immutable.

    ``table[indices]`` reads rows: a dict of arrays [k, ...]. A column whose rows differ in shape,
    and text, is an object array. In a ``for`` it gives its rows one by one. `classes` names the
    values of label columns, where known. `card` says of which dataset it is all or a part.
    """

    rows: Rows = field(repr=False)
    name: str
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    card: Card | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Any) -> Columns:
        return self.rows.read(self._numbers(indices), self.columns)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows one by one, each as {column: its value}."""
        for start in range(0, len(self), BLOCK):
            block = self[start : start + BLOCK]
            for row in range(len(next(iter(block.values())))):
                yield {name: column[row] for name, column in block.items()}

    def __contains__(self, row: object) -> bool:
        raise TypeError(f'{self.name}: whether a row is in a table is not asked; look at a column')

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.rows.names

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in memory; an estimate from a few where they are read when asked."""
        return self.rows.nbytes

    @property
    def in_memory(self) -> bool:
        """Whether all rows are arrays in memory."""
        return isinstance(self.rows, Arrays)

    @property
    def arrays(self) -> Columns:
        """All columns as arrays; read now if they are not in memory, not copied if they are."""
        return dict(self._loaded().columns)

    @cached_property
    def sendable(self) -> Columns:
        """All columns as the device holds them: made once, so that sources can share them.

        Raises UsageError, naming column, row and value, for what it cannot hold; see `numeric`.
        """
        arrays = self.arrays
        columns = numeric(arrays, self.name)
        check_told_apart(arrays, self.name)
        return columns

    def column(self, name: str) -> np.ndarray:
        """All of one column, [n, ...]; of a table read when asked, only this column is read."""
        return self.select({name: name}).arrays[name]

    def take(self, indices: Any) -> 'Table':
        """The rows `indices` (numbers, a slice or a mask), in that order."""
        return replace(self, rows=self.rows.pick(self._numbers(indices)))

    def select(self, sources: Mapping[str, str]) -> 'Table':
        """The columns {new name: name}, no others: ``select({'x': 'image', 'y': 'label'})``."""
        for name in sources.values():
            self._check(name)
        classes = {new: self.classes[old] for new, old in sources.items() if old in self.classes}
        return replace(self, rows=self.rows.select(sources), classes=classes)

    def map(self, functions: Mapping[str, ColumnFunction]) -> 'Table':
        """The table with {name: function} applied to some columns.

        A function sees its column for a block of rows [k, ...], all of them where they are in
        memory, and keeps their number: ``map({'x': lambda x: x / 255})``.
        """
        for name in functions:
            self._check(name)
        return replace(self, rows=self.rows.apply(functions))

    def split(self, *, seed: int, by: str | None = None, **parts: float) -> tuple['Table', ...]:
        """Disjoint random parts, the same for ever for one seed: the rest first, then the named.

        ``train, valid, test = table.split(valid=0.1, test=0.2, seed=0, by='y')``. A part is a share
        (0.1), of which it has exactly round(n * share) rows, or a number of rows (500), in the
        order of the table. Stratified by the column `by`, every part has each value's share to one
        row. What every seed of a run is to draw for itself is a `draw`.
        """
        sizes = part_sizes(self, 'split', parts)
        labels = None if by is None else self.labels_of('split by', by)
        indices = order.parts(len(self), sizes=sizes, seed=seed, labels=labels)
        return tuple(
            replace(self.take(part), name=f'{self.name} {name}')
            for name, part in zip(('train', *parts), indices, strict=True)
        )

    def draw(
        self,
        *,
        by: str | None = None,
        groups: str | None = None,
        contiguous: bool = False,
        **parts: float,
    ) -> tuple['Draw', ...]:
        """Disjoint parts that every seed of a run draws for itself: the rest first, then the named.

        ``train, valid, test = table.draw(valid=0.1, test=0.2, by='y')``: what is measured then
        varies with the data too, over seeds. All arms of a study draw the same with one seed.
        Sizes and `by` are as in `split`. See `jaxdl.data.draws`.

        groups: a column; only whole groups of rows with one value in it go to a part, whose size is
            the nearest that whole groups have.
        contiguous: the table is taken as a ring, the parts follow each other from a place that the
            seed draws, and the rows of a part stay in the order of the table: where it is ordered
            by writer, patient or time, they are held out whole but for those at the ends.
        """
        from jaxdl.data.draws import drawn  # which needs tables

        return drawn(self, parts, by=by, groups=groups, contiguous=contiguous)

    def clean(
        self, *, valid: ValidRows | None = None, duplicates: bool = False
    ) -> tuple['Table', CleaningReport]:
        """The table without missing, invalid and duplicate rows, and how many of each there were.

        Missing: NaN, None or empty in any column. Invalid: unreadable, or false in
        `valid(columns) -> bool [k]`. Duplicate: equal to an earlier kept row in every column
        (`duplicates=True` leaves those in).
        """
        keep, unreadable, seen = [], [], set()
        counts = {'missing': 0, 'invalid': 0, 'duplicate': 0}
        for numbers, columns, message in self._readable_blocks():
            if message is not None:
                unreadable.append(message)
                counts['invalid'] += 1
                continue
            absent = cleaning.missing(columns)
            invalid = np.zeros(len(numbers), bool)
            if valid is not None:
                present = {name: column[~absent] for name, column in columns.items()}
                invalid[~absent] = ~self._valid(valid, present)
            digests = [b''] * len(numbers) if duplicates else cleaning.digests(columns)
            for number, lost, bad, digest in zip(numbers, absent, invalid, digests, strict=True):
                repeated = not duplicates and digest in seen
                kind = 'missing' if lost else 'invalid' if bad else 'duplicate' if repeated else ''
                if kind:
                    counts[kind] += 1
                    continue
                seen.add(digest)
                keep.append(number)
        report = CleaningReport(rows=len(self), **counts, unreadable=tuple(unreadable))
        return self.take(np.array(keep, np.int64)), report

    def labels_of(self, what: str, name: str) -> np.ndarray:
        """A column with one label a row, [n]. what: it is for, said where it has more."""
        labels = self.column(name)
        if labels.ndim != 1:
            raise UsageError(
                f'{self.name}: {what} {name!r} of shape {list(labels.shape)}: one label a row'
            )
        return labels

    def load(self) -> 'Table':
        """The table with all rows in memory."""
        return replace(self, rows=self._loaded())

    def _loaded(self) -> Arrays:
        if isinstance(self.rows, Arrays):
            return self.rows
        if not len(self):
            return Arrays(self[:])
        blocks = [np.arange(i, min(i + BLOCK, len(self))) for i in range(0, len(self), BLOCK)]
        workers = os.cpu_count() or 1 if self.nbytes // len(self) > LARGE_ROW else 1
        with ThreadPoolExecutor(workers) as pool:
            read = list(pool.map(self.__getitem__, blocks))
        return Arrays({name: joined([block[name] for block in read]) for name in self.columns})

    def _readable_blocks(self) -> Iterator[tuple[np.ndarray, Columns, str | None]]:
        """Row numbers, their columns, and None; for a row that cannot be read, why."""
        for start in range(0, len(self), BLOCK):
            numbers = np.arange(start, min(start + BLOCK, len(self)))
            try:
                yield numbers, self[numbers], None
                continue
            except UnreadableRowError:
                pass  # somewhere in this block: find it row by row
            for number in numbers:
                try:
                    columns, message = self[[number]], None
                except UnreadableRowError as error:
                    columns, message = {}, str(error)
                yield np.array([number]), columns, message

    def _valid(self, valid: ValidRows, columns: Columns) -> np.ndarray:
        mask = np.asarray(valid(columns))
        k = len(next(iter(columns.values())))
        if mask.shape != (k,) or mask.dtype != bool:
            raise UsageError(
                f'{self.name}: valid made {mask.dtype} {list(mask.shape)}; bool [{k}] is needed'
            )
        return mask

    def _check(self, name: str) -> None:
        if name not in self.columns:
            raise UsageError(f'{self.name}: no column {name!r}{nearest(name, self.columns)}')

    def _numbers(self, indices: Any) -> np.ndarray:
        n = len(self)
        if isinstance(indices, slice):
            return np.arange(*indices.indices(n))
        numbers = np.asarray(indices)
        if numbers.ndim != 1:
            raise IndexError(f'{self.name}: rows are read by a list of numbers, not {indices!r}')
        if numbers.dtype == bool:
            if len(numbers) != n:
                raise IndexError(f'{self.name}: a mask of {len(numbers)} for {n} rows')
            return np.flatnonzero(numbers)
        if numbers.size and numbers.dtype.kind not in 'iu':
            raise IndexError(f'{self.name}: rows are read by whole numbers, not {numbers.dtype}')
        if numbers.size and not (-n <= numbers.min() and numbers.max() < n):
            raise IndexError(f'{self.name}: row {numbers.max()} of {n}')
        return np.where(numbers < 0, numbers + n, numbers).astype(np.int64)


def from_arrays(
    columns: Mapping[str, Any],
    *,
    name: str = 'arrays',
    classes: Mapping[str, Sequence[str]] | None = None,
    card: Card | None = None,
) -> Table:
    """A table of arrays [n, ...] (or sequences) of equal length; they are not copied.

    card: the dataset they are of; without it nothing but the name is known.
    """
    arrays = {key: _as_array(name, key, value) for key, value in columns.items()}
    lengths = {key: len(value) for key, value in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise UsageError(f'{name}: columns of one length are needed, not {lengths}')
    named = {column: tuple(names) for column, names in (classes or {}).items()}
    return Table(Arrays(arrays), name, named, card or Card(name))


def csv(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, type],
    delimiter: str = ',',
    missing: Sequence[str] = ('', 'NA', 'NaN', 'nan', 'null'),
) -> Table:
    """The table of some columns of a CSV file with a header, typed: ``columns={'age': float}``.

    Types are float, int, bool and str. A cell in `missing` is NaN in a float column and '' in a
    text column; in others, as wherever a cell does not fit its type, it is an error.
    """
    path = Path(path).expanduser()
    read = files.read_csv(path, columns=columns, delimiter=delimiter, missing=missing)
    return from_arrays(read, name=path.stem, card=Card(path.stem, path.name))


def jsonl(path: str | os.PathLike[str], *, columns: Mapping[str, type]) -> Table:
    """The table of some keys of a file with one JSON object a line, typed as in `csv`, or list."""
    path = Path(path).expanduser()
    read = files.read_jsonl(path, columns=columns)
    return from_arrays(read, name=path.stem, card=Card(path.stem, path.name))


def image_folder(
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    mode: str = 'RGB',
) -> Table:
    """The images under `path`/CLASS/: x uint8 [n, height, width, channels], y int32 by class name.

    Read when asked; `load` them where they fit.

    classes: the names in the order of their numbers, the same for all splits; a split without
        images of one says so. None: the names of the folders, sorted, if no split beside it (a
        folder 'train', 'test', ...) has more.
    size: (height, width), resized to, not keeping the aspect; without it all must be of one size.
    mode: Pillow's, 'RGB', 'L' (grey) or 'RGBA'. 16 bits become 8 (1/257), and so do floats of 0..1;
        colours of a palette are looked up, transparency is left out but in 'RGBA', images are
        turned upright (EXIF), and of several frames the first is taken.

    At every depth of a class folder what is hidden (a name with a dot before it), what archives
    leave (__MACOSX), and files that are no images by their suffix are left out; links are followed.
    A damaged image is an error naming it, or dropped and counted by `clean`.
    """
    if mode not in ('RGB', 'L', 'RGBA'):
        raise UsageError(f'image_folder mode {mode!r}{nearest(mode, ("RGB", "L", "RGBA"))}')
    root = Path(path).expanduser()
    paths, labels, names = folders.find_images(root, classes)
    rows = folders.ImageFiles(paths, labels, size=size, mode=mode)
    name = root.absolute().name
    return Table(
        rows, name, {'y': names}, Card(name, f'images in a folder for each class, {name}/')
    )


def moments(table: Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of a column over all axes but the last, [features].

    float32, or float64 of a column whose numbers need it. For scalars both are of shape []. A
    feature that never varies, up to the rounding of its mean, has deviation 1, so that
    standardising makes it zero. Raises UsageError, naming the row, for NaN and infinity.
    """
    values = table.select({column: column})
    where, dtype = f'{table.name}: column {column!r}', np.dtype(np.float32)
    count, mean, squares = 0, np.float64(0), np.float64(0)
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK][column]
        if block.dtype.kind not in 'biuf':
            raise UsageError(f'{where} holds {block.dtype}; moments are of numbers')
        check_finite(block, where, np.arange(start, start + len(block)))
        dtype = np.promote_types(dtype, block.dtype) if block.dtype.kind != 'b' else dtype
        x = block.astype(np.float64)
        x = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x
        # Chan et al. 1983: blocks merged without cancellation.
        gap, total = x.mean(0) - mean, count + len(x)
        squares = squares + ((x - x.mean(0)) ** 2).sum(0) + gap**2 * count * len(x) / total
        mean, count = mean + gap * len(x) / total, total
    if not count:
        raise UsageError(f'{table.name}: no rows to take the moments of {column!r} from')
    # What rounding alone makes of a feature that never varies (scikit-learn, Chan et al. 1983).
    variance, eps = squares / count, np.finfo(np.float64).eps
    constant = variance <= count * eps * variance + (count * eps * mean) ** 2
    std = np.where(constant, 1, np.sqrt(variance)).astype(dtype)
    return np.asarray(mean, dtype), np.where(std > 0, std, np.ones((), dtype))


def part_sizes(table: Table, what: str, parts: Mapping[str, float]) -> list[int]:
    """The rows of each named part of a table, given as shares (0.2) or numbers of rows (500).

    what: makes the parts. Raises UsageError where there are none, and for what leaves none a row.
    """
    n, where = len(table), f'{table.name}: {what}'
    if not parts:
        raise UsageError(f'{where} needs named fractions, e.g. {what}(test=0.2)')
    if 'train' in parts:
        others = [name for name in parts if name != 'train'] or ['test']
        raise UsageError(
            f"{where} train={parts['train']}: 'train' is the rest, which comes first; name the "
            f'others, e.g. {what}({others[0]}=0.2)'
        )
    sizes = []
    for part, size in parts.items():
        given: Any = size  # numpy's numbers are numbers too
        whole = isinstance(given, Integral) and not isinstance(given, bool)
        if not (given >= 1 if whole else isinstance(given, Real) and 0 < float(given) < 1):
            raise UsageError(
                f'{where} {part}={size}: between 0 and 1, exclusive, or a number of rows'
            )
        sizes.append(int(given) if whole else round(n * given))
    if sum(sizes) >= n or not all(sizes):
        raise UsageError(
            f'{where} of {n} rows into {dict(zip(parts, sizes, strict=True))} '
            'leaves a part or the rest empty'
        )
    return sizes


def _as_array(table: str, name: str, value: Any) -> np.ndarray:
    array = (
        value if hasattr(value, 'shape') else column_of(value, where=f'{table}: column {name!r}')
    )
    if np.ndim(array) == 0:
        raise UsageError(f'{table}: column {name!r} is no array of rows')
    return plain(array, f'{table}: column {name!r}')
