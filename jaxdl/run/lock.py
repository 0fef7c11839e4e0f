"""One run a folder: a lock the operating system releases when its process dies, however it dies."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxdl.errors import JaxdlError, UsageError
from jaxdl.faults import machine_fault
from jaxdl.files import remove_temporaries

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The sole right to write in `folder` (made if missing) while the context is open.

    The right is an flock on `folder`/LOCK, whose text says who holds it. The file stays behind:
    without a live process it means nothing, and unlinking it could hand the right to two runs.
    What dead processes were writing when they died is removed (`checkpoints` sees to its own).

    Raises:
        UsageError: another process holds the folder, or it cannot be written or locked.
        JaxdlError: the machine fails: no handles, no space.
    """
    path = folder / 'LOCK'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        kind = JaxdlError if machine_fault(error) else UsageError
        raise kind(f'cannot write in {folder}: {error.strerror}') from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f'{folder} is in use by {_holder(path)}') from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise UsageError(
                f'{folder} is on a file system without locks ({error.strerror}): '
                'choose another folder with --workdir'
            ) from error
        me = {
            'pid': os.getpid(),
            'host': socket.gethostname(),
            'since': time.strftime('%Y-%m-%d %H:%M:%S'),
        }
        os.ftruncate(file, 0)
        os.write(file, json.dumps(me).encode())
        remove_temporaries(folder, mine=True, leave='checkpoints')
        yield
    finally:
        os.close(file)  # which releases the lock


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f'process {holder["pid"]} on {holder["host"]} since {holder["since"]}'
    except (OSError, ValueError, KeyError, TypeError):
        # It holds the lock and has not written its name yet.
        return 'another process that has just started'
