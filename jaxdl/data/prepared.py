"""What TFDS has prepared under TFDS_DATA_DIR, read from its folders without importing TFDS.

TFDS trusts these folders, and says of a damaged one whatever its reader happens to raise; so they
are looked through before, and what it raises all the same becomes one line that names the file.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.errors import DataMissingError, JaxdlError, UsageError, nearest
from jaxdl.faults import unread_for
from jaxdl.files import unread


class Prepared(NamedTuple):
    """A prepared TFDS dataset: 'mnist' or 'glue/sst2', its version, its folder, rows by split."""

    name: str
    version: str
    folder: Path
    splits: Mapping[str, int]


def data_dir(variable: str, name: str) -> Path:
    """The folder an environment variable names; without it, an error that says what to do."""
    value = os.environ.get(variable)
    if not value:
        raise DataMissingError(
            f'dataset {name!r}: {variable} is not set; set it to the folder of your datasets '
            f'(export {variable}=FOLDER), then run: jaxdl data prepare {name}'
        )
    return Path(value).expanduser()


def all_prepared(folder: Path) -> list[Prepared]:
    """Every prepared dataset under NAME[/CONFIG]/VERSION, of each its newest version, by name.

    Raises UsageError, naming the file, where the description of one is damaged.
    """
    return [_read(folder, info) for _, info in sorted(newest(folder).items())]


def find(name: str) -> Prepared:
    """The prepared dataset 'mnist', 'glue/sst2' or, of one version, 'mnist:3.0.1'."""
    folder = data_dir('TFDS_DATA_DIR', name)
    plain, _, version = name.partition(':')
    there = newest(folder)
    # A dataset with a single prepared configuration needs no configuration named.
    configurations = [each for each in there if each.split('/')[0] == plain]
    if plain not in there and len(configurations) == 1:
        plain = configurations[0]
    if plain not in there:
        check_described(folder, plain)
        raise DataMissingError(
            f'dataset {name!r} is not prepared under TFDS_DATA_DIR={folder}'
            f'{nearest(name, sorted(there))}; or prepare it: jaxdl data prepare {name}'
        )
    latest = there[plain].parent.name
    if not version or version == latest:
        return _read(folder, there[plain])
    info = folder / plain / version / 'dataset_info.json'
    if not info.is_file():
        check_described(folder, f'{plain}/{version}')
        raise DataMissingError(
            f'dataset {plain!r} is prepared under TFDS_DATA_DIR={folder} in version '
            f'{latest}, not {version}; run: jaxdl data prepare {name}'
        )
    return _read(folder, info)


def check_described(folder: Path, name: str) -> None:
    """Raise UsageError where files of a dataset are there, and what describes them is not."""
    if not name or not (folder / name).is_dir():
        return
    for path in sorted((folder / name).rglob('features.json')):
        if not (path.parent / 'dataset_info.json').is_file():
            raise damaged(path.parent / 'dataset_info.json', 'it is missing')


def check_features(folder: Path) -> None:
    """Raise UsageError, naming the file, where features or the names of classes are damaged."""
    path = folder / 'features.json'
    with reading(path):
        features = json.loads(path.read_text())
        if not isinstance(features, dict) or not isinstance(features.get('pythonClassName'), str):
            raise damaged(path, 'it names no features')
        counts = dict(_class_counts(features, ()))
    for path in sorted(folder.glob('*.labels.txt')):
        with reading(path):
            text = path.read_text()
        names = [name.strip() for name in text.split('\n') if name.strip()]
        readable = text.replace('\n', '').isprintable() and text.endswith('\n')
        if not readable or len(set(names)) < len(names):
            raise damaged(path, 'these are no names of classes, a line each')
        count = counts.get(path.name.removesuffix('.labels.txt'))
        if count is not None and count != len(names):
            raise damaged(path, f'{len(names)} names of {count} classes')


def _class_counts(feature: Any, path: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """(the name of the file of names, how many) of each feature of classes in features.json."""
    if not isinstance(feature, dict):
        return
    if 'classLabel' in feature:
        yield '-'.join(path), int(feature['classLabel'].get('numClasses', 0))
    for name, inner in feature.get('featuresDict', {}).get('features', {}).items():
        yield from _class_counts(inner, (*path, name))
    yield from _class_counts(feature.get('sequence', {}).get('feature'), path)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever a reader raises of a file of a prepared dataset, as one line that names it."""
    try:
        yield
    except (JaxdlError, MemoryError):
        raise
    except Exception as error:
        if why := unread_for(error):
            raise unread(path, why) from error
        lines = str(error).splitlines()
        raise damaged(path, lines[0] if lines else type(error).__name__) from error


def damaged(path: Path, why: object) -> UsageError:
    """The line for a file of a prepared dataset that is not what it was."""
    return UsageError(f'{path} is damaged ({why}); remove its folder and prepare the dataset again')


def newest(folder: Path) -> dict[str, Path]:
    """The description of the newest version of each prepared dataset, by name; not yet read."""
    found = [*folder.glob('*/*/dataset_info.json'), *folder.glob('*/*/*/dataset_info.json')]
    ordered = sorted(found, key=lambda path: _order(path.parent.name))
    return {path.parent.parent.relative_to(folder).as_posix(): path for path in ordered}


def _read(folder: Path, path: Path) -> Prepared:
    with reading(path):
        splits = {}
        for split in json.loads(path.read_text())['splits']:
            lengths = [int(length) for length in split.get('shardLengths', [])]
            if not isinstance(split['name'], str) or min(lengths, default=0) < 0:
                raise damaged(path, f'it has no split {split["name"]!r} of {lengths} rows')
            splits[split['name']] = sum(lengths)
        if not splits:
            raise damaged(path, 'it has no splits')
    name = path.parent.parent.relative_to(folder).as_posix()
    return Prepared(name, path.parent.name, path.parent, splits)


def _order(version: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', version)]
