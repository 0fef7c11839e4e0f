"""The words of the launchers' command lines: a mistake is one line and exit code 2."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from jaxdl.errors import JaxdlError, UsageError, nearest


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are UsageErrors that name the nearest option."""

    def __init__(self, **settings: str) -> None:
        super().__init__(
            **settings,  # type: ignore[arg-type]
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing and leaving."""
        named, colon, wrong = message.partition('unrecognized arguments: ')
        if colon:
            options = [name for each in self._actions for name in each.option_strings]
            message = f'unknown option {wrong.split()[0]}{nearest(wrong.split()[0], options)}'
        raise UsageError(message)


def natural(text: str) -> int:
    """A number of things, one at least. Raises ArgumentTypeError."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 1 on')
    return int(text)


def split_command(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the launcher's own words, the command behind `--`). Raises UsageError where none is."""
    own, _, command = (list(part) for part in _parts(list(words)))
    if not command and not {'-h', '--help'} & set(own):
        raise UsageError('no command; it stands behind --, as in `-- jaxdl run digits`')
    return own, command


def _parts(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    at = words.index('--') if '--' in words else len(words)
    return words[:at], words[at : at + 1], words[at + 1 :]


def run_as_command(name: str, main: Callable[[list[str]], int]) -> NoReturn:
    """Leave the process with what `main` returns for its words, or the code of its error."""
    try:
        code = main(sys.argv[1:])
    except JaxdlError as error:
        print(f'{name}: {error}', file=sys.stderr)
        code = error.code
    sys.exit(code)
