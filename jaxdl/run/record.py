"""The record of one arm's run: what is written to its folder and said on the terminal.

The host's side of a run. Of many processes each keeps what decisions are made of, the others than
the first in folders of their own; only the first one shows and draws. Files are JSON, so NaN and
infinite numbers are written as null.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import jax
import numpy as np

from jaxdl.errors import JaxdlError
from jaxdl.files import (
    RESTORE,
    file_digest,
    jsonable,
    read_arrays,
    read_json,
    seal,
    unseal,
    write_arrays,
    write_bytes,
    write_json,
    writing,
)
from jaxdl.metrics import About
from jaxdl.run.progress import Progress, progress_for
from jaxdl.run.tensorboard import TensorBoard
from jaxdl.samples import Audio, Sample, Texts

METRICS, ARRAYS, ABOUT = 'metrics.jsonl', 'arrays.npz', 'about.json'
_SAMPLE = re.compile(r'([^.].*)_([0-9]{8,})\.(?:png|txt|wav)')


class Record:
    """The open record of one arm; a context manager.

    Opening with `resume_at` forgets what a dead process wrote after that step: lines of
    metrics.jsonl and sample files, a torn last line too. `resume_at=0` forgets everything but the
    log. Damaged lines before it stay where they are, and are said. `steps` is the length of the
    whole run. `watched` are the numbers that a person waits for.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        title: str,
        seeds: Sequence[int],
        steps: int,
        resume_at: int = 0,
        tensorboard: bool = True,
        watched: Sequence[str] = (),
    ):
        self.folder = Path(folder)
        self._shown = jax.process_index() == 0
        self._start = time.monotonic()
        self._noted = False
        self._bar: Progress | None = None
        self._metrics: IO[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._tensorboard: TensorBoard | None = None
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _forget_after(self.folder, resume_at)
            self._metrics = (self.folder / METRICS).open('ab', buffering=0)
            self._log = (self.folder / 'log.txt').open('ab', buffering=0)
            if tensorboard and self._shown:
                self._tensorboard = TensorBoard(
                    self.folder / 'tensorboard', seeds=seeds, resume_at=resume_at
                )
        if self._shown:
            self._bar = progress_for(
                sys.stderr, title=title, steps=steps, at=resume_at, watched=watched
            )
        read_metrics(self.folder, say=self.say)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the terminal and close the files."""
        if self._bar:
            self._bar.close()
        files = [file for file in (self._metrics, self._log, self._tensorboard) if file]
        self._bar = self._metrics = self._log = self._tensorboard = None
        with writing(self.folder), contextlib.ExitStack() as stack:
            for file in files:
                stack.callback(file.close)

    def say(self, text: str) -> None:
        """A line for a person: to log.txt with the time since the start, and to the terminal."""
        if self._bar:
            self._bar.say(text)
        self._keep(text)

    def note(self, text: str) -> None:
        """A detail of compiling: to log.txt, and the first one tells a person where they are."""
        if self._bar and not self._noted:
            self._bar.say(f'compiling; how long each program takes is in {self.folder / "log.txt"}')
        self._noted = True
        self._keep(text)

    def _keep(self, text: str) -> None:
        if self._log:
            with writing(self.folder):
                _append(self._log, f'{time.monotonic() - self._start:9.1f} s  {text}')

    def progress(self, step: int, *, examples: int) -> None:
        """Where the run is, as a bar on a terminal, elsewhere now and then as a line.

        `step` steps are done, of `examples` examples each (all seeds together).
        """
        if self._bar:
            self._bar.at(step, examples=examples)

    def metrics(
        self,
        step: int,
        *,
        phase: int,
        seconds: float,
        values: Mapping[str, Sequence[float]],
        ends: bool = False,
    ) -> None:
        """Finished numbers, one a seed under each name: to metrics.jsonl and TensorBoard.

        ends: whether these are the last numbers of the phase, those that its result is made of.
        """
        if not self._metrics:
            return
        line = {'step': step, 'phase': phase, 'ends': ends, 'seconds': seconds, 'metrics': values}
        with writing(self.folder):
            _append(self._metrics, json.dumps(seal(jsonable(line)), allow_nan=False))
            if self._tensorboard:
                self._tensorboard.scalars(step, values)
        if self._bar:
            self._bar.latest(values)

    def samples(self, step: int, samples: Mapping[str, Sample]) -> None:
        """What the first seed shows, host arrays: samples/NAME_00000100.png, .txt or .wav."""
        if not self._shown:
            return
        from jaxdl.samples.drawing import draw, read_texts

        for name, sample in samples.items():
            extension, content = draw(sample)
            file = self.folder / 'samples' / f'{name.replace("/", "-")}_{step:08d}.{extension}'
            write_bytes(file, content)
            with writing(self.folder):
                if self._tensorboard and isinstance(sample, Texts):
                    self._tensorboard.text(step, name, read_texts(sample))
                elif self._tensorboard and isinstance(sample, Audio):
                    self._tensorboard.audio(step, name, content, rate=sample.rate)
                elif self._tensorboard:
                    self._tensorboard.image(step, name, content)

    def arrays(self, values: Mapping[str, np.ndarray]) -> None:
        """The latest numbers that are not scalars, [seeds, ...] each: arrays.npz."""
        path = self.folder / ARRAYS
        write_arrays(path, {**read_arrays(path), **values})

    def describe(self, numbers: Mapping[str, About]) -> None:
        """What the numbers of this run are: numbers.json."""
        told = {
            name: {'better': it.better, 'labels': it.labels, 'drawn': it.drawn}
            for name, it in numbers.items()
        }
        write_json(self.folder / 'numbers.json', told)

    def explain(self, about: Mapping[str, Any]) -> None:
        """How the run trains and on which data, see `jaxdl.run.method`: about.json."""
        write_json(self.folder / ABOUT, about)

    def done(self, payload: Mapping[str, Any]) -> None:
        """The run is finished: DONE, the last file to be written, with its final numbers.

        It holds the digests of the files that belong to them.
        """
        files = {name: file_digest(self.folder / name) for name in (METRICS, ARRAYS)}
        write_json(self.folder / 'DONE', {**payload, 'files': files})


def read_done(folder: Path) -> dict[str, Any]:
    """What DONE holds of a finished run.

    Raises JaxdlError where it, or a file whose digest it holds, is not what the run wrote. Lines
    of metrics.jsonl that are damaged are no error here: `read_metrics` says them, and leaves them.
    """
    again = 'remove it, and the same command makes it again from the newest checkpoint'
    done = read_json(folder / 'DONE', remedy=again)
    files = done.pop('files', {})
    for name, digest in files.items():
        if file_digest(folder / name) == digest:
            continue
        damaged: list[str] = []
        if name == METRICS:
            read_metrics(folder, say=damaged.append)
        if not damaged:
            what = 'was changed since the run ended' if (folder / name).exists() else 'is gone'
            raise JaxdlError(f'{folder / name} {what}; {RESTORE}')
    return done


def read_metrics(
    folder: Path, *, say: Callable[[str], object] = lambda line: None
) -> list[dict[str, Any]]:
    """The events of metrics.jsonl in order, but damaged lines, which are said; none without a file.

    A torn last line is left: it was being written when its process died.
    """
    events = []
    for number, (_, event) in enumerate(_lines(folder), 1):
        if event is None:
            path = folder / METRICS
            say(f'{path}: line {number} is damaged; it is left, and the curves are without it')
        else:
            events.append(event)
    return events


def spent(folder: Path) -> float:
    """Seconds already spent on a run, up to its last look."""
    lines = read_metrics(folder)
    return float(lines[-1]['seconds']) if lines else 0.0


def saves_proved(folder: Path) -> bool:
    """Whether metrics.jsonl proves that a checkpoint was saved.

    The numbers of training are recorded just before a save begins, which waits for the end of the
    one before: with the third such line, the first save is on the disk. A run that was killed
    before its first save has at most two.
    """
    saves = [e for e in read_metrics(folder) if any(n.startswith('train/') for n in e['metrics'])]
    return len(saves) >= 3


def sample_step(file: Path) -> tuple[str, int] | None:
    """What a sample file shows, and at which step; None for a file that is none of ours."""
    found = _SAMPLE.fullmatch(file.name)
    return (found[1], int(found[2])) if found else None


def _lines(folder: Path) -> list[tuple[bytes, dict[str, Any] | None]]:
    """The whole lines of metrics.jsonl, and what they say; None for a damaged one."""
    path = folder / METRICS
    lines = path.read_bytes().split(b'\n')[:-1] if path.exists() else []
    return [(line, _event(line)) for line in lines]


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        return unseal(json.loads(line), 'line')
    except (ValueError, RecursionError, JaxdlError):  # no text, no JSON, or of another seal
        return None


def _append(file: IO[bytes], line: str) -> None:
    """Append a line in one unbuffered write: nothing is left to fail again when it is closed."""
    data = line.encode() + b'\n'
    if file.write(data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


def _forget_after(folder: Path, step: int) -> None:
    """Drop what was recorded after `step` (all of it for step 0: the run starts afresh)."""
    if (folder / METRICS).exists():
        kept = []
        for line, event in _lines(folder):
            if not step or (event and event['step'] > step):
                break
            kept.append(line + b'\n')
        write_bytes(folder / METRICS, b''.join(kept))
    samples = folder / 'samples'
    for file in samples.iterdir() if samples.is_dir() else ():
        found = sample_step(file)
        if found and (not step or found[1] > step):
            file.unlink()
    if not step:
        (folder / ARRAYS).unlink(missing_ok=True)
        shutil.rmtree(folder / 'tensorboard', ignore_errors=True)
