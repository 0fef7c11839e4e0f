"""Where it is written what a run computes: an experiment's text and imports, and the files it read.

Looking here is cheap. Where nothing here has changed, a finished run is believed; where something
has, `jaxdl.engine.identity` tells whether it computes something else.
"""

import functools
import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from jaxdl.blame import PACKAGE, is_installed
from jaxdl.files import write_bytes
from jaxdl.nn.layers import cpu_formulations
from jaxdl.run import machine

# What of jax's configuration changes numbers, and what says where data are.
NUMERIC = ('jax_default_matmul_precision', 'jax_default_prng_impl', 'jax_threefry_partitionable')
FOLDERS = ('TFDS_DATA_DIR', 'JAXDL_DATA_DIR')


class _Reader:
    """The files that were opened while it listened, over the life of the process."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self._listens = self._hooked = False

    @contextmanager
    def listen(self) -> Iterator[None]:
        if not self._hooked:  # for good: Python has no way to take a hook away
            sys.addaudithook(self._note)
            self._hooked = True
        before, self._listens = self._listens, True
        try:
            yield
        finally:
            self._listens = before

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if self._listens and event == 'open' and isinstance(args[0], str | os.PathLike):
            self.opened.add(os.path.abspath(args[0]))


_reader = _Reader()
reading = _reader.listen  # around what reads data: a trial says nowhere from which files


def look(experiment: Path) -> dict[str, Any]:
    """What can be compared without reading any data, for JSON."""
    return {
        **_setting(experiment),
        'imports': {str(path): _digest(path) for path in imports(experiment)},
        'files': {
            name: mark
            for name in sorted(_reader.opened)
            if not name.endswith(('.py', '.pyc')) and (mark := _mark(name))
        },
    }


def is_unchanged(old: Mapping[str, Any], experiment: Path) -> bool:
    """Whether all that an older look saw is still so."""
    # This process may have imported and opened less: the arm has not run in it, or more: others.
    if not {str(path) for path in imports(experiment)} <= old['imports'].keys():
        return False
    return old == {
        **_setting(experiment),
        'imports': {name: _digest(Path(name)) for name in old['imports'] if _mark(name)},
        'files': {name: _mark(name) for name in old['files']},
    }


def _setting(experiment: Path) -> dict[str, Any]:
    """What can be looked at before anything is imported or opened for a run."""
    return {
        'platform': jax.default_backend(),
        'x64': bool(jax.config.read('jax_enable_x64')),
        'jax': {name: str(getattr(jax.config, name)) for name in NUMERIC},
        'data': {name: os.environ.get(name) for name in FOLDERS},
        'layers': layers(),
        'versions': machine.versions(),
        'jaxdl': _digest_of_jaxdl(),
        'experiment': _digest(experiment),
    }


def layers() -> str:
    """Which formulations of layers are taken."""
    return 'formulations for CPU' if cpu_formulations() else 'plain'


@functools.cache
def _digest_of_jaxdl() -> str:
    """Once a process: each arm is looked at, and what has been imported does not change."""
    return _digest(*sorted(PACKAGE.rglob('*.py')))


def imports(experiment: Path) -> list[Path]:
    """The modules of an experiment's own that have been imported, but for its file."""
    roots = {experiment.resolve().parent, Path.cwd().resolve()}
    files = {getattr(module, '__file__', None) for module in [*sys.modules.values()]}
    paths = {_of_ones_own(os.path.abspath(file)) for file in files if file and file.endswith('.py')}
    mine = experiment.resolve()
    return sorted(
        path for path in paths if path is not None and path != mine and roots & {*path.parents}
    )


@functools.cache
def _of_ones_own(file: str) -> Path | None:
    """The path of a module's file; None of jaxdl's, and of what is installed.

    Once a process for each of the thousands of modules that there are: a run is looked at often.
    """
    path = Path(file).resolve()
    return None if PACKAGE in path.parents or is_installed(path) else path


def keep_source(folder: Path, experiment: Path) -> None:
    """Copy the file of an experiment, and what it imports of its own, to `folder`/source."""
    for path in (experiment, *imports(experiment)):
        write_bytes(folder / 'source' / path.name, path.read_bytes())


def _mark(name: str) -> list[int] | None:
    """The size and the time of a file of data; None for anything else."""
    path = Path(name)
    if is_installed(path):
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns] if stat.S_ISREG(found.st_mode) else None


def _digest(*paths: Path) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b'\0' + path.read_bytes() + b'\0')
    return total.hexdigest()
