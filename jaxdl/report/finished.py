"""A finished arm of a study, as its folder holds it."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.errors import UsageError
from jaxdl.files import read_arrays, read_json
from jaxdl.metrics import Better
from jaxdl.run.config import read_starts
from jaxdl.run.record import read_done, read_metrics, sample_step
from jaxdl.study import Results


class Curve(NamedTuple):
    """A metric over a run: steps [t] and values [t, seeds]; NaN where it is not finite."""

    steps: np.ndarray
    values: np.ndarray


class Arm:
    """What runs/NAME/ARM holds once it is done: configuration, numbers, curves, samples.

    better: which values of a number are, where that was said. labels: what the entries of an array
    stand for, where that was said.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.name = folder.name
        self.config: dict[str, Any] = read_json(folder / 'config.json')
        self.env: dict[str, Any] = read_starts(folder)[-1]
        self.done: dict[str, Any] = read_done(folder)
        told = read_json(folder / 'numbers.json')
        self.better: dict[str, Better] = {n: it['better'] for n, it in told.items() if it['better']}
        self.labels: dict[str, list[str]] = {n: it['labels'] for n, it in told.items()}
        self.seeds: list[int] = self.config['seeds']
        self.metrics: dict[str, np.ndarray] = {
            name: _floats(values) for name, values in sorted(self.done['metrics'].items())
        }

    @property
    def ends(self) -> dict[str, int]:
        """The last step of each phase but the last, by the phase's name."""
        phases = self.config['phases']
        planned = np.cumsum([phase['steps'] for phase in phases])[:-1]
        ends = {phase['name']: int(end) for phase, end in zip(phases, planned, strict=False)}
        # A phase that stopped early ends where its last numbers are.
        last = {event['phase']: event['step'] for event in read_metrics(self.folder)}
        return {name: last.get(index, end) for index, (name, end) in enumerate(ends.items())}

    @property
    def steps_done(self) -> list[int]:
        """The steps that each seed did in all phases: fewer than planned where it stopped early."""
        done = np.zeros(len(self.seeds), int)
        for prefix, phase in self._phases():
            stopped = self.metrics.get(f'{prefix}valid/steps')
            done += phase['steps'] if stopped is None else stopped.astype(int)
        return [int(steps) for steps in done]

    @property
    def best_step(self) -> list[int | None] | None:
        """The step of each seed's best state in the last phase that keeps it; None without one.

        None for a seed that had no finite score.
        """
        for prefix, _ in reversed(list(self._phases())):
            if (found := self.metrics.get(f'{prefix}valid/best_step')) is not None:
                return [None if np.isnan(step) else int(step) for step in found]
        return None

    @property
    def unscored(self) -> dict[str, list[int]]:
        """Seeds of which no score was finite, by the prefix of the phase that keeps the best."""
        found = {}
        for prefix, _ in self._phases():
            steps = self.metrics.get(f'{prefix}valid/best_step', np.zeros(0))
            if seeds := [s for s, x in zip(self.seeds, steps, strict=False) if np.isnan(x)]:
                found[prefix] = seeds
        return found

    def _phases(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each phase of the configuration, and the prefix of its numbers."""
        *earlier, last = self.config['phases']
        yield from ((f'{phase["name"]}/', phase) for phase in earlier)
        yield '', last

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Every metric over the steps at which it was measured."""
        found: dict[str, list[tuple[int, Sequence[float | None]]]] = {}
        for event in read_metrics(self.folder, say=logging.getLogger(__name__).warning):
            for name, values in event['metrics'].items():
                found.setdefault(name, []).append((event['step'], values))
        return {
            name: Curve(
                np.array([step for step, _ in rows]), np.array([_floats(v) for _, v in rows])
            )
            for name, rows in sorted(found.items())
        }

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Final numbers that are not scalars, [seeds, ...] each."""
        return read_arrays(self.folder / 'arrays.npz')

    @property
    def samples(self) -> dict[str, Path]:
        """The newest sample file of each kind."""
        folder, newest = self.folder / 'samples', dict[str, tuple[int, Path]]()
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if found := sample_step(file):
                kind, step = found
                newest[kind] = max(newest.get(kind, (step, file)), (step, file))
        return {kind: file for kind, (_, file) in newest.items()}


def finished_names(folder: Path) -> list[str]:
    """The names of the arms under a run's folder that are done."""
    return sorted(path.parent.name for path in folder.glob('*/DONE'))


def finished_arms(folder: Path, *, first: Iterable[str] = ()) -> list[Arm]:
    """The arms under a run's folder that are done: those named in `first`, then by name."""
    done = finished_names(folder)
    order = [name for name in dict.fromkeys(first) if name in done]
    order += [name for name in done if name not in order]
    return [Arm(folder / name) for name in order]


DIVERGED = 'DIVERGED'  # in the folder of an arm whose training cannot go on: why


def unfinished_arms(folder: Path) -> dict[str, str]:
    """Arms under a run's folder that were started and are not done, and why where that is known."""
    started = sorted(path.parent for path in folder.glob('*/config.json'))
    return {arm.name: _why(arm / DIVERGED) for arm in started if not (arm / 'DONE').exists()}


def _why(path: Path) -> str:
    return str(read_json(path)['why']) if path.exists() else ''


def results_of(arms: Sequence[Arm]) -> tuple[Results, list[int]]:
    """The final numbers of some arms over the seeds that all of them have, and these seeds."""
    shared = [seed for seed in arms[0].seeds if all(seed in arm.seeds for arm in arms)]
    results = {}
    for arm in arms:
        rows = [arm.seeds.index(seed) for seed in shared]
        results[arm.name] = {name: values[rows] for name, values in arm.metrics.items()}
    return results, shared


def directions(arms: Sequence[Arm]) -> Mapping[str, Better]:
    """Which values of each number are better. Raises UsageError where arms disagree."""
    found: dict[str, Better] = {}
    for arm in arms:
        for name, better in arm.better.items():
            if found.setdefault(name, better) != better:
                raise UsageError(f'{name}: {better} is better in {arm.name}, and not in others')
    return found


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """Numbers from JSON, where null was not a finite one."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
