"""Orders of rows: permutations and splits, the same for ever for the same seed.

NumPy promises that the raw numbers of a bit generator never change; it does not promise that of
`Generator.permutation`. So a permutation here is the sorting order of raw Philox numbers.
"""

import functools
import zlib
from collections.abc import Callable

import numpy as np


def permutation(n: int, *, seed: int, name: str, index: int = 0) -> np.ndarray:
    """A random order of 0..n-1, int64 [n]: a pure function of (seed, name, index)."""
    key = [seed % 2**64, zlib.crc32(name.encode()) << 32 | index % 2**32]
    raw = np.random.Philox(key=np.array(key, np.uint64)).random_raw(n)
    return np.argsort(raw, kind='stable')


def shuffled_rows(n: int, *, batch: int, seed: int) -> Callable[[int], np.ndarray]:
    """The rows of each step, step -> int32 [batch]: positions step * batch ... of the stream.

    The stream is a permutation of epoch 0, then one of epoch 1, and so on without a seam, so no
    remainder is dropped. Any step costs one sort of n numbers at most, then O(batch).
    """

    @functools.lru_cache(maxsize=2)
    def epoch(index: int) -> np.ndarray:
        return permutation(n, seed=seed, name='epoch', index=index).astype(np.int32)

    def rows(step: int) -> np.ndarray:
        first, end = step * batch, (step + 1) * batch
        pieces = []
        for index in range(first // n, (end - 1) // n + 1):
            start = index * n
            pieces.append(epoch(index)[max(first - start, 0) : end - start])
        return np.concatenate(pieces)

    return rows


def rows_in_order(n: int, *, batch: int) -> Callable[[int], np.ndarray]:
    """The rows of each step of one pass, step -> int32 [batch]; -1 marks padding."""

    def rows(step: int) -> np.ndarray:
        positions = np.arange(step * batch, (step + 1) * batch)
        return np.where(positions < n, positions, -1).astype(np.int32)

    return rows


def parts(
    n: int, *, sizes: list[int], seed: int, labels: np.ndarray | None, name: str = 'split'
) -> list[np.ndarray]:
    """Disjoint parts of 0..n-1 of exactly these sizes, each ascending; what is left comes first.

    With labels [n] each part is stratified: the rows stand grouped by label, shuffled within a
    label, and a part takes evenly spaced places of what is left, so that its share of every label
    is exact to one row. name: of the permutation.
    """
    left = permutation(n, seed=seed, name=name)
    if labels is not None:
        left = left[np.argsort(np.unique(labels, return_inverse=True)[1][left], kind='stable')]
    taken = []
    for size in sizes:
        places = np.arange(size) * len(left) // max(size, 1)
        taken.append(np.sort(left[places]))
        left = np.delete(left, places)
    return [np.sort(left), *taken]


def arcs(n: int, *, sizes: list[int], seed: int, name: str) -> list[np.ndarray]:
    """Disjoint parts of 0..n-1, each without a gap on the ring in which 0 follows n-1.

    The parts follow each other from a place that the seed draws; what is left comes first.
    """
    ring = np.roll(np.arange(n), -permutation(n, seed=seed, name=name)[0])
    return np.split(ring, np.cumsum([n - sum(sizes), *sizes])[:-1])


def sums_near(groups: np.ndarray, sizes: list[int]) -> list[int]:
    """The sizes nearest to these that some whole groups have together, the smaller of two.

    groups: int [n], the group 0..g-1 of each row. No size is 0 or n.
    """
    sums = 1
    for count in np.bincount(groups).tolist():
        sums |= sums << count  # bit s is set where some groups have s rows together
    known = np.flatnonzero(np.array([*reversed(bin(sums)[2:])]) == '1')[1:-1]
    return [int(known[np.abs(known - size).argmin()]) for size in sizes] if known.size else sizes


def whole_groups(
    groups: np.ndarray, *, sizes: list[int], seed: int, name: str
) -> list[np.ndarray] | None:
    """Disjoint parts of whole groups, of exactly these sizes, each ascending; the rest comes first.

    A part takes the first groups, in the order of the seed, with which it can still have its size.
    None where the parts before it took what it needs.
    """
    rows = np.bincount(groups)
    left = permutation(len(rows), seed=seed, name=name)
    taken = []
    for size in sizes:
        found = _first_adding_up(rows[left].tolist(), size)
        if found is None:
            return None
        taken.append(np.flatnonzero(np.isin(groups, left[found])))
        left = np.delete(left, found)
    return [np.flatnonzero(np.isin(groups, left)), *taken]


def _first_adding_up(rows: list[int], size: int) -> list[int] | None:
    """The first of the groups, in their order, that have exactly `size` rows together."""
    reach = [1]  # bit s of reach[i] is set where groups of i... have s rows together
    for count in reversed(rows):
        reach.append((reach[-1] | reach[-1] << count) & ((2 << size) - 1))
    reach.reverse()
    if not reach[0] >> size & 1:
        return None
    found = []
    for i, count in enumerate(rows):
        if count <= size and reach[i + 1] >> (size - count) & 1:
            found.append(i)
            size -= count
    return found
