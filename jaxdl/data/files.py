"""Files as columns: CSV and JSON lines with declared types, and folders of images."""

import contextlib
import csv
import functools
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.rows import Columns, Rows, UnreadableRowError, column_of
from jaxdl.errors import DataMissingError, UsageError, nearest

DTYPES: Mapping[type, Any] = {
    float: np.float64,
    int: np.int64,
    bool: np.bool_,
    str: object,
    list: object,
}
TRUTHS = {'true': True, '1': True, 'yes': True, 'false': False, '0': False, 'no': False}
IMAGES = frozenset(
    {'.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'}
)


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
    return _typed(values, columns)


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
            except json.JSONDecodeError as error:
                raise UsageError(f'{path}, line {number}: no valid JSON: {error.msg}') from error
            if not isinstance(row, dict):
                raise UsageError(
                    f'{path}, line {number}: a JSON object is needed, not {line.strip()[:40]!r}'
                )
            seen.update(dict.fromkeys(row))
            for name, kind in columns.items():
                values[name].append(_checked(row.get(name), kind, (path, number, name)))
    _check_names(path, columns, list(seen))
    return _typed(values, columns)


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


def _typed(values: Mapping[str, list[Any]], columns: Mapping[str, type]) -> Columns:
    try:
        return {name: column_of(values[name], DTYPES[kind]) for name, kind in columns.items()}
    except OverflowError as error:
        raise UsageError(f'columns {", ".join(columns)}: an integer exceeds 64 bits') from error


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


class ImageFiles(Rows):
    """Images read from files when asked: x uint8 [k, height, width, channels], y int32 [k]."""

    names = ('x', 'y')

    def __init__(
        self, paths: Sequence[Path], labels: np.ndarray, *, size: tuple[int, int] | None, mode: str
    ):
        self._paths, self._labels, self._size, self._mode = list(paths), labels, size, mode

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, indices: np.ndarray, names: Sequence[str]) -> Columns:
        """Images are decoded only if 'x' is wanted."""
        readers: dict[str, Callable[[], np.ndarray]] = {
            'x': lambda: self._images(indices),
            'y': lambda: self._labels[indices],
        }
        return {name: readers[name]() for name in names}

    def _images(self, indices: np.ndarray) -> np.ndarray:
        pixels = np.empty((len(indices), *self._shape), np.uint8)
        for place, index in enumerate(indices):
            image = self._image(self._paths[index])
            if image.shape != self._shape:
                raise UnreadableRowError(
                    f'{self._paths[index]}: {image.shape[1]}x{image.shape[0]} pixels, the first '
                    f'has {self._shape[1]}x{self._shape[0]}; give size=(height, width) to resize'
                )
            pixels[place] = image
        return pixels

    @functools.cached_property
    def _shape(self) -> tuple[int, ...]:
        """Height, width, channels of every image: given, or of the first that opens."""
        from PIL import Image

        channels = len(Image.new(self._mode, (1, 1)).getbands())
        if self._size is not None:
            return (*self._size, channels)
        for path in self._paths:
            try:
                return self._image(path).shape
            except UnreadableRowError:
                continue  # it is reported when its row is read
        raise UnreadableRowError(f'{self._paths[0]}: no readable image, nor is any beside it')

    def _image(self, path: Path) -> np.ndarray:
        from PIL import Image

        try:
            with Image.open(path) as image:
                picture = image.convert(self._mode)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UnreadableRowError(f'{path}: no readable image: {error}') from error
        if self._size is not None:
            height, width = self._size
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture)
        return pixels if pixels.ndim == 3 else pixels[:, :, None]


def find_images(path: Path) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """The image files of `path`/CLASS/..., their class numbers, and the class names, sorted."""
    if not path.is_dir():
        raise DataMissingError(f'{path}: there is no such folder')
    classes = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith('.'))
    if not classes:
        raise UsageError(f'{path}: one sub-folder for each class is needed, there is none')
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(p for p in (path / name).rglob('*') if p.suffix.lower() in IMAGES)
        if not found:
            raise UsageError(f'{path / name}: no images here ({", ".join(sorted(IMAGES))})')
        files += found
        labels += [label] * len(found)
    return files, np.array(labels, np.int32), tuple(classes)
