"""How far a run is, for a person: a bar on a terminal, now and then a line elsewhere."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import IO, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar


class Progress(Protocol):
    """Where a run is, said while it goes on."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def at(self, step: int, *, examples: int) -> None:
        """`step` steps are done, of `examples` examples each."""

    def latest(self, values: Mapping[str, Sequence[float]]) -> None:
        """The newest numbers."""

    def close(self) -> None:
        """The run has ended or stopped."""


def progress_for(
    stream: IO[str], *, title: str, steps: int, at: int, watched: Sequence[str] = ()
) -> Progress:
    """A bar if `stream` is a terminal, else lines. `watched` numbers come before others."""
    if stream.isatty():
        return _Bar(stream, title=title, steps=steps, at=at, watched=watched)
    return _Lines(stream, title=title, steps=steps, at=at, watched=watched)


class _Rate:
    """The speed since the first report: what is before it holds the compilation."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._first: tuple[float, int] | None = None

    def at(self, step: int, examples: int) -> tuple[str, str]:
        """Examples a second and the time left, in words; '' where they are not known."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, step
        elapsed, done = now - self._first[0], step - self._first[1]
        if elapsed <= 0 or done <= 0:
            return '', ''
        left = (self._steps - step) * elapsed / done
        speed = f'{done * examples / elapsed:,.0f} examples/s' if examples else ''
        return speed, f'{_clock(left)} left' if step < self._steps else ''


def _clock(seconds: float) -> str:
    """A time as a clock shows it, ``4:05`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'


class _Bar:
    """A bar below the lines, with the time left, examples a second and the newest numbers."""

    def __init__(self, stream: IO[str], *, title: str, steps: int, at: int, watched: Sequence[str]):
        self._rate, self._watched = _Rate(steps), watched
        self._bar = Bar(
            TextColumn('{task.description}', markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(
                '{task.fields[left]}  {task.fields[rate]}  {task.fields[numbers]}', markup=False
            ),
            console=Console(file=stream, highlight=False),
            transient=True,
            refresh_per_second=5,
        )
        self._task = self._bar.add_task(
            title, total=steps, completed=at, left='', rate='', numbers=''
        )
        self._bar.start()

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def at(self, step: int, *, examples: int) -> None:
        rate, left = self._rate.at(step, examples)
        self._bar.update(self._task, completed=step, rate=rate, left=left)

    def latest(self, values: Mapping[str, Sequence[float]]) -> None:
        self._bar.update(self._task, numbers=_numbers(values, self._watched))

    def close(self) -> None:
        self._bar.stop()


class _Lines:
    """A line when 10 s and a tenth of the run have gone by since the last, or a minute."""

    def __init__(self, stream: IO[str], *, title: str, steps: int, at: int, watched: Sequence[str]):
        self._stream, self._title, self._steps = stream, title, steps
        self._watched, self._rate = watched, _Rate(steps)
        self._said, self._numbers = (time.monotonic(), at), ''

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def at(self, step: int, *, examples: int) -> None:
        rate, left = self._rate.at(step, examples)
        now, (then, before) = time.monotonic(), self._said
        share = (step - before) / max(self._steps, 1)
        if (now - then >= 10 and share >= 0.1) or now - then >= 60:
            self._said = now, step
            parts = (f'{self._title}: step {step} of {self._steps}', left, rate, self._numbers)
            self.say(', '.join(filter(None, parts)))

    def latest(self, values: Mapping[str, Sequence[float]]) -> None:
        self._numbers = _numbers(values, self._watched)

    def close(self) -> None:
        pass


def _numbers(values: Mapping[str, Sequence[float]], watched: Sequence[str]) -> str:
    """The mean over seeds of a few numbers, watched ones first, then losses."""

    def rank(name: str) -> tuple[bool, bool, str]:
        return name not in watched, not name.endswith('loss'), name

    said = []
    for name in sorted(values, key=rank)[:4]:
        each = [float(v) for v in values[name]]
        known = [v for v in each if math.isfinite(v)]
        mean = f'{math.fsum(known) / len(known):.4g}' if known else 'NaN'
        lost = f' ({len(each) - len(known)} of {len(each)} NaN)' if len(known) < len(each) else ''
        said.append(f'{name} {mean}{lost if known else ""}')
    return '  '.join(said)
