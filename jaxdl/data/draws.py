"""Draws: rows of a table that every seed of a run draws for itself.

One split is one draw of the data: an interval over seeds that share it says nothing of another.
Where each seed has a split or a subset of its own, it covers both. The rows are a pure function of
the seed, so that arms are compared in pairs, on the same rows, and a run goes on as it began.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from jaxdl.data import order
from jaxdl.data.rows import ColumnFunction
from jaxdl.data.table import Table, part_sizes
from jaxdl.errors import UsageError

NAME = 'draw'  # of its permutations: they are none of a split, nor of an order of training
REMEMBERED = 64  # seeds whose rows are kept, as parts of one table ask for them in turn


@dataclass(frozen=True, eq=False)
class Draw:
    """Rows of a table, others for every seed; as many for each.

    `shuffled` and `in_order` take it as they take a table. ``draw.of(seed)`` is the table of one
    seed's rows, for what is computed on the host.

    rows: (seed) -> the numbers [n] of the seed's rows, a pure function; n is the same for all.
    ``Draw(table, lambda seed: folds[seed % 5], 'digits fold')`` is a cross-validation.

    Raises UsageError, naming the seed, where rows are none of the table, more than another's, or
    others when they are asked for again.
    """

    table: Table
    rows: Callable[[int], Any] = field(repr=False)
    name: str

    def __len__(self) -> int:
        return self._count

    def numbers(self, seed: int) -> np.ndarray:
        """The numbers of a seed's rows in the table, int64 [n]."""
        numbers = self._read(seed)
        if len(numbers) != len(self):
            raise UsageError(
                f'{self.name}: seed {seed} draws {len(numbers)} rows and seed 0 {len(self)}: every '
                'seed draws as many'
            )
        return numbers

    def of(self, seed: int) -> Table:
        """The table of a seed's rows."""
        return replace(self.table.take(self.numbers(seed)), name=self.name)

    def select(self, sources: Mapping[str, str]) -> 'Draw':
        """The columns {new name: name}, no others; see `Table.select`.

        Parts of one table share its arrays on the device: select, and map, before you draw them.
        """
        return replace(self, table=self.table.select(sources))

    def map(self, functions: Mapping[str, ColumnFunction]) -> 'Draw':
        """The draw with {name: function} applied to some columns; see `Table.map`."""
        return replace(self, table=self.table.map(functions))

    @cached_property
    def _count(self) -> int:
        first = self._read(0)
        if not np.array_equal(first, self._read(0)):
            raise UsageError(
                f'{self.name}: seed 0 draws other rows when it is asked again: they are a function '
                'of the seed alone, as of np.random.default_rng(seed)'
            )
        return len(first)

    def _read(self, seed: int) -> np.ndarray:
        rows = np.asarray(self.rows(seed))
        if rows.ndim != 1 or rows.dtype.kind not in 'iu' or not rows.size:
            raise UsageError(
                f'{self.name}: of seed {seed} the rows are {rows.dtype} {list(rows.shape)}; they '
                'are whole numbers, [n], one at least'
            )
        n = len(self.table)
        outside = (rows < 0) | (rows >= n)
        if outside.any():
            raise UsageError(
                f'{self.name}: seed {seed} draws row {rows[outside.argmax()]}; {self.table.name} '
                f'has the rows 0..{n - 1}'
            )
        return rows.astype(np.int64)


def balanced(table: Table, *, each: int, by: str = 'y') -> Draw:
    """`each` rows of every value in the column `by`, others for every seed: few labels, as a draw.

    A larger one has the rows of a smaller one, seed by seed. Raises UsageError where a value has
    fewer rows.
    """
    labels = np.unique(table.labels_of('balanced by', by), return_inverse=True)[1]
    fewest = int(np.bincount(labels).min()) if labels.size else 0
    if not 1 <= each <= fewest:
        raise UsageError(
            f'{table.name}: balanced each={each}; at least 1, and at most {fewest}, the rows of '
            f'the rarest {by}'
        )

    @lru_cache(maxsize=REMEMBERED)
    def rows(seed: int) -> np.ndarray:
        shuffled = order.permutation(len(table), seed=seed, name=NAME)
        grouped = shuffled[np.argsort(labels[shuffled], kind='stable')]
        firsts = np.searchsorted(labels[grouped], np.arange(labels.max() + 1))
        return np.sort(grouped[(firsts[:, None] + np.arange(each)[None]).reshape(-1)])

    return Draw(table, rows, f'{table.name}, {each} of each {by}')


def drawn(
    table: Table,
    parts: Mapping[str, float],
    *,
    by: str | None = None,
    groups: str | None = None,
    contiguous: bool = False,
) -> tuple[Draw, ...]:
    """Disjoint parts of a table, the rest first; see `Table.draw`.

    Raises UsageError for sizes that leave a part empty, for a column that is not there or has more
    than one label a row, and for more than one of `by`, `groups` and `contiguous`.
    """
    n, sizes = len(table), part_sizes(table, 'draw', parts)
    asked = {'by': by, 'groups': groups, 'contiguous': contiguous or None}
    said = [f'{name}={value!r}' for name, value in asked.items() if value is not None]
    if len(said) > 1:
        raise UsageError(f'{table.name}: draw {" and ".join(said)}: only one of them')
    labels = None if by is None else table.labels_of('draw by', by)
    group: Any = None
    if groups is not None:
        group = np.unique(table.labels_of('draw groups', groups), return_inverse=True)[1]
        if group.max() < len(sizes):
            raise UsageError(
                f'{table.name}: draw groups={groups!r}: {group.max() + 1} groups are too few for '
                f'{len(sizes) + 1} parts'
            )
        sizes = order.sums_near(group, sizes)

    @lru_cache(maxsize=REMEMBERED)
    def rows(seed: int) -> list[np.ndarray]:
        if contiguous:
            return order.arcs(n, sizes=sizes, seed=seed, name=NAME)
        if groups is None:
            return order.parts(n, sizes=sizes, seed=seed, labels=labels, name=NAME)
        found = order.whole_groups(group, sizes=sizes, seed=seed, name=NAME)
        if found is None or not len(found[0]):
            raise UsageError(
                f'{table.name}: draw groups={groups!r}: seed {seed} finds no whole groups for '
                f'{", ".join(f"{s} rows of {p}" for p, s in zip(parts, sizes, strict=True))}; '
                'give fewer parts or other sizes'
            )
        return found

    def part(index: int) -> Callable[[int], np.ndarray]:
        return lambda seed: rows(seed)[index]

    names = ('train', *parts)
    return tuple(Draw(table, part(i), f'{table.name} {name}') for i, name in enumerate(names))
