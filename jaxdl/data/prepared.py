"""What TFDS has prepared under TFDS_DATA_DIR, read from its folders without importing TFDS."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jaxdl.errors import DataMissingError, UsageError, nearest


class Prepared(NamedTuple):
    """A prepared TFDS dataset: 'mnist' or 'glue/sst2', its version, its folder, rows by split."""

    name: str
    version: str
    folder: Path
    splits: Mapping[str, int]

    @property
    def audio(self) -> bool:
        """Whether it has features that TFDS can build only with TensorFlow."""
        return 'audio_feature.Audio' in (self.folder / 'features.json').read_text()


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
    """Every prepared dataset under NAME[/CONFIG]/VERSION, of each its newest version, by name."""
    newest: dict[str, Prepared] = {}
    found = [*folder.glob('*/*/dataset_info.json'), *folder.glob('*/*/*/dataset_info.json')]
    for info in sorted(found, key=lambda path: _order(path.parent.name)):
        each = _read(folder, info)
        newest[each.name] = each
    return [newest[name] for name in sorted(newest)]


def find(name: str) -> Prepared:
    """The prepared dataset 'mnist', 'glue/sst2' or, of one version, 'mnist:3.0.1'."""
    folder = data_dir('TFDS_DATA_DIR', name)
    plain, _, version = name.partition(':')
    there = {each.name: each for each in all_prepared(folder)}
    # A dataset with a single prepared configuration needs no configuration named.
    configurations = [each for each in there if each.split('/')[0] == plain]
    if plain not in there and len(configurations) == 1:
        plain = configurations[0]
    if plain not in there:
        raise DataMissingError(
            f'dataset {name!r} is not prepared under TFDS_DATA_DIR={folder}'
            f'{nearest(name, there)}; or prepare it: jaxdl data prepare {name}'
        )
    if not version or version == there[plain].version:
        return there[plain]
    info = folder / plain / version / 'dataset_info.json'
    if not info.is_file():
        raise DataMissingError(
            f'dataset {plain!r} is prepared under TFDS_DATA_DIR={folder} in version '
            f'{there[plain].version}, not {version}; run: jaxdl data prepare {name}'
        )
    return _read(folder, info)


def _read(folder: Path, path: Path) -> Prepared:
    try:
        info = json.loads(path.read_text())
        splits = {s['name']: sum(map(int, s.get('shardLengths', []))) for s in info['splits']}
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f'{path} is damaged ({error}); prepare the dataset again') from error
    name = path.parent.parent.relative_to(folder).as_posix()
    return Prepared(name, path.parent.name, path.parent, splits)


def _order(version: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', version)]
