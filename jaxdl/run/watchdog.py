"""The watchdog: a run whose steps no longer end says where it stands, and leaves.

A deadlock, a device that no longer answers, a reader that waits for a disk: a process would stand
so for ever, and hold its machine. So where no tick of the loop ends in ten times their median, and
not within a minute, the stacks of all threads are written to standard error and the process ends
with 76, of one process or of many: start the same command again, and it goes on from the newest
checkpoint.

`JAXDL_WATCHDOG` is the least number of seconds, 60 without it; 0 switches the watchdog off.
"""

import faulthandler
import math
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

from jaxdl.errors import LostPeerError, UsageError

FLOOR = 60.0  # seconds
FACTOR = 10
TICKS = 64  # of which the median is taken
POLL = 0.5  # seconds between two looks
ENVIRONMENT = 'JAXDL_WATCHDOG'


def floor_of(environment: 'os._Environ[str] | dict[str, str]') -> float:
    """The least seconds that a tick may take. Raises UsageError for what is no such number."""
    text = environment.get(ENVIRONMENT)
    try:
        seconds = FLOOR if not text else float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f'{ENVIRONMENT}: {text!r} is not allowed; it must be seconds, at least 0')
    return seconds


def dump_and_end(text: str) -> None:
    """Say it, write the stacks of all threads to standard error, and end the process with 76."""
    # Not the stream of Python, whose lock the thread that hangs may hold.
    os.write(2, f'jaxdl: {text}; all stacks follow\n'.encode())
    faulthandler.dump_traceback(2, all_threads=True)
    os._exit(LostPeerError.code)


class Watchdog:
    """Watches the thread that makes it; a context manager, asleep until the second tick.

    The first ticks compile. Later ones may too, when a stretch has another length: time is not
    counted while the watched thread is in a function of `busy`, nor in `paused`, nor while the
    whole process stands still, stopped or suspended.

    floor: the least seconds that a tick may take; 0 watches nothing. bite: is told why, and does
    not return. who: begins that line.
    """

    def __init__(
        self,
        floor: float,
        *,
        busy: frozenset[CodeType] = frozenset(),
        bite: Callable[[str], None] = dump_and_end,
        poll: float = POLL,
        who: str = '',
    ) -> None:
        self._who = who
        self._floor, self._busy, self._bite, self._poll = floor, busy, bite, poll
        self._watched = threading.get_ident()
        self._took: deque[float] = deque(maxlen=TICKS)
        self._began: float | None = None  # of the tick that goes on
        self._stood = 0.0  # seconds that count of it
        self._asleep = True
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name='watchdog', daemon=True)

    def __enter__(self) -> 'Watchdog':
        if self._floor:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._floor:
            self._thread.join()

    def tick(self) -> None:
        """A tick has ended, and the next begins."""
        now = time.monotonic()
        if self._began is not None:
            self._took.append(now - self._began)
        self._began, self._stood = now, 0.0
        self._asleep = not self._took

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here is no tick's: evaluating, drawing, saving."""
        before, self._asleep = self._asleep, True
        start = time.monotonic()
        try:
            yield
        finally:
            if self._began is not None:
                self._began += time.monotonic() - start
            self._asleep, self._stood = before, 0.0

    @property
    def limit(self) -> float:
        """Seconds that the tick which goes on may take."""
        return max(self._floor, FACTOR * statistics.median(self._took))

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(self._poll):
            now = time.monotonic()
            # A process that stood still did not see the time go by.
            passed, last = min(now - last, 2 * self._poll), now
            if self._asleep:
                continue
            self._stood += passed
            if self._stood > self.limit:
                if self._compiles():
                    self._stood = 0.0
                    continue
                median = statistics.median(self._took)
                self._bite(
                    f'{self._who}no step has ended for {self._stood:.0f} s, and the median of '
                    f'ticks is {median:.2g} s; the same command goes on from the newest checkpoint'
                )
                return

    def _compiles(self) -> bool:
        """Whether the watched thread is in one of the busy functions."""
        frame: FrameType | None = sys._current_frames().get(self._watched)
        while frame is not None:
            if frame.f_code in self._busy:
                return True
            frame = frame.f_back
        return False
