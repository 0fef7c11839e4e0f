"""The record of one arm's run: what is written to its folder and said on the terminal.

The host's side of a run, and of process 0 only: every method of the others does nothing. Files are
JSON, so NaN and infinite numbers are written as null.
"""

import contextlib
import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import jax
import numpy as np

from jaxdl.errors import JaxdlError
from jaxdl.files import jsonable, read_arrays, write_arrays, write_bytes, write_json, writing
from jaxdl.metrics import About
from jaxdl.run.progress import Progress, progress_for
from jaxdl.run.tensorboard import TensorBoard
from jaxdl.samples import Sample, Texts


class Record:
    """The open record of one arm; a context manager.

    Opening with `resume_at` forgets what a dead process wrote after that step: lines of
    metrics.jsonl and sample files, a torn last line too. `resume_at=0` forgets everything but the
    log. `steps` is the length of the whole run. `watched` are the numbers that a person waits for.
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
        self._active = jax.process_index() == 0
        self._start = time.monotonic()
        self._noted = False
        self._bar: Progress | None = None
        self._metrics: IO[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._tensorboard: TensorBoard | None = None
        if not self._active:
            return
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _forget_after(self.folder, resume_at)
            self._metrics = (self.folder / 'metrics.jsonl').open('ab', buffering=0)
            self._log = (self.folder / 'log.txt').open('ab', buffering=0)
            if tensorboard:
                self._tensorboard = TensorBoard(
                    self.folder / 'tensorboard', seeds=seeds, resume_at=resume_at
                )
        self._bar = progress_for(
            sys.stderr, title=title, steps=steps, at=resume_at, watched=watched
        )

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
        self, step: int, *, phase: int, seconds: float, values: Mapping[str, Sequence[float]]
    ) -> None:
        """Finished numbers, one a seed under each name: to metrics.jsonl and TensorBoard."""
        if not self._metrics:
            return
        line = {'step': step, 'phase': phase, 'seconds': seconds, 'metrics': values}
        with writing(self.folder):
            _append(self._metrics, json.dumps(jsonable(line), allow_nan=False))
            if self._tensorboard:
                self._tensorboard.scalars(step, values)
        if self._bar:
            self._bar.latest(values)

    def samples(self, step: int, samples: Mapping[str, Sample]) -> None:
        """What the first seed shows, host arrays: samples/NAME_00000100.png or .txt."""
        if not self._active:
            return
        from jaxdl.samples.drawing import draw, read_texts

        for name, sample in samples.items():
            extension, content = draw(sample)
            file = self.folder / 'samples' / f'{name.replace("/", "-")}_{step:08d}.{extension}'
            write_bytes(file, content)
            with writing(self.folder):
                if self._tensorboard and isinstance(sample, Texts):
                    self._tensorboard.text(step, name, read_texts(sample))
                elif self._tensorboard:
                    self._tensorboard.image(step, name, content)

    def arrays(self, values: Mapping[str, np.ndarray]) -> None:
        """The latest numbers that are not scalars, [seeds, ...] each: arrays.npz."""
        if self._active:
            path = self.folder / 'arrays.npz'
            write_arrays(path, {**read_arrays(path), **values})

    def describe(self, numbers: Mapping[str, About]) -> None:
        """What the numbers of this run are: numbers.json."""
        if self._active:
            told = {
                name: {'better': it.better, 'labels': it.labels} for name, it in numbers.items()
            }
            write_json(self.folder / 'numbers.json', told)

    def done(self, payload: Mapping[str, Any]) -> None:
        """The run is finished: DONE, the last file to be written, with its final numbers."""
        if self._active:
            write_json(self.folder / 'DONE', payload)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The events of metrics.jsonl in order; none if there is no file. A torn last line is left."""
    path = folder / 'metrics.jsonl'
    lines = path.read_bytes().split(b'\n') if path.exists() else []
    # What follows the last newline is empty, or was being written when its process died.
    events = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise JaxdlError(f'{path}: line {number} is damaged; it is not JSON') from error
    return events


def _append(file: IO[bytes], line: str) -> None:
    """Append a line in one unbuffered write: nothing is left to fail again when it is closed."""
    data = line.encode() + b'\n'
    if file.write(data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


def _forget_after(folder: Path, step: int) -> None:
    """Drop what was recorded after `step` (all of it for step 0: the run starts afresh)."""
    metrics = folder / 'metrics.jsonl'
    if metrics.exists():
        kept = [event for event in read_metrics(folder) if step and event['step'] <= step]
        write_bytes(metrics, ''.join(json.dumps(event) + '\n' for event in kept).encode())
    for sample in (folder / 'samples').glob('*_*.*'):
        if not step or int(sample.stem.rsplit('_', 1)[1]) > step:
            sample.unlink()
    if not step:
        (folder / 'arrays.npz').unlink(missing_ok=True)
        shutil.rmtree(folder / 'tensorboard', ignore_errors=True)
