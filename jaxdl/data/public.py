"""Public datasets that TFDS does not have: files under JAXDL_DATA_DIR/NAME, one loader for each.

A module in `jaxdl/data/sets` is a dataset if it has a `SET`; nothing else needs to be registered.
"""

import hashlib
import importlib
import os
import pkgutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxdl.data.card import Card
from jaxdl.data.prepared import data_dir
from jaxdl.data.table import Table
from jaxdl.errors import DataMissingError, JaxdlError


class Download(NamedTuple):
    """A file at a public address, and its SHA-256."""

    url: str
    sha256: str


class PublicSet(NamedTuple):
    """A dataset of files: what it is, where it is from, under which licence, and how it is read.

    load(split) -> Table: of the splits' names; `splits` tells how many rows each has.
    """

    name: str
    about: str
    source: str
    licence: str
    files: Mapping[str, Download]
    splits: Mapping[str, int]
    load: Callable[[str], Table]


def card_of(known: PublicSet) -> Card:
    """The card of such a dataset."""
    return Card(known.name, known.source, licence=known.licence, about=known.about)


def public_sets() -> dict[str, PublicSet]:
    """All of them by name."""
    from jaxdl.data import sets

    modules = [
        importlib.import_module(f'{sets.__name__}.{module.name}')
        for module in pkgutil.iter_modules(sets.__path__)
    ]
    return {module.SET.name: module.SET for module in modules if hasattr(module, 'SET')}


def locate(name: str, file: str) -> Path:
    """The path of a file of a dataset under JAXDL_DATA_DIR."""
    folder = data_dir('JAXDL_DATA_DIR', name)
    path = folder / name / file
    if not path.is_file():
        raise DataMissingError(
            f'dataset {name!r} is not under JAXDL_DATA_DIR={folder}: {name}/{file} is missing; '
            f'run: jaxdl data prepare {name}'
        )
    return path


def download(dataset: PublicSet) -> Path:
    """Fetch the files that are not there yet, each checked before it gets its name."""
    folder = data_dir('JAXDL_DATA_DIR', dataset.name) / dataset.name
    folder.mkdir(parents=True, exist_ok=True)
    for file, (url, sha256) in dataset.files.items():
        path = folder / file
        if path.is_file():
            continue
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                content = response.read()
        except (urllib.error.URLError, TimeoutError) as error:
            raise JaxdlError(f'{dataset.name}: {url} cannot be fetched: {error}') from error
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise JaxdlError(f'{dataset.name}: {url} has SHA-256 {found}, not {sha256}; not kept')
        path.parent.mkdir(parents=True, exist_ok=True)  # a file may lie in a folder of the set
        partial = path.with_name(f'{path.name}.{os.getpid()}.part')
        partial.write_bytes(content)
        partial.replace(path)
    return folder
