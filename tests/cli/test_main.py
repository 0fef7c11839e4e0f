"""How a command ends: its line, its code, and that it ends."""

import errno
import subprocess
import sys

import jax
import pytest

from jaxdl.cli import commands
from jaxdl.cli.commands import COMMANDS
from jaxdl.cli.main import main
from jaxdl.errors import UsageError
from jaxdl.run.interruption import StopAsked


@pytest.fixture
def failing(monkeypatch, capsys):
    """The (exit code, lines) of a command that raises an error, with a cause or without."""

    def end(error, cause=None):
        def fail(words):
            raise error from cause

        monkeypatch.setitem(commands.COMMANDS, 'list', COMMANDS['list']._replace(run=fail))
        code = main(['list'])
        out, err = capsys.readouterr()
        assert out == '' and err.startswith('jaxdl: ') and err.count('\n') == 1
        return code, err.removeprefix('jaxdl: ').strip()

    return end


def out_of(memory):
    return jax.errors.JaxRuntimeError(f'RESOURCE_EXHAUSTED: Out of memory allocating {memory}.')


@pytest.mark.parametrize(
    ('error', 'code', 'said'),
    [
        (out_of('8 bytes'), 1, 'the device is out of memory: fewer seeds at once (--layout loop)'),
        (MemoryError('Unable to allocate 9 TiB'), 1, 'out of memory (Unable to allocate 9 TiB)'),
        (MemoryError(), 1, 'out of memory'),
        (RuntimeError("can't start new thread"), 1, 'no more threads'),
        (OSError(errno.EMFILE, 'Too many', 'x.txt'), 1, 'x.txt: Too many'),
        (KeyboardInterrupt(), 130, 'interrupted'),
        (StopAsked(), 75, 'stopped; the same command goes on from there'),
    ],
)
def test_what_is_of_the_machine_is_one_line(failing, error, code, said):
    found, line = failing(error)
    assert found == code and line.startswith(said)


def test_a_fault_of_the_program_is_a_traceback(failing):
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError('of ours'))
    with pytest.raises(jax.errors.JaxRuntimeError):
        failing(jax.errors.JaxRuntimeError('INTERNAL: a bug'))


@pytest.mark.parametrize(
    ('raised', 'said'),
    [
        (RuntimeError("Unable to initialize backend 'rocm': ..."), 'Unable to initialize backend'),
        (AssertionError(), 'no such device is known'),
    ],
)
def test_an_absent_platform_is_one_line(failing, monkeypatch, raised, said):
    def devices():
        raise raised

    monkeypatch.setenv('JAX_PLATFORMS', 'rocm')
    # jax has it: the error is another.
    with pytest.raises(type(raised)):
        failing(raised)
    monkeypatch.setattr(jax, 'devices', devices)
    for error, cause in ((raised, None), (UsageError('mine.py:3: RuntimeError'), raised)):
        code, line = failing(error, cause)
        assert code == 2
        assert line.startswith(f'JAX_PLATFORMS=rocm: {said}') and 'JAX_PLATFORMS=cpu' in line
    # A mistake that has nothing to do with it.
    assert failing(UsageError('no arm x')) == (2, 'no arm x')


HANGS = """
import sys, threading, time
from jaxdl.cli import main as cli
from jaxdl.errors import JaxdlError

def fails(words):
    threading.Thread(target=time.sleep, args=[600]).start()
    if words == ['threads']:
        def start(self):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = start
    if words != ['done']:
        raise JaxdlError('cannot save')

cli._dispatch, cli.GRACE = fails, 0.2
sys.exit(cli.main())
"""


@pytest.mark.parametrize(('word', 'code'), [('hangs', 1), ('threads', 1), ('done', 0)])
def test_a_process_ends_whatever_its_threads_do(word, code):
    words = [sys.executable, '-c', HANGS, word]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code
    assert ended.stderr == ('jaxdl: cannot save\n' if code else '')


def test_nothing_large_is_imported_before_a_command_is_read():
    look = 'import sys, jaxdl.cli.main; print(*{"jax", "numpy", "rich", "tyro"} & {*sys.modules})'
    words = [sys.executable, '-c', look]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == '\n'
