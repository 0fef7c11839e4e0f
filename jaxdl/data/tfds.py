"""TFDS datasets as tables, read by row number without TensorFlow."""

import contextlib
import functools
import importlib.util
import io
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.card import Card
from jaxdl.data.prepared import check_features, damaged, find, reading
from jaxdl.data.rows import Columns, Rows, UnreadableRowError, column_of
from jaxdl.data.table import Table
from jaxdl.errors import UsageError, nearest

DECODED_BYTES = 512 * 2**20  # splits up to this size are decoded once, into arrays
NEEDS_TENSORFLOW = "TFDS needs TensorFlow for that: pip install 'jaxdl[tensorflow]'"
log = logging.getLogger(__name__)

Wanted = tuple[tuple[str, str], ...] | None  # (new name, feature) pairs; None: all features


def tfds(
    name: str, split: str, *, columns: Mapping[str, str] | None = None, decode: bool | None = None
) -> Table:
    """The table of a TFDS split prepared under TFDS_DATA_DIR.

    name: 'mnist', with a configuration 'glue/sst2', of one version 'mnist:3.0.1'.
    split: as TFDS writes it: 'train', 'train[:55000]', 'train[90%:]', 'train+test'.
    columns: {new name: feature}, others are not decoded: ``{'x': 'image', 'y': 'label'}``. Without
        it all features under their own names, nested ones as 'objects/bbox'.
    decode: all rows into memory now, once in a process; None: if that takes at most 512 MB.
        Otherwise rows are read when asked.

    Text is str. A feature of unknown shape (None in a dimension) is an object column. Raises
    DataMissingError where the dataset is not prepared, UsageError naming the file where one is
    damaged.
    """
    dataset = find(name)
    _check_split(name, split, dataset.splits)
    wanted = None if columns is None else tuple(columns.items())
    table = _opened(dataset.folder, f'{dataset.name} {split}', split, wanted)
    if table.nbytes <= DECODED_BYTES if decode is None else decode:
        return _decoded(dataset.folder, table.name, split, wanted)
    return table


@functools.lru_cache(maxsize=32)
def _opened(folder: Path, name: str, split: str, wanted: Wanted) -> Table:
    """The table that reads rows when asked."""
    import tensorflow_datasets

    check_features(folder)
    # Where a feature needs TensorFlow TFDS prints a banner before it raises.
    quiet = contextlib.redirect_stdout(io.StringIO())
    with _needing_tensorflow(folder), quiet, _audio_without_tensorflow():
        with reading(folder / 'features.json'):
            tensorflow_datasets.features.FeaturesDict.from_config(str(folder))
        with reading(folder / 'dataset_info.json'):
            builder = tensorflow_datasets.builder_from_directory(str(folder))
    if builder.info.file_format.value != 'array_record':
        raise UsageError(
            f'{folder}/dataset_info.json: the rows are in files of {builder.info.file_format.value}'
            ", which are not read by number; prepare the dataset with file_format='array_record'"
        )
    features = _Features(builder, split, folder)
    with reading(folder / 'dataset_info.json'):
        card = _card(builder.info)
    table = Table(features, name, features.classes, card)
    return table if wanted is None else table.select(dict(wanted))


def _card(info: Any) -> Card:
    """What TFDS says of a dataset; under which licence it is it says of few."""
    return Card(
        info.full_name,
        f'{info.homepage} (TFDS)' if info.homepage else 'TFDS',
        licence=info.redistribution_info.license or _licence(info.description or ''),
        citation='; '.join(map(cited, re.findall(r'@[^@]+', info.citation or ''))),
        about=' '.join((info.description or '').strip().partition('\n\n')[0].split()),
    )


def _licence(description: str) -> str:
    """The sentence of a description that is about a licence, if there is one."""
    found = re.search(r'[^.]*\blicen[cs]ed?\b[^.]*\.', description, re.IGNORECASE)
    return ' '.join(found[0].split()) if found else ''


def cited(entry: str) -> str:
    """An entry of BibTeX in a line, 'Yann LeCun 2010: MNIST'; as it is where it has no title."""
    fields = {}
    for name in ('author', 'year', 'title'):
        value = r'[{"](.*?)["}]\s*(?:[,}]|$)|(\d+)'
        if found := re.search(rf'\b{name}\s*=\s*(?:{value})', entry, re.S):
            fields[name] = ' '.join(re.sub(r'[{}]', '', found[1] or found[2]).split())
    if 'title' not in fields:
        return ' '.join(entry.split())
    who = ' '.join(fields[name] for name in ('author', 'year') if name in fields)
    return f'{who}: {fields["title"]}' if who else fields['title']


@contextlib.contextmanager
def _needing_tensorflow(folder: Path) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        if isinstance(error.__cause__, ImportError) and 'tensorflow' in str(error.__cause__):
            raise UsageError(f'{folder}/features.json: {NEEDS_TENSORFLOW}') from error
        raise


@contextlib.contextmanager
def _audio_without_tensorflow() -> Iterator[None]:
    """TFDS's Audio features can be made, and read where they are stored as numbers.

    TFDS asks TensorFlow for a type that only its encoder needs. Sound that is stored as it came, to
    be decoded as it is read ("lazy"), still needs it.
    """
    if importlib.util.find_spec('tensorflow') is not None:
        yield
        return
    from tensorflow_datasets.core.features import audio_feature

    def init(self: Any, file_format: Any, np_dtype: Any, shape: Any) -> None:
        self._file_format, self._np_dtype, self._shape = file_format, np_dtype, shape

    decoder = audio_feature._AudioDecoder
    before = decoder.__init__
    decoder.__init__ = init
    try:
        yield
    finally:
        decoder.__init__ = before


