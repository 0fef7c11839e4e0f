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
from jaxdl.run.comparison import digests
from jaxdl.run.config import groups_of, read_starts
from jaxdl.run.record import read_done, read_metrics, sample_step
from jaxdl.study import Results


class Curve(NamedTuple):
    """A metric over a run: steps [t] and values [t, seeds]; NaN where it is not finite."""

    steps: np.ndarray
    values: np.ndarray


class Arm:
    """What runs/NAME/ARM holds once it is done: configuration, numbers, curves, samples.

    Of all its seeds, in their order, those that were added later in folders of their own included.
    starts: what env.json says of each start. changed: what it computed otherwise at some of them,
        where that was accepted. digests: of the experiment's text, programs and data.
    better: which values of a number are, where that was said. labels: what the entries of an array
        stand for, where that was said.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.name = folder.name
        self._lots = [lot for lot in groups_of(folder) if (lot / 'DONE').exists()]
        configs = [read_json(lot / 'config.json') for lot in self._lots]
        seeds = [seed for config in configs for seed in config['seeds']]
        self._order = np.argsort(seeds)
        self.seeds: list[int] = sorted(seeds)
        self.config: dict[str, Any] = {**configs[0], 'seeds': self.seeds}
        self.starts = [start for lot in self._lots for start in read_starts(lot)]
        self.env: dict[str, Any] = self.starts[-1]
        stands = [read_json(lot / 'identity.json') for lot in self._lots]
        self.changed: list[str] = [', '.join(each) for it in stands for each in it['accepted']]
        self.digests: dict[str, str] = digests(stands[-1])
        done = [read_done(lot) for lot in self._lots]
        self.done: dict[str, Any] = {
            'parameters': done[0]['parameters'],
            'steps': max(each['steps'] for each in done),
            'seconds': round(sum(each['seconds'] for each in done), 1),
        }
        told = read_json(folder / 'numbers.json')
        self.better: dict[str, Better] = {n: it['better'] for n, it in told.items() if it['better']}
        self.labels: dict[str, list[str]] = {n: it['labels'] for n, it in told.items()}
        self.metrics: dict[str, np.ndarray] = {
            name: self._joined([_floats(each['metrics'][name]) for each in done])
            for name in sorted(done[0]['metrics'])
        }

    def _joined(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """[seeds, ...] of each lot of seeds as one, in the order of seeds."""
        return np.concatenate(values)[self._order]

    @property
    def ends(self) -> dict[str, int]:
        """The last step of each phase but the last, by the phase's name."""
        phases = self.config['phases']
        planned = np.cumsum([phase['steps'] for phase in phases])[:-1]
        ends = {phase['name']: int(end) for phase, end in zip(phases, planned, strict=False)}
        # A phase that stopped early ends where its last numbers are.
        last: dict[int, int] = {}
        for event in (event for lot in self._lots for event in read_metrics(lot)):
            last[event['phase']] = max(last.get(event['phase'], 0), event['step'])
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
        """Each phase of the configuration, and the prefix of its numbers; a baseline has none."""
        if not self.config['phases']:
            return
        *earlier, last = self.config['phases']
        yield from ((f'{phase["name"]}/', phase) for phase in earlier)
        yield '', last

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Every metric over the steps at which it was measured."""
        lots = [_curves(lot) for lot in self._lots]
        found = {}
        for name in sorted(lots[0]):
            parts = [lot[name] for lot in lots if name in lot]
            steps = sorted({step for part in parts for step in part})
            # A lot whose seeds have all stopped early has no values where others go on.
            none = [np.nan * next(iter(part.values())) for part in parts]
            rows = [
                [part.get(step, no) for part, no in zip(parts, none, strict=True)] for step in steps
            ]
            found[name] = Curve(np.array(steps), np.array([self._joined(row) for row in rows]))
        return found

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Final numbers that are not scalars, [seeds, ...] each."""
        lots = [read_arrays(lot / 'arrays.npz') for lot in self._lots]
        return {name: self._joined([lot[name] for lot in lots]) for name in lots[0]}

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
    arms = [Arm(folder / name) for name in order]
    # A baseline returns numbers alone: what is better is for those that are trained to say.
    told = {name: better for arm in arms for name, better in arm.better.items()}
    for arm in arms:
        if not arm.config['phases']:
            arm.better = {name: told[name] for name in arm.metrics if name in told}
    return arms


DIVERGED = 'DIVERGED'  # in the folder of an arm whose training cannot go on: why


def unfinished_arms(folder: Path) -> dict[str, str]:
    """Arms under a run's folder of which a seed is not done, and why where that is known."""
    started = sorted(path.parent for path in folder.glob('*/config.json'))
    return {
        arm.name: _why(lot / DIVERGED)
        for arm in started
        for lot in groups_of(arm)
        if not (lot / 'DONE').exists()
    }


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


def _curves(lot: Path) -> dict[str, dict[int, np.ndarray]]:
    """Of the seeds in one folder: {metric: {step: values [seeds]}}."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for event in read_metrics(lot, say=logging.getLogger(__name__).warning):
        for name, values in event['metrics'].items():
            found.setdefault(name, {})[event['step']] = _floats(values)
    return found


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """Numbers from JSON, where null was not a finite one."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
