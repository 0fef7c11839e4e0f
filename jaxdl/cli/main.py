"""The command line: `jaxdl COMMAND ...`. Every mistake is one line and exit code 2.

Imported in a moment: from then on a signal that asks to stop is heeded, and what commands need
is imported once they are read.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from jaxdl import __version__
from jaxdl.cli.pipes import forgive_readers
from jaxdl.errors import InterruptedRunError, JaxdlError, PreemptedError, UsageError, nearest
from jaxdl.faults import chain, machine_fault
from jaxdl.run.interruption import (
    INTERRUPTED,
    STOPPED,
    StopAsked,
    end_when_asked,
    ignore_signals,
    preemptible,
)

PATIENCE = 5.0  # seconds that a run waits for a reader that does not read
GRACE = 5.0  # seconds that a process has to end, once its command has


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code of the process.

    Without `argv` the command is the process's own: it ends soon after, whatever its threads do.
    """
    if argv is not None:
        with preemptible():
            return _run(_dispatch, list(argv))
    code = 1  # of what is not foreseen
    end_when_asked()
    try:
        code = _run(_dispatch, sys.argv[1:])
    finally:
        ignore_signals()
        _end_soon(code)
    return code


def _run(command: Callable[[list[str]], int | None], words: list[str]) -> int:
    """A command with its words; a person's mistakes, and the system's, become one line."""
    debug = '--debug' in words
    words = [word for word in words if word != '--debug']
    # What only shows something may be read page by page, for as long as one likes.
    patience = PATIENCE if words[:1] == ['run'] else None
    with forgive_readers(patience):
        try:
            with _said():
                return command(words) or 0
        except (Exception, KeyboardInterrupt) as error:
            found = error_line(error)
            if debug or found is None:
                raise
            print(f'jaxdl: {found[0]}', file=sys.stderr)
            return found[1]


def run_script(command: Callable[[list[str]], None]) -> None:
    """What a file of `experiments` ends with that is a command of its own, and no study."""
    with preemptible():
        sys.exit(_run(command, sys.argv[1:]))


def _end_soon(code: int) -> None:
    """End the process even if threads hang that it would wait for, as orbax's after an error."""
    last = threading.Timer(GRACE, os._exit, [code])
    last.daemon = True
    try:
        last.start()
    except RuntimeError:  # not one thread is left
        os._exit(code)


def error_line(error: BaseException) -> tuple[str, int] | None:
    """An error as one line for a person, and the exit code; None for a fault of the program."""
    if missing := _missing_platform(error):
        return missing, UsageError.code
    match error:
        case JaxdlError():
            return str(error), error.code
        case StopAsked():
            return STOPPED, PreemptedError.code
        case KeyboardInterrupt():
            return INTERRUPTED, InterruptedRunError.code
        case OSError():
            where = f'{error.filename}: ' if error.filename else ''
            return f'{where}{error.strerror or error}', 1
    if fault := machine_fault(error):
        what = ' '.join(str(error).split())[:200]
        ways = ': fewer seeds at once (--layout loop), or smaller micro-batches (--accumulate 2)'
        help = ways * ('device' in fault)
        return f'{fault}{help}' + f' ({what})' * bool(what), 1
    return None


def _missing_platform(error: BaseException) -> str | None:
    """What to say where JAX_PLATFORMS names what this machine has not."""
    wanted = os.environ.get('JAX_PLATFORMS')
    found = any(isinstance(each, RuntimeError | AssertionError) for each in chain(error))
    if not wanted or not found or 'jax' not in sys.modules:
        return None
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as why:  # the latter where it has no plugin for it
        words = ' '.join(str(why).split()) or 'no such device is known'
        return f'JAX_PLATFORMS={wanted}: {words}; unset it, or set JAX_PLATFORMS=cpu'
    return None


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What modules log is said on the terminal."""
    import logging

    log, lines = logging.getLogger('jaxdl'), logging.StreamHandler()
    before = log.level, log.propagate
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    log.propagate = False  # libraries give the root handlers, which would say it again
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.setLevel(before[0])
        log.propagate = before[1]


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ('-h', '--help', 'help'):
        print(usage())
        return 0 if words else 2
    if words[0] == '--version':
        print(f'jaxdl {__version__}')
        return 0
    from jaxdl.cli.commands import COMMANDS

    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise UsageError(f'unknown command {name!r}{nearest(name, COMMANDS)}')
    try:
        COMMANDS[name].run(rest)
    except SystemExit as stop:
        if stop.code:
            raise
    return 0  # done, or --help was printed


def usage() -> str:
    """The commands, a line each."""
    from jaxdl.cli.commands import COMMANDS

    commands = {f'{name} {each.words}'.strip(): each.about for name, each in COMMANDS.items()}
    width = max(map(len, commands)) + 2
    lines = [f'  {words:<{width}}{about}' for words, about in commands.items()]
    return '\n'.join(
        ['usage: jaxdl COMMAND ...', '', *lines, '', 'Every command has --help, and --debug.']
    )


if __name__ == '__main__':
    sys.exit(main())
