"""Being asked to stop: SIGTERM and Ctrl-C, in the middle of a run and around it."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jaxdl.errors import InterruptedRunError, JaxdlError, PreemptedError


@contextmanager
def note_signals() -> Iterator[list[int]]:
    """The signals received so far: SIGTERM and the first Ctrl-C only note it, a second stops."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        if number == signal.SIGINT:
            # Not print: the signal may have come in the middle of one. Nobody may be listening.
            with contextlib.suppress(OSError):
                os.write(2, b'\nstopping at the next look; Ctrl-C again stops without saving\n')

    with _handled({signal.SIGTERM: note, signal.SIGINT: note}):
        yield received


@contextmanager
def preemptible() -> Iterator[None]:
    """SIGTERM raises PreemptedError: for the time before, between and after the arms."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise PreemptedError('stopped; the same command goes on from there')

    with _handled({signal.SIGTERM: stop}):
        yield


def stopped_by(number: int, text: str) -> JaxdlError:
    """The error of a run that a signal stopped once everything was saved."""
    kind = PreemptedError if number == signal.SIGTERM else InterruptedRunError
    return kind(f'{text}; the same command goes on from there')


@contextmanager
def _handled(
    handlers: dict[signal.Signals, Callable[[int, FrameType | None], Any]],
) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
