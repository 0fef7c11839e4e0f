"""Errors a person can act on, each with the exit code of the process that dies of it."""

import difflib
from collections.abc import Iterable

LISTED = 40  # names in one line


class JaxdlError(Exception):
    """An error whose message is one line for a person: shown without a traceback."""

    code = 1


class UsageError(JaxdlError):
    """The user asked for something that cannot be: names the thing, the value, what is allowed."""

    code = 2


class DataMissingError(UsageError):
    """A dataset is not prepared: the message names the command that prepares it."""


class PreemptedError(JaxdlError):
    """SIGTERM: everything is saved, start the same command again."""

    code = 75


class LostPeerError(JaxdlError):
    """Another process of the run is gone or silent, or no step ends: start the command again."""

    code = 76


class CheckpointError(JaxdlError):
    """No checkpoint in the folder is valid."""

    code = 77


class DivergedError(JaxdlError):
    """A loss became NaN or infinite: the message names the step and the seed."""

    code = 78


class InterruptedRunError(JaxdlError):
    """Ctrl-C: everything is saved."""

    code = 130


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The end of an error line: ``; did you mean 'lenet'? (allowed: lenet, mlp)``.

    Of many names, such as the arrays of a network, only the beginning is listed.
    """
    allowed = list(allowed)
    if not allowed:
        return '; there are none'
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    guess = f'; did you mean {close[0]!r}?' if close else ';'
    more = [f'and {len(allowed) - LISTED} more'] if len(allowed) > LISTED + 1 else []
    shown = allowed[:LISTED] if more else allowed
    return f'{guess} (allowed: {", ".join([*shown, *more])})'


def closest(number: int, of: int) -> int:
    """The divisor of `of` that is nearest to a number, the larger of two."""
    divisors = [d for d in range(1, of + 1) if of % d == 0]
    return min(divisors, key=lambda d: (abs(d - number), -d))
