"""Where an exception arose: the line of a person's own file, and one line that says what it was.

What an experiment gives to jaxdl is called from inside it, and traced by jax, far from the file in
which it stands. The deepest frame of a person's own is what the person can change.
"""

import re
import site
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jaxdl
from jaxdl.errors import JaxdlError, UsageError, nearest
from jaxdl.faults import machine_fault

PACKAGE = Path(jaxdl.__file__).resolve().parent
INSTALLED = {
    Path(folder).resolve()
    for folder in (*site.getsitepackages(), *sysconfig.get_paths().values(), '/proc', '/dev')
}
LONGEST = 300  # characters of what was raised
DEBUG = '--debug shows the traceback'


def is_installed(path: Path) -> bool:
    """Whether a file came with Python or with a package, or is the system's."""
    return 'site-packages' in path.parts or not INSTALLED.isdisjoint(path.parents)


def own_line(error: BaseException, folders: Sequence[Path] = (Path('/'),)) -> str | None:
    """The deepest line of a person's own files that an exception came through, 'mine.py:12'.

    folders: only files in one of these are looked at.
    """
    if isinstance(error, SyntaxError) and error.filename and _is_own(error.filename):
        return f'{shown(error.filename)}:{error.lineno}'
    lines = [
        f'{shown(frame.filename)}:{frame.lineno}'
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_own(frame.filename) and {*Path(frame.filename).absolute().parents} & {*folders}
    ]
    return lines[-1] if lines else None


def blamed(error: BaseException, *, where: str, help: str = '') -> BaseException:
    """What to raise for an exception out of a person's own code: one line that says where.

    where: what was being done, 'phase 0, the step', or the file, said where no line is known.
    help: the end of the line. Errors for a person, and the machine's faults, are raised as they
    are, and so is what asks the process to stop.
    """
    if isinstance(error, JaxdlError | KeyboardInterrupt) or machine_fault(error):
        return error
    line = own_line(error)
    if line is None:
        line, inside = where, _inside(error)
    else:
        inside = '' if line.startswith(f'{where}:') else where
    text = said(error)
    what = type(error).__name__ + (f': {text}' if text else '')
    notes = [note for note in (inside, DEBUG) if note]
    return UsageError(f'{line}: {what}{help} ({"; ".join(notes)})')


@contextmanager
def blaming(where: str, columns: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Blame what is raised in here; see `blamed`. columns: those of the batch at hand, if any."""
    try:
        yield
    except BaseException as error:
        found = blamed(error, where=where, help=_columns(error, columns or {}))
        if found is error:
            raise
        raise found from error


@contextmanager
def blaming_own() -> Iterator[None]:
    """Blame what an experiment raises in here, or what lies beside it; all else passes as it is."""
    try:
        yield
    except BaseException as error:
        beside = [
            Path(str(module.__file__)).absolute().parent
            for name, module in [*sys.modules.items()]
            if name.startswith('experiments.') and getattr(module, '__file__', None)
        ]
        if own_line(error, [Path.cwd(), *beside]) is None:
            raise
        found = blamed(error, where='')
        if found is error:
            raise
        raise found from error


def _columns(error: BaseException, columns: Mapping[str, Any]) -> str:
    """Which columns a batch has, where an exception asked for one that it has not."""
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    if not columns or not isinstance(key, str) or key in columns:
        return ''
    return f'; of the columns of the batch{nearest(key, columns).removeprefix(";")}'


def said(error: BaseException) -> str:
    """The message of an exception as one line: the first of several that means something."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    lines = [' '.join(line.split()) for line in text.split('\n')]
    lines = [line for line in lines if line]
    if not lines:
        return ''
    first = ' '.join(lines[:2]) if lines[0].endswith(':') else lines[0]
    first = re.sub(r' *\(https?://\S*\)?', '', first)  # where Flax explains its errors
    return first if len(first) <= LONGEST else first[:LONGEST] + '...'


def at(what: str, fn: Callable[..., Any]) -> str:
    """What a function is, and where it stands if it is a person's own: 'the loss (mine.py:12)'."""
    code: Any = getattr(fn, '__code__', None)
    if code is None or not _is_own(code.co_filename):
        return what
    return f'{what} ({shown(code.co_filename)}:{code.co_firstlineno})'


def shown(file: str | Path) -> Path:
    """A path as short as it can be told: from the working directory, if it is in there."""
    path, here = Path(file).absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _is_own(file: str) -> bool:
    path = Path(file).absolute()
    return not file.startswith('<') and PACKAGE not in path.parents and not is_installed(path)


def _inside(error: BaseException) -> str:
    """Of an exception that came through no file of a person's own, the line of jaxdl's."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents]
    ours = [frame for frame in ours if Path(frame.filename) != Path(__file__)]
    if not ours:
        return ''
    module = Path(ours[-1].filename).relative_to(PACKAGE.parent).with_suffix('')
    return f'in {".".join(module.parts)}, line {ours[-1].lineno}'
