"""The command line: `jaxdl COMMAND ...`. Every mistake is one line and exit code 2."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence

from jaxdl import __version__
from jaxdl.cli.commands import COMMANDS
from jaxdl.cli.pipes import forgive_readers
from jaxdl.errors import JaxdlError, UsageError, nearest


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code of the process."""
    return _run(_dispatch, list(sys.argv[1:] if argv is None else argv))


def _run(command: Callable[[list[str]], int | None], words: list[str]) -> int:
    """A command with its words; a person's mistakes, and the system's, become one line."""
    debug = '--debug' in words
    words = [word for word in words if word != '--debug']
    with forgive_readers(), _said():
        try:
            return command(words) or 0
        except (JaxdlError, OSError, KeyboardInterrupt) as error:
            if debug:
                raise
            line, code = _line(error)
            print(f'jaxdl: {line}', file=sys.stderr)
            return code


def run_script(command: Callable[[list[str]], None]) -> None:
    """What a file of `experiments` ends with that is a command of its own, and no study."""
    sys.exit(_run(command, sys.argv[1:]))


def _line(error: BaseException) -> tuple[str, int]:
    """An error as one line for a person, and the exit code."""
    match error:
        case JaxdlError():
            return str(error), error.code
        case OSError():
            where = f'{error.filename}: ' if error.filename else ''
            return f'{where}{error.strerror or error}', 1
    return 'interrupted', 130


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What modules log is said on the terminal."""
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
    commands = {f'{name} {each.words}'.strip(): each.about for name, each in COMMANDS.items()}
    width = max(map(len, commands)) + 2
    lines = [f'  {words:<{width}}{about}' for words, about in commands.items()]
    return '\n'.join(
        ['usage: jaxdl COMMAND ...', '', *lines, '', 'Every command has --help, and --debug.']
    )


if __name__ == '__main__':
    sys.exit(main())
