"""Being asked to stop: SIGTERM and its like, and Ctrl-C, in the middle of a run and around it.

One rule: as soon as jaxdl's handler stands, which is before anything large is imported, each of
SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2, once or many times, ends a process with 75, and what there is
to save is saved. Earlier, in the first tenth of a second, it dies of the signal.
"""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jaxdl.errors import InterruptedRunError, JaxdlError, PreemptedError

# What schedulers and terminals send to say that the end is near.
ASKING = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
STOPPED = 'stopped; the same command goes on from there'
INTERRUPTED = 'interrupted'
Handlers = dict[signal.Signals, Callable[[int, FrameType | None], Any]]


class StopAsked(KeyboardInterrupt):
    """A signal came where there is nothing to save.

    No Exception: it comes in the middle of anything, and nobody may take it for their own error.
    """


@contextmanager
def note_signals() -> Iterator[list[int]]:
    """The signals received so far: to be asked, and the first Ctrl-C, is noted; a second stops."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT in received:
            raise KeyboardInterrupt
        received.append(number)
        if number == signal.SIGINT:
            tell('\nstopping at the next look; Ctrl-C again stops without saving\n')

    with _handled({number: note for number in (*ASKING, signal.SIGINT)}):
        yield received


@contextmanager
def preemptible() -> Iterator[None]:
    """To be asked to stop raises StopAsked: for the time before, between and after the arms."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StopAsked

    with _handled({number: stop for number in ASKING}):
        yield


def _say_and_end(code: int, text: str) -> None:
    tell(f'jaxdl: {text}\n')
    os._exit(code)


def end_when_asked(leave: Callable[[int, str], None] = _say_and_end) -> None:
    """As `preemptible`, for a process of its own, which just ends; of Ctrl-C too.

    No exception: it would come in the middle of imports, which swallow it or crash of it. Nothing
    is lost, for outside of the arms a kill at any moment costs nothing.

    leave: ends the process with a code, and says why.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            leave(InterruptedRunError.code, INTERRUPTED)
        leave(PreemptedError.code, STOPPED)

    _handle({number: end for number in ASKING})
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell has it behind an `&`
        signal.signal(signal.SIGINT, end)


def ignore_signals() -> None:
    """The process is ending, and its exit code is known: a late signal changes nothing."""
    for number in (*ASKING, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def stopped_by(number: int, text: str) -> JaxdlError:
    """The error of a run that a signal stopped once everything was saved."""
    kind = InterruptedRunError if number == signal.SIGINT else PreemptedError
    return kind(f'{text}; the same command goes on from there')


def tell(text: str) -> None:
    """Say it on standard error from within a handler, if that can be done at once.

    Not print: the signal may have come in the middle of one. And nobody may be listening.
    """
    try:
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        if poll.poll(0):
            os.write(2, text.encode())
    except OSError:
        pass  # closed: there is nobody to tell


@contextmanager
def _handled(handlers: Handlers) -> Iterator[None]:
    before = _handle(handlers)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(handlers: Handlers) -> dict[signal.Signals, Any]:
    """Set handlers; returns those before."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup: it is meant to stay so
        handlers = {number: each for number, each in handlers.items() if number != signal.SIGHUP}
    return {number: signal.signal(number, handler) for number, handler in handlers.items()}
