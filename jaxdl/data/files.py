"""Files as columns: CSV and JSON lines with declared types."""

import contextlib
import csv
import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.rows import Columns, column_of
from jaxdl.errors import DataMissingError, UsageError, nearest
from jaxdl.files import unread

DTYPES: Mapping[type, Any] = {
    float: np.float64,
    int: np.int64,
    bool: np.bool_,
    str: object,
    list: object,
}
TRUTHS = {'true': True, '1': True, 'yes': True, 'false': False, '0': False, 'no': False}


def read_csv(
    path: Path, *, columns: Mapping[str, type], delimiter: str, missing: Sequence[str]
) -> Columns:
    """The named columns of a CSV file with a header line."""
    _check_types(path, columns, DTYPES.keys() - {list})
    with contextlib.closing(_lines(path)) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise UsageError(f'{path}: the file is empty, a header line is needed')
            _check_names(path, columns, header)
            places = {name: header.index(name) for name in columns}
            values: dict[str, list[Any]] = {name: [] for name in columns}
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise UsageError(
                        f'{path}, line {reader.line_num}: {len(cells)} cells, '
                        f'but the header has {len(header)}'
                    )
                for name, kind in columns.items():
                    cell = cells[places[name]]
                    empty = cell.strip() in missing
                    where = (path, reader.line_num, name)
                    values[name].append(_parsed(None if empty else cell, kind, where))
        except csv.Error as error:
            raise UsageError(f'{path}, line {reader.line_num}: {error}') from error
    return _typed(path, values, columns)


def read_jsonl(path: Path, *, columns: Mapping[str, type]) -> Columns:
    """The named columns of a file with one JSON object a line; null and absent are missing."""
    _check_types(path, columns, DTYPES.keys())
    values: dict[str, list[Any]] = {name: [] for name in columns}
    seen: dict[str, None] = {}
    with contextlib.closing(_lines(path)) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, 'msg', error)
                raise UsageError(f'{path}, line {number}: no valid JSON: {reason}') from error
            if not isinstance(row, dict):
                raise UsageError(
                    f'{path}, line {number}: a JSON object is needed, not {line.strip()[:40]!r}'
                )
            seen.update(dict.fromkeys(row))
            for name, kind in columns.items():
                values[name].append(_checked(row.get(name), kind, (path, number, name)))
    _check_names(path, columns, list(seen))
    return _typed(path, values, columns)


Where = tuple[Path, int, str]


def _parsed(cell: str | None, kind: type, where: Where) -> Any:
    """A CSV cell as its declared type."""
    if cell is None:
        return _absent(kind, where)
    try:
        if kind is not str and '_' in cell:
            raise ValueError('Python allows 1_000, CSV files do not')
        return TRUTHS[cell.strip().lower()] if kind is bool else kind(cell)
    except (ValueError, KeyError) as error:
        raise _bad(repr(cell), kind, where) from error


def _checked(value: Any, kind: type, where: Where) -> Any:
    """A JSON value, if it is of its declared type (an int may stand for a float)."""
    if value is None:
        return _absent(kind, where)
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _bad(json.dumps(value)[:40], kind, where)
    return value


def _absent(kind: type, where: Where) -> Any:
    """What stands for a missing value; integers and truth values have nothing that could."""
    if kind in (int, bool):
        path, line, name = where
        raise UsageError(
            f'{path}, line {line}, column {name!r}: empty, and {kind.__name__} has no missing '
            f'value; declare it {"float" if kind is int else "str"} and clean the table'
        )
    return float('nan') if kind is float else '' if kind is str else []


def _bad(value: str, kind: type, where: Where) -> UsageError:
    path, line, name = where
    return UsageError(f'{path}, line {line}, column {name!r}: {value} is no {kind.__name__}')


def _typed(path: Path, values: Mapping[str, list[Any]], columns: Mapping[str, type]) -> Columns:
    try:
        return {name: column_of(values[name], DTYPES[kind]) for name, kind in columns.items()}
    except OverflowError as error:
        raise UsageError(
            f'{path}, columns {", ".join(columns)}: an integer exceeds 64 bits'
        ) from error


def _check_types(path: Path, columns: Mapping[str, type], allowed: Iterable[type]) -> None:
    allowed = set(allowed)
    if not columns:
        raise UsageError(f'{path}: no columns given, e.g. columns={{"x": float, "y": int}}')
    for name, kind in columns.items():
        if kind not in allowed:
            names = ', '.join(sorted(each.__name__ for each in allowed))
            raise UsageError(f'{path}, column {name!r}: {kind!r} is no column type ({names})')


def _check_names(path: Path, columns: Iterable[str], there: Sequence[str]) -> None:
    for name in columns:
        if name not in there:
            raise UsageError(f'{path}: there is no column {name!r}{nearest(name, there)}')
        if there.count(name) > 1:
            raise UsageError(f'{path}: column {name!r} stands twice in the header')


def _lines(path: Path) -> Generator[str, None, None]:
    """The lines of a UTF-8 file, decoded one by one so that a bad byte can be located."""
    try:
        if not path.is_file():
            raise DataMissingError(f'{path}: there is no such file')
        with path.open('rb') as file:
            for number, line in enumerate(file, 1):
                try:
                    yield line.decode('utf-8-sig' if number == 1 else 'utf-8')
                except UnicodeDecodeError as error:
                    raise UsageError(
                        f'{path}, line {number}: no valid UTF-8: {error.reason}'
                    ) from error
    except OSError as error:
        raise unread(path, error) from error
