"""Cleaning as pure functions on blocks of rows: what is missing, and what is a duplicate."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class CleaningReport(NamedTuple):
    """What cleaning found; each row is counted once, in the order missing, invalid, duplicate.

    `unreadable` are the messages of those of the invalid rows that could not be read at all.
    """

    rows: int
    missing: int
    duplicate: int
    invalid: int
    unreadable: tuple[str, ...] = ()

    @property
    def kept(self) -> int:
        """How many rows are left."""
        return self.rows - self.missing - self.duplicate - self.invalid

    def __str__(self) -> str:
        return (
            f'{self.rows} rows: {self.missing} missing, {self.duplicate} duplicate, '
            f'{self.invalid} invalid; {self.kept} kept'
        )


def missing(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which rows hold a NaN, None, an empty text or an empty array in any column, bool [k]."""
    return np.any([_missing(column) for column in columns.values()], axis=0)


def digests(columns: Mapping[str, np.ndarray]) -> list[bytes]:
    """128 bits of each row's content in all columns: they agree for equal rows only."""
    hashes = [hashlib.blake2b(digest_size=16) for _ in next(iter(columns.values()))]
    for column in columns.values():
        for digest, value in zip(hashes, np.ascontiguousarray(column), strict=True):
            digest.update(_content(value))
    return [digest.digest() for digest in hashes]


def _missing(column: np.ndarray) -> np.ndarray:
    if column.dtype.kind in 'US':
        return column == column.dtype.type()
    if column.dtype == object:
        return np.array([_empty(value) for value in column], bool)
    if column.dtype.kind not in 'fc':
        return np.zeros(len(column), bool)
    return np.isnan(column).reshape(len(column), -1).any(axis=1)


def _empty(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return not value.size or (value.dtype.kind in 'fc' and bool(np.isnan(value).any()))
    return value is None or value != value or (isinstance(value, str | bytes) and not value)


def _content(value: Any) -> bytes:
    """Bytes that tell where they end, so that ('ab', 'c') is not ('a', 'bc') when joined."""
    if isinstance(value, str | bytes) or not isinstance(value, np.ndarray | np.generic):
        return repr(value).encode()
    texts = value.dtype == object
    content = b''.join(map(_content, value.ravel())) if texts else value.tobytes()
    return f'{value.dtype.kind}{value.dtype.itemsize}{value.shape}'.encode() + content
