"""Files that are written whole or not at all, and say in one line what is wrong with them.

JSON that we write is sealed: it holds a digest of what else it holds, so that a changed byte is no
other number, but an error.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxdl.errors import JaxdlError


def unread(path: Path, why: object) -> JaxdlError:
    """The line for a file that cannot be read now, whatever is in it. why: an error, or words."""
    if isinstance(why, OSError):
        why = why.strerror or why
    return JaxdlError(f'{path} cannot be read: {why}')


SEAL = 'seal'
RESTORE = 'put a copy of it back, or take another --workdir'
_TEMPORARY = re.compile(r'\..+\.tmp')
_HOUR = 3600.0


def read_json(path: Path, *, sealed: bool = True, remedy: str = RESTORE) -> Any:
    """The content of a JSON file, without its seal.

    sealed: False is for files that people may write; where they have a seal it must still fit.
    remedy: what a person can do about a changed file.
    Raises JaxdlError where it cannot be read, is no JSON, or is not what `write_json` wrote.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise JaxdlError(f'{path} cannot be read: {error.strerror}') from error
    except ValueError as error:  # of the text's encoding too
        raise JaxdlError(f'{path} is damaged; it is not JSON: {error}; {remedy}') from error
    if not sealed and not (isinstance(content, dict) and SEAL in content):
        return content
    return unseal(content, path, remedy=remedy)


def write_json(path: Path, payload: Any, *, sealed: bool = True) -> None:
    """Write a JSON file whole or not at all; a sealed one must hold an object."""
    content = jsonable(payload)
    text = json.dumps(seal(content) if sealed else content, indent=2, allow_nan=False) + '\n'
    write_bytes(path, text.encode())


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """An object of JSON with a digest of it; a seal that it had is replaced."""
    bare = {name: value for name, value in content.items() if name != SEAL}
    return {**bare, SEAL: _seal_of(bare)}


def unseal(content: Any, what: object, *, remedy: str = RESTORE) -> dict[str, Any]:
    """The object without its seal. Raises JaxdlError where it has none or it does not fit."""
    if not isinstance(content, dict) or SEAL not in content:
        raise JaxdlError(f'{what} has no seal: an older jaxdl or someone else wrote it; {remedy}')
    bare = {name: value for name, value in content.items() if name != SEAL}
    if content[SEAL] != _seal_of(bare):
        raise JaxdlError(f'{what} was changed since it was written; {remedy}')
    return bare


def _seal_of(bare: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(bare).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str | None:
    """The sha256 of a file's bytes; None if there is no file."""
    try:
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except FileNotFoundError:
        return None


def digest_of_arrays(arrays: Mapping[str, Any]) -> str:
    """The sha256 over the names, types, shapes and values of arrays, in the order of names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f'{name}\0{array.dtype}\0{array.shape}\0'.encode())
        total.update(array.tobytes())
    return total.hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made where it is missing."""
    _write(path, lambda file: file.write(content))


def jsonable(value: Any) -> Any:
    """`value` as JSON has it: numpy as plain numbers and lists, NaN and infinity as null."""
    match value:
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case np.generic():
            return value.item()
        case np.ndarray():
            return jsonable(value.tolist())
        case Mapping():
            return {str(key): jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [jsonable(item) for item in value]
        case Path():
            return str(value)
    return value


def _write(path: Path, content: Callable[[IO[bytes]], object]) -> None:
    """Write to a temporary file that then takes the place of `path`: a reader never sees a part."""
    # Of one's own: several processes may write the same file, and each is whole.
    temporary = path.with_name(f'.{os.getpid()}-{secrets.token_hex(4)}.tmp')
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open('wb') as file:
                content(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        # The rename is on the disk only when its folder is.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_temporaries(folder: Path, *, mine: bool, leave: str | None = None) -> None:
    """Remove the temporary files that dead processes left in `folder` and in folders below.

    mine: nobody else writes here now, the caller holds the lock. Otherwise a file that is an hour
    old is taken for a dead one's: to write one takes seconds. leave: a folder not to look into.
    """
    now = time.time()
    with writing(folder):
        for parent, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name != leave]
            for path in (Path(parent, name) for name in names if _TEMPORARY.fullmatch(name)):
                with contextlib.suppress(FileNotFoundError):
                    if mine or now - path.lstat().st_mtime > _HOUR:
                        path.unlink()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name; none if there is no file."""
    try:
        # Opened here: numpy leaves a file open that it cannot read.
        with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in sorted(arrays.files)}
    except FileNotFoundError:
        return {}
    except Exception as error:  # zip, zlib, numpy and ast have each their own
        # A place to read from that is no place, as the zip has it, is an invalid argument.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise unread(path, error) from error
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> JaxdlError:
    why = ' '.join(str(error).split()) or type(error).__name__
    return JaxdlError(f'{path} is damaged: {why}; {RESTORE}')


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a .npz file whole or not at all."""
    named: dict[str, Any] = dict(arrays)
    _write(path, lambda file: np.savez(file, **named))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A full disk or a folder that cannot be written, as one line for a person."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise JaxdlError(f'cannot write {where}: {error.strerror or error}') from error
