"""How far a run is, for a person: a bar on a terminal, now and then a line elsewhere."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import IO, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
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


def progress_for(stream: IO[str], *, title: str, steps: int, at: int) -> Progress:
    """A bar if `stream` is a terminal, else lines."""
    if stream.isatty():
        return _Bar(stream, title=title, steps=steps, at=at)
    return _Lines(stream, title=title, steps=steps, at=at)


class _Rate:
    """Examples a second since the first report: what is before it holds the compilation."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def at(self, step: int, examples: int) -> str:
        now = time.monotonic()
        if self._first is None:
            self._first = now, step
        elapsed, seen = now - self._first[0], (step - self._first[1]) * examples
        return f'{seen / elapsed:,.0f} examples/s' if elapsed > 0 and seen > 0 else ''


class _Bar:
    """A bar below the lines, with the time left, examples a second and the newest numbers."""

    def __init__(self, stream: IO[str], *, title: str, steps: int, at: int):
        self._rate = _Rate()
        self._bar = Bar(
            TextColumn('{task.description}', markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn('{task.fields[rate]}  {task.fields[numbers]}', markup=False),
            console=Console(file=stream, highlight=False),
            transient=True,
            refresh_per_second=5,
        )
        self._task = self._bar.add_task(title, total=steps, completed=at, rate='', numbers='')
        self._bar.start()

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def at(self, step: int, *, examples: int) -> None:
        self._bar.update(self._task, completed=step, rate=self._rate.at(step, examples))

    def latest(self, values: Mapping[str, Sequence[float]]) -> None:
        self._bar.update(self._task, numbers=_numbers(values))

    def close(self) -> None:
        self._bar.stop()


class _Lines:
    """A line when 10 s and a tenth of the run have gone by since the last, or a minute."""

    def __init__(self, stream: IO[str], *, title: str, steps: int, at: int):
        self._stream, self._title, self._steps = stream, title, steps
        self._rate, self._said, self._numbers = _Rate(), (time.monotonic(), at), ''

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def at(self, step: int, *, examples: int) -> None:
        rate = self._rate.at(step, examples)
        now, (then, before) = time.monotonic(), self._said
        share = (step - before) / max(self._steps, 1)
        if (now - then >= 10 and share >= 0.1) or now - then >= 60:
            self._said = now, step
            parts = (f'{self._title}: step {step} of {self._steps}', rate, self._numbers)
            self.say(', '.join(filter(None, parts)))

    def latest(self, values: Mapping[str, Sequence[float]]) -> None:
        self._numbers = _numbers(values)

    def close(self) -> None:
        pass


def _numbers(values: Mapping[str, Sequence[float]]) -> str:
    """The mean over seeds of a few numbers, losses first."""
    names = sorted(values, key=lambda name: (not name.endswith('loss'), name))[:4]
    means = [(name, [float(v) for v in values[name]]) for name in names]
    said = [(name, math.fsum(v) / len(v) if v else math.nan) for name, v in means]
    return '  '.join(f'{name} {mean:.4g}' for name, mean in said)
