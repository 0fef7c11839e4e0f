"""The catalogue: which datasets there are, how one is prepared, and what one looks like."""

import contextlib
import importlib.util
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jaxdl.data.prepared import all_prepared, check_described, data_dir, find, newest
from jaxdl.data.public import download, public_sets
from jaxdl.data.sets.digits import digits
from jaxdl.data.table import Table
from jaxdl.data.tfds import NEEDS_TENSORFLOW, leaves, tfds
from jaxdl.errors import DataMissingError, JaxdlError, UsageError, nearest

if TYPE_CHECKING:
    import rich.table
    import rich.text

SAMPLE = 256  # rows looked at for ranges and examples
COUNTED = 100_000  # rows looked at for class counts


class Entry(NamedTuple):
    """A line of the catalogue: a dataset, where it is kept, its rows by split, its state."""

    name: str
    where: str
    splits: Mapping[str, int]
    state: Literal['prepared', 'missing']


def available() -> list[Entry]:
    """The embedded digits, what TFDS has prepared, and the known public sets; TFDS not imported."""
    entries = [Entry('digits', 'embedded (scikit-learn)', {'all': 1797}, 'prepared')]
    tfds_dir = os.environ.get('TFDS_DATA_DIR')
    if tfds_dir:
        there = all_prepared(Path(tfds_dir).expanduser())
        entries += [Entry(d.name, 'TFDS_DATA_DIR', d.splits, 'prepared') for d in there]
    raw_dir = os.environ.get('JAXDL_DATA_DIR')
    for name, each in public_sets().items():
        files = [Path(raw_dir).expanduser() / name / f for f in each.files] if raw_dir else []
        prepared = bool(files) and all(file.is_file() for file in files)
        state: Literal['prepared', 'missing'] = 'prepared' if prepared else 'missing'
        entries.append(Entry(name, 'JAXDL_DATA_DIR', each.splits, state))
    return entries


def table() -> 'rich.table.Table':
    """The catalogue as a table to print."""
    from rich.table import Table

    lines = Table('dataset', 'where', 'rows', 'state')
    for name, where, splits, state in available():
        rows = ', '.join(f'{split} {rows}' for split, rows in splits.items())
        command = f'missing; run: jaxdl data prepare {name}'
        lines.add_row(name, where, rows, state if state == 'prepared' else command)
    return lines


def prepare(name: str) -> str:
    """Download and prepare a dataset; one line that says where it is."""
    if name == 'digits':
        return 'digits is embedded, there is nothing to prepare'
    sets = public_sets()
    if name in sets:
        folder = download(sets[name])
        return f'{name} is in {folder} (from {sets[name].source}, licence {sets[name].licence})'
    folder = data_dir('TFDS_DATA_DIR', name)
    # Asked of the folders first: constructing some of TFDS's builders needs TensorFlow.
    for there, info in newest(folder).items():
        if name in (there, f'{there}:{info.parent.name}'):
            return f'{there} {info.parent.name} is prepared in {info.parent}'
    return f'{name} is prepared in {_prepare_tfds(name, folder)}'


def _prepare_tfds(name: str, folder: Path) -> Path:
    """Let TFDS download and prepare; the folder it is in then."""
    import tensorflow_datasets
    from tensorflow_datasets.core import registered

    plain = name.partition(':')[0].partition('/')[0]
    known = registered.list_imported_builders()
    if plain not in known:
        close = nearest(plain, [*known, *public_sets()]).partition(' (')[0]
        raise UsageError(f'there is no dataset {name!r}{close} (TFDS knows {len(known)})')
    try:
        # Without TensorFlow TFDS prints a banner before it raises.
        quiet = importlib.util.find_spec('tensorflow') is None
        with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
            builder = tensorflow_datasets.builder(
                name, data_dir=str(folder), file_format='array_record'
            )
            features = builder.info.features
            if quiet and any(
                leaf.image for _, leaf in leaves((), features, features.get_tensor_info())
            ):
                # TFDS would find out only after its downloads.
                raise UsageError(f'{name} has images to encode; {NEEDS_TENSORFLOW}')
            builder.download_and_prepare()
            return Path(builder.data_path)
    except JaxdlError:
        raise
    except ImportError as error:
        if 'tensorflow' not in str(error).lower():
            raise JaxdlError(f'{name} cannot be prepared: {_line(error)}') from error
        raise UsageError(f'{name} cannot be prepared here; {NEEDS_TENSORFLOW}') from error
    except Exception as error:  # whatever its downloads and its own code raise
        raise JaxdlError(f'{name} cannot be prepared: {_line(error)}') from error


