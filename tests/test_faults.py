"""What is the machine's fault, and what is not."""

import errno
import os

import jax
import pytest

from jaxdl.faults import chain, machine_fault, unread_for

MACHINE = [
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.EINTR),
    *(errno.ENOSPC, errno.EDQUOT, errno.ETIMEDOUT, errno.EAGAIN, errno.ENODEV),
]
PATHS = [errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EROFS]


def told(code):
    """As the system says it, and as tensorstore and those who wrap errors do."""
    yield OSError(code, os.strerror(code), 'x')
    yield ValueError(f"UNKNOWN: Error reading x: {os.strerror(code)} [os_error_code='{code}']")
    yield ExceptionGroup('two', [KeyError('x'), OSError(code, os.strerror(code))])
    for wrap in ('cause', 'context'):
        try:
            try:
                raise OSError(code, os.strerror(code))
            except OSError as first:
                if wrap == 'cause':
                    raise ValueError('cannot read') from first
                raise ValueError('cannot read')  # noqa: B904
        except ValueError as error:
            yield error


@pytest.mark.parametrize('code', MACHINE, ids=errno.errorcode.get)
def test_what_the_machine_lacks_is_its_fault(code):
    assert [machine_fault(error) for error in told(code)] == [os.strerror(code)] * 5


@pytest.mark.parametrize('code', PATHS, ids=errno.errorcode.get)
def test_a_wrong_path_is_not(code):
    assert [machine_fault(error) for error in told(code)] == [None] * 5


@pytest.mark.parametrize(
    ('error', 'fault'),
    [
        (MemoryError(), 'out of memory'),
        (RuntimeError("can't start new thread"), 'no more threads'),
        (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: x'), 'the device is out of memory'),
        (jax.errors.JaxRuntimeError('INTERNAL: x'), None),
        (ValueError('RESOURCE_EXHAUSTED is a word'), None),
        (OSError('without a number'), None),
        (ImportError('x.so: cannot open it: Too many open files'), 'Too many open files'),
        (ImportError('cannot import name x'), None),
        (None, None),
    ],
)
def test_other_errors(error, fault):
    assert machine_fault(error) == fault


@pytest.mark.parametrize(
    ('error', 'why'),
    [
        *((OSError(code, os.strerror(code), 'x'), os.strerror(code)) for code in MACHINE),
        (RuntimeError('x: Too many open files'), 'Too many open files'),  # as C++ says it
        (RuntimeError('x: Stale file handle [2]'), 'Stale file handle'),
        (PermissionError(errno.EACCES, 'Permission denied', 'x'), 'Permission denied'),
        (FileNotFoundError(errno.ENOENT, 'No such file', 'x'), None),
        (MemoryError(), None),  # which a header that is damaged may ask for
        (ValueError('no such magic'), None),
    ],
)
def test_why_a_file_was_not_read(error, why):
    assert unread_for(error) == why


def test_errors_that_were_raised_in_a_circle():
    first, second = ValueError('first'), ValueError('second')
    first.__context__, second.__context__ = second, first
    assert list(chain(first)) == [first, second]
    assert machine_fault(first) is None
    second.__cause__ = OSError(errno.EIO, os.strerror(errno.EIO))
    assert machine_fault(first) == os.strerror(errno.EIO)