@functools.lru_cache(maxsize=4)
def _decoded(folder: Path, name: str, split: str, wanted: Wanted) -> Table:
    """The table in memory."""
    start = time.perf_counter()
    table = _opened(folder, name, split, wanted).load()
    seconds = time.perf_counter() - start
    log.info('%s: %d rows decoded in %.1f s (%.0f rows/s)', name, len(table), seconds,
             len(table) / seconds)  # fmt: skip
    return table


class Leaf(NamedTuple):
    """A feature that is an array: where it is in an example, its shape and type."""

    path: tuple[str, ...]
    feature: Any
    shape: tuple[int | None, ...]
    dtype: Any  # of its numbers; object for text

    @property
    def image(self) -> bool:
        """Whether it is an encoded image, dear to decode."""
        return type(self.feature).__name__ == 'Image'

    def column(self, values: Sequence[Any]) -> np.ndarray:
        """Its values in some examples as a column."""
        if type(self.feature).__name__ == 'Text':
            values = [_text(value) for value in values]
        if None not in self.shape or self.dtype is object:
            return column_of(values, self.dtype)
        empty = np.zeros([size or 0 for size in self.shape], self.dtype)
        return column_of([np.asarray(v, self.dtype) if len(v) else empty for v in values], object)


class _Features(Rows):
    """The features of a TFDS split, flattened: 'objects/bbox'."""

    def __init__(self, builder: Any, split: str, folder: Path):
        self._builder, self._split, self._folder = builder, split, folder
        features = builder.info.features
        with reading(folder / 'features.json'):
            self._leaves = dict(sorted(leaves((), features, features.get_tensor_info())))
        self.names = tuple(self._leaves)
        self.classes = {
            name: tuple(leaf.feature.names)
            for name, leaf in self._leaves.items()
            if type(leaf.feature).__name__ == 'ClassLabel' and leaf.feature.names is not None
        }
        try:
            part = builder.info.splits[split]
            self._length = part.num_examples
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f'{builder.info.full_name}, split {split!r}: {reason}') from error
        if not self._length:
            if split in builder.info.splits:
                raise damaged(folder / 'dataset_info.json', f'{split!r} has no rows')
            raise UsageError(f'{builder.info.full_name}, split {split!r}: there are no rows')
        with reading(folder / 'dataset_info.json'):
            parts = part.file_instructions
            self._files = [Path(each.filename) for each in parts]
            self._ends = np.cumsum([each.take for each in parts])  # the rows of each file
        for file, each in zip(self._files, parts, strict=True):
            _check_shard(file, each.examples_in_shard)

    def __len__(self) -> int:
        return self._length

    def read(self, indices: np.ndarray, names: Sequence[str]) -> Columns:
        """The features of the examples; images are decoded only if wanted."""
        with reading(self._folder / 'features.json'):
            source = self._source(frozenset(n for n in names if self._leaves[n].image))
        try:
            with reading(self._file(indices)):
                examples = source.__getitems__(indices.tolist())
                return {name: self._column(self._leaves[name], examples) for name in names}
        except UsageError as error:
            raise UnreadableRowError(str(error)) from error

    def _file(self, indices: np.ndarray) -> Path:
        """The file that the first of some rows is in."""
        first = int(indices[0]) if len(indices) else 0
        return self._files[int(np.searchsorted(self._ends, first, side='right'))]

    def _column(self, leaf: Leaf, examples: Sequence[Any]) -> np.ndarray:
        return leaf.column([functools.reduce(dict.__getitem__, leaf.path, e) for e in examples])

    @functools.lru_cache(maxsize=8)  # noqa: B019  opened tables live as long as the process
    def _source(self, images: frozenset[str]) -> Any:
        """TFDS's own reader, decoding just these images."""
        from tensorflow_datasets import decode

        class Pillow(decode.Decoder):
            # The same pixels whether or not OpenCV is installed, and no warning that it is not.
            def decode_example(self, example: bytes) -> Any:
                return self.feature.decode_example_np_with_pil(example, self.feature.shape[-1])

        features = self._builder.info.features
        decoders = {
            name: Pillow() if name in images else decode.SkipDecoding()
            for name, leaf in self._leaves.items()
            if leaf.image and name in features  # not within a Sequence, where TFDS itself decodes
        }
        return self._builder.as_data_source(split=self._split, decoders=decoders)


def _check_shard(path: Path, rows: int) -> None:
    """Raise UsageError where a file of rows is damaged, or has not as many as are described."""
    from array_record.python.array_record_module import ArrayRecordReader

    if not path.is_file():
        raise damaged(path, 'it is missing')
    with reading(path):
        reader = ArrayRecordReader(str(path))
        found = reader.num_records()
        reader.close()
    if found != rows:
        raise damaged(path, f'it has {found} rows, and dataset_info.json says {rows}')


def leaves(path: tuple[str, ...], feature: Any, info: Any) -> Iterator[tuple[str, Leaf]]:
    """The arrays in a tree of features and its tensor info, by their flat names."""
    inner = getattr(feature, 'feature', feature)  # of a Sequence, what it is a sequence of
    if isinstance(info, Mapping):
        for name, part in info.items():
            yield from leaves((*path, name), inner[name], part)
        return
    dtype = object if np.dtype(info.np_dtype).kind in 'OSUV' else info.np_dtype
    yield '/'.join(path), Leaf(path, inner, tuple(info.shape), dtype)


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else [_text(item) for item in value]


def _check_split(name: str, split: str, there: Mapping[str, int]) -> None:
    for part in split.split('+'):
        plain = re.sub(r'\[.*', '', part).strip()
        if plain not in there and plain != 'all':
            raise UsageError(f'{name}: there is no split {plain!r}{nearest(plain, there)}')
