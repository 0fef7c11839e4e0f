"""A finished arm of a study, as its folder holds it."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.derived import Derived, derived, gap, restricted, twin
from jaxdl.errors import UsageError
from jaxdl.files import read_arrays, read_json
from jaxdl.metrics import Better
from jaxdl.report.way import Times, area_of, phase_of, times_of
from jaxdl.run.comparison import digests
from jaxdl.run.config import groups_of, read_starts
from jaxdl.run.record import ABOUT, read_done, read_metrics, sample_step
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
        stand for, where that was said. drawn: the numbers that each seed has of rows of its own.
    metrics: its final numbers, [seeds] each, with those of the names in `derive` that can be made.
    times: of those that are times, when each seed got there, and the length of the run.
    lengths: of those that are areas, over how many steps, as planned.
    together: with how many seeds, itself included, each seed was trained.
    """

    def __init__(self, folder: Path, *, derive: Iterable[str] = ()):
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
            # Of one seed; runs from before they were counted have neither.
            'flops': done[0].get('flops'),
            'epochs': done[0].get('epochs'),
        }
        told = read_json(folder / 'numbers.json')
        self.better: dict[str, Better] = {n: it['better'] for n, it in told.items() if it['better']}
        self.labels: dict[str, list[str]] = {n: it['labels'] for n, it in told.items()}
        self.drawn = frozenset(name for name, it in told.items() if it.get('drawn'))
        self.metrics: dict[str, np.ndarray] = {
            name: self._joined([_floats(each['metrics'][name]) for each in done])
            for name in sorted(done[0]['metrics'])
        }
        sizes = [len(config['seeds']) for config in configs]
        self.together = self._joined([np.full(size, size) for size in sizes])
        self.times: dict[str, Times] = {}
        self.lengths: dict[str, int] = {}
        for name in dict.fromkeys(derive):
            if name not in self.metrics and (made := derived(name)):
                self._derive(made)

    def _derive(self, made: Derived) -> None:
        """Add a derived number to the others, where what it is made of is there."""
        better = self.better.get(made.metric)
        values: np.ndarray | None = None
        if made.kind == 'gap':
            other = twin(made.metric, list(self.metrics))
            if other and better:
                values = gap(self.metrics[made.metric], self.metrics[other], better=better)
        elif made.kind == 'area':
            areas = [area_of(made, lot, self.config['phases']) for lot in self._events]
            there = [each for each in areas if each is not None]
            if len(there) == len(areas):
                values = self._joined(there)
                index, _ = phase_of(made.metric, self.config['phases'])
                self.lengths[made.name] = self.config['phases'][index]['steps']
        else:
            times = [times_of(made, lot, self.config['phases']) for lot in self._events]
            known = [each for each in times if each is not None]
            if len(known) == len(times):
                found = Times(*map(self._joined, zip(*known, strict=True)))
                self.times[made.name] = found
                values = restricted(found.first, found.length)
        if values is not None:
            self.metrics[made.name] = values
            if way := made.better(better):
                self.better[made.name] = way

    @cached_property
    def _events(self) -> list[list[dict[str, Any]]]:
        """The lines of metrics.jsonl, of each lot of seeds."""
        return [read_metrics(lot) for lot in self._lots]

    @cached_property
    def about(self) -> dict[str, Any] | None:
        """How it was trained and on which data, see `jaxdl.run.method`; None of older runs."""
        path = self._lots[0] / ABOUT
        remedy = 'remove it, and the report is without data and method'
        return read_json(path, remedy=remedy) if path.exists() else None

    @property
    def first_starts(self) -> list[dict[str, Any]]:
        """The first start of each lot of its seeds."""
        return [read_starts(lot)[0] for lot in self._lots]

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


def finished_arms(
    folder: Path, *, first: Iterable[str] = (), derive: Iterable[str] = ()
) -> list[Arm]:
    """The arms under a run's folder that are done: those named in `first`, then by name.

    derive: names of numbers that they are to have besides those that were measured.
    """
    done = finished_names(folder)
    order = [name for name in dict.fromkeys(first) if name in done]
    order += [name for name in done if name not in order]
    derive = list(derive)
    arms = [Arm(folder / name, derive=derive) for name in order]
    # A baseline returns numbers alone: what is better, and whether each seed has rows of its own,
    # is for those that are trained to say.
    told = {name: better for arm in arms for name, better in arm.better.items()}
    drawn = frozenset[str]().union(*(arm.drawn for arm in arms))
    for arm in arms:
        if not arm.config['phases']:
            arm.better = {name: told[name] for name in arm.metrics if name in told}
            arm.drawn = drawn
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


def results_of(arms: Sequence[Arm], *, judged: str) -> tuple[Results, list[int]]:
    """The final numbers of some arms over the seeds that all of them have, and these seeds.

    Times are compared up to one length, the shorter run's, seed by seed. Seconds of arms that
    trained other numbers of seeds at once cannot be compared: they are left out.
    Raises UsageError where the number that is `judged` is one of those.
    """
    shared = [seed for seed in arms[0].seeds if all(seed in arm.seeds for arm in arms)]
    results, rows = {}, {arm.name: [arm.seeds.index(seed) for seed in shared] for arm in arms}
    for arm in arms:
        results[arm.name] = {name: x[rows[arm.name]] for name, x in arm.metrics.items()}
    for name in set.intersection(*(set(arm.times) for arm in arms)):
        if name.startswith('seconds '):
            at_once = {arm.name: arm.together[rows[arm.name]].tolist() for arm in arms}
            if any(each != at_once[arms[0].name] for each in at_once.values()):
                if name == judged:
                    told = ', '.join(
                        f'{" or ".join(map(str, sorted({*each})))} in {arm}'
                        for arm, each in at_once.items()
                    )
                    raise UsageError(
                        f'{name} cannot be compared: seconds are those of all seeds that are '
                        f'trained at once, {told}'
                    )
                for arm in arms:
                    del results[arm.name][name]
                continue
        first, length = times_to(name, arms, shared)
        for arm in arms:
            results[arm.name][name] = restricted(first[arm.name], length)
    return results, shared


def times_to(
    name: str, arms: Sequence[Arm], seeds: Sequence[int]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """When each of some seeds of each arm got to a value, and the length up to which that counts.

    The length is that of the shorter run: what comes later cannot be compared with anything.
    """
    rows = {arm.name: [arm.seeds.index(seed) for seed in seeds] for arm in arms}
    first = {arm.name: arm.times[name].first[rows[arm.name]] for arm in arms}
    length = np.min([arm.times[name].length[rows[arm.name]] for arm in arms], 0)
    return first, length


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
