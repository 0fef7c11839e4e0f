"""Whose fault an error is: the machine's, for the moment, or that of what was asked for or read."""

import errno
import os
import re
from collections.abc import Iterator

# What the system says of a path that is wrong. Everything else that it says is of the machine: no
# handles, no memory, no space, a disk or a network that fails, an interrupted call.
_OF_THE_PATH = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
}
_OF_JAX = ('JaxRuntimeError', 'XlaRuntimeError')  # by name: jax need not be imported to ask
# All that is left of it where a shared library is not loaded, and in errors of C++.
_IN_WORDS = tuple(
    map(os.strerror, (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE))
)


def machine_fault(error: BaseException | None) -> str | None:
    """What the machine lacked, 'Too many open files'; None where an error is no fault of it.

    The same thing may well succeed a moment later. Errors that were raised from others, or while
    others were handled, are as good as these; so is a system's code in the text of a library.
    """
    return next(filter(None, map(_fault, chain(error))), None)


def unread_for(error: BaseException) -> str | None:
    """What kept a file from being read, whatever is in it; None where its content is to blame.

    A fault of the machine, also in words alone, or no permission. What is damaged may ask for any
    amount of memory.
    """
    if isinstance(error, MemoryError):
        return None
    words = (*_IN_WORDS, os.strerror(errno.EACCES))
    return machine_fault(error) or next((it for it in words if it in str(error)), None)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from or while handling, and so on; each once.

    Libraries that raise a stored error again make circles of them.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _fault(error: BaseException) -> str | None:
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(machine_fault, error.exceptions)), None)
    if isinstance(error, MemoryError):
        return 'out of memory'
    text = str(error)
    if isinstance(error, ImportError):
        return next((words for words in _IN_WORDS if text.endswith(words)), None)
    if isinstance(error, OSError):
        found = error.errno
    elif code := re.search(r"os_error_code='(\d+)'", text):  # as tensorstore has it
        found = int(code[1])
    elif any(kind.__name__ in _OF_JAX for kind in type(error).__mro__):
        return 'the device is out of memory' if 'RESOURCE_EXHAUSTED' in text else None
    else:
        return 'no more threads' if "can't start new thread" in text else None
    return None if found is None or found in _OF_THE_PATH else os.strerror(found)