def show(name: str, split: str | None = None) -> 'rich.text.Text':
    """What a dataset looks like: splits, columns with ranges, class counts, three examples."""
    from rich.text import Text

    splits, data = _open(name, split)
    first = data[: min(SAMPLE, len(data))]
    lines = [
        f'{data.name}: {len(data)} rows',
        'splits: ' + ', '.join(f'{part} {rows}' for part, rows in splits.items()),
        f'columns (values over {min(SAMPLE, len(data))} rows):',
    ]
    width = max(len(column) for column in data.columns)
    lines += [f'  {column:{width}}  {_described(first[column])}' for column in data.columns]
    for column, names in data.classes.items():
        if first[column].ndim == 1 and first[column].dtype.kind in 'iu':
            labels = data.take(slice(COUNTED)).column(column)
            counts = np.bincount(labels[labels >= 0], minlength=len(names))
            pairs = zip(names, counts.tolist(), strict=False)
            lines.append(f'classes of {column}: ' + ', '.join(f'{n} {count}' for n, count in pairs))
    lines.append('examples:')
    for row in range(min(3, len(data))):
        cells = (f'{column}={_cell(first[column][row])}' for column in data.columns)
        lines.append('  ' + '  '.join(cells))
    # Not a str: rich would take brackets in the examples for its markup.
    return Text('\n'.join(lines))


def _open(name: str, split: str | None) -> tuple[Mapping[str, int], Table]:
    sets = public_sets()
    if name == 'digits':
        if split not in (None, 'all'):
            raise UsageError(f'digits: there is no split {split!r}{nearest(split, ["all"])}')
        return {'all': 1797}, digits()
    if name in sets:
        return sets[name].splits, sets[name].load(split or next(iter(sets[name].splits)))
    names = [entry.name for entry in available()]
    if name.partition(':')[0] not in {
        each for full in names for each in (full, full.split('/')[0])
    }:
        if tfds_dir := os.environ.get('TFDS_DATA_DIR'):
            check_described(Path(tfds_dir).expanduser(), name.partition(':')[0])
        raise DataMissingError(
            f'there is no dataset {name!r} here{nearest(name, names)}; '
            f'or prepare it: jaxdl data prepare {name}'
        )
    splits = find(name).splits
    return splits, tfds(name, split or next(iter(splits)), decode=False)


def _described(column: np.ndarray) -> str:
    if column.dtype != object:
        shape = f'{column.dtype} {list(column.shape[1:])}'
        if not column.size or column.dtype.kind not in 'biuf':
            return shape
        return f'{shape}  {column.min():.6g} .. {column.max():.6g}, mean {column.mean():.4g}'
    if isinstance(column[0], np.ndarray):
        shapes = [value.shape for value in column]
        return f'{column[0].dtype} of shapes {list(min(shapes))} .. {list(max(shapes))}'
    lengths = [len(value) for value in column]
    return f'text of {min(lengths)} .. {max(lengths)} characters'


def _cell(value: object) -> str:
    if isinstance(value, np.ndarray) and value.size > 8:
        return f'[{" x ".join(map(str, value.shape))}]'
    text = repr(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), '') or type(error).__name__
