"""Files that are written whole or not at all, and say in one line what is wrong with them."""

import contextlib
import errno
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxdl.errors import JaxdlError

# What the machine, and no file, is to blame for: it may be readable a moment later.
MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.EACCES)


def unread(path: Path, error: OSError) -> JaxdlError:
    """The line for a file that the machine cannot read now, whatever is in it."""
    return JaxdlError(f'{path} cannot be read: {error.strerror or error}')


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise JaxdlError(f'{path} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise JaxdlError(f'{path} is damaged; it is not JSON: {error}') from error


def write_json(path: Path, payload: Any) -> None:
    """Write a JSON file whole or not at all."""
    text = json.dumps(jsonable(payload), indent=2, allow_nan=False) + '\n'
    write_bytes(path, text.encode())


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
    temporary = path.with_name(f'.{path.name}.tmp')
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


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name; none if there is no file."""
    if not path.exists():
        return {}
    try:
        # Opened here: numpy leaves a file open that it cannot read.
        with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in sorted(arrays.files)}
    except Exception as error:  # whatever is raised of a file that is cut or garbled
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise unread(path, error) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise JaxdlError(f'{path} is damaged: {reason}') from error


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
