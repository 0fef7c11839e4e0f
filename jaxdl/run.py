"""The run of one arm: a folder, its lock, its checkpoints, its records, and the loop over ticks.

Everything that can happen to a run on the host is here: it resumes, evaluates, saves, is
interrupted, diverges, is done. What it computes is in `engine.py`.
"""

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.checkpoint import Checkpoints, Saved, load_weights
from jaxdl.engine import Engine, Tick, finish_each
from jaxdl.errors import InterruptedRunError, PreemptedError, UsageError
from jaxdl.lock import locked
from jaxdl.metrics import Metric
from jaxdl.net import with_weights
from jaxdl.record import Record, read_json, read_metrics, write_json
from jaxdl.study import Phase


class Options(NamedTuple):
    """How an arm is run: nothing here changes what it computes.

    layout, chunk: see `jaxdl.engine.Engine`. tensorboard: whether to write its files too.
    """

    layout: str = 'auto'
    chunk: int | None = None
    tensorboard: bool = True


class Config(NamedTuple):
    """What an arm computes: two runs of equal configs are equal to the bit."""

    study: str
    arm: str
    seeds: list[int]
    params: dict[str, Any]
    phases: list[dict[str, int]]
    init_from: str | None = None


def run_arm(
    folder: Path,
    phases: Sequence[Phase],
    config: Config,
    *,
    env: Mapping[str, Any],
    options: Options = Options(),  # noqa: B008 (immutable)
) -> dict[str, Any]:
    """Train one arm in `folder`, or go on with it, or return its numbers if it is done.

    Returns what DONE holds: {'parameters', 'steps', 'seconds', 'metrics': {name: [one a seed]}}.
    Raises UsageError where the folder holds another config or another process runs in it;
    DivergedError; PreemptedError and InterruptedRunError once everything is saved.
    """
    total = sum(phase.steps for phase in phases)
    with ExitStack() as stack:
        stack.enter_context(locked(folder))
        _agree(folder, config)
        if (folder / 'DONE').exists():
            return read_json(folder / 'DONE')
        stop = stack.enter_context(_signals())
        early: list[str] = []  # said before the record is open, which must know where to go on
        speak = [early.append]
        checkpoints = stack.enter_context(
            Checkpoints(folder / 'checkpoints', say=lambda text: speak[0](text))
        )
        engines = _Engines(phases, config.seeds, options, say=lambda text: speak[0](text))
        saved = checkpoints.restore(lambda phase: _template(engines[phase]))
        step = saved.step if saved else 0
        record = stack.enter_context(
            Record(
                folder,
                title=f'{config.study} {config.arm}',
                seeds=config.seeds,
                steps=total,
                resume_at=step,
                tensorboard=options.tensorboard,
            )
        )
        speak[0] = record.say
        for text in early:
            record.say(text)
        if saved:
            record.say(f'going on at step {step} of {total}')
        write_json(folder / 'env.json', {**env, 'layout': engines[0].layout.name})
        arm = _Arm(phases, engines, record, checkpoints, stop, _seconds(folder))
        payload = arm.run(saved, init_from=config.init_from)
        record.done(payload)
        return payload


def evaluate_arm(
    folder: Path, phases: Sequence[Phase], config: Config, *, options: Options
) -> tuple[int, dict[str, list[float]]]:
    """The newest valid checkpoint of an arm, measured again: (step, {metric: [one a seed]}).

    Raises CheckpointError where no checkpoint is valid, UsageError where there is none.
    """
    with locked(folder), Checkpoints(folder / 'checkpoints') as checkpoints:
        engines = _Engines(phases, config.seeds, options)
        saved = checkpoints.restore(lambda phase: _template(engines[phase]))
    if saved is None:
        raise UsageError(f'{folder} has no checkpoint yet')
    engine, phase = engines[saved.phase], phases[saved.phase]
    states = engine.outcome(engine.layout.unstack(saved.state['states']))
    numbers: dict[str, Any] = {}
    for name, source in phase.tests.items():
        measured = finish_each(engine.measure(states, source), len(engine.seeds))
        numbers |= _named(name, measured)
    return saved.step, _split(numbers)[0]


class _Engines:
    """The engine of each phase, made when it is first needed."""

    def __init__(
        self,
        phases: Sequence[Phase],
        seeds: Sequence[int],
        options: Options,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._phases, self._seeds, self._options, self._say = phases, seeds, options, say
        self._made: dict[int, Engine] = {}

    def __getitem__(self, index: int) -> Engine:
        if index not in self._made:
            phase = self._phases[index]
            self._made[index] = Engine(
                phase.task,
                phase.train,
                seeds=self._seeds,
                stage=f'phase {index}',
                layout_name=self._options.layout,
                chunk=self._options.chunk,
                say=self._say,
            )
        return self._made[index]


class _Arm:
    """The host's side of a run: what to do at each tick."""

    def __init__(
        self,
        phases: Sequence[Phase],
        engines: _Engines,
        record: Record,
        checkpoints: Checkpoints,
        stop: list[int],
        seconds: float,
    ) -> None:
        self._phases, self._engines = phases, engines
        self._record, self._checkpoints, self._stop = record, checkpoints, stop
        self._began = time.perf_counter() - seconds
        self._last: dict[str, list[float]] = {}

    def run(self, saved: Saved | None, *, init_from: str | None) -> dict[str, Any]:
        """Every phase from where it stands, to the final numbers."""
        first = saved.phase if saved else 0
        offset = sum(phase.steps for phase in self._phases[:first])
        states: Any = None
        for index in range(first, len(self._phases)):
            engine = self._engines[index]
            if saved and index == first:
                tree, start = saved.state, saved.step - offset
                states, totals = engine.layout.unstack(tree['states']), tree['totals']
                totals = jax.device_get(totals)
            else:
                states, start, totals = self._begin(index, states), 0, engine.no_totals()
                if init_from and index == 0:
                    states = self._weights(states, Path(init_from))
            states = self._phase(index, states, totals, start=start, offset=offset)
            offset += self._phases[index].steps
            states = engine.outcome(states)
        self._checkpoints.wait()
        return {
            'parameters': self._engines[len(self._phases) - 1].parameters(),
            'steps': offset,
            'seconds': round(time.perf_counter() - self._began, 1),
            'metrics': self._last,
        }

    def _begin(self, index: int, before: Any) -> Any:
        engine, phase = self._engines[index], self._phases[index]
        choice = engine.choice
        self._record.say(
            f'phase {index}: {phase.steps} steps, {engine.parameters():,} parameters, '
            f'{phase.train.name}; layout {choice.name} ({choice.why}), '
            f'{engine.chunk} steps a look{", scanned" if choice.scan else ""}'
        )
        states = engine.init()
        if before is not None and phase.start is not None:
            states = engine.start(phase.start, before, states)
        return states

    def _weights(self, states: Any, folder: Path) -> Any:
        """The first states with the nets' weights and memory of another run's newest checkpoint."""
        saved = load_weights(folder / 'checkpoints', say=self._record.say)
        layout = self._engines[0].layout
        loaded = with_weights(layout.stack(states), saved.state['states'], str(folder))
        self._record.say(f'weights from {folder}, step {saved.step}')
        return layout.unstack(loaded)

    def _phase(self, index: int, states: Any, totals: Any, *, start: int, offset: int) -> Any:
        phase, engine = self._phases[index], self._engines[index]
        # Killed after the last step of a phase was saved, and before what comes after it.
        if start == phase.steps or (start and engine.all_stopped(states)):
            self._evaluate(index, states, None, step=offset + start, again=True)
            return states
        examples = engine.rows * len(engine.seeds)
        ticks = engine.train(states, start=start, stop=phase.steps, every=phase.every)
        tick: Tick | None = None
        for tick in ticks:
            step = offset + tick.step
            totals = _sum(totals, tick.finished)
            self._record.progress(step, examples=examples)
            if tick.boundary:
                tick.states = self._evaluate(index, tick.states, totals, step=step)
                totals = engine.no_totals()
            if self._stop:
                if not tick.boundary:
                    totals = _sum(totals, tick.drain())
                    self._save(index, tick.states, totals, step=step, score=None)
                ticks.close()
                self._leave(step)
            if tick.boundary and engine.all_stopped(tick.states):
                self._record.say(f'every seed stopped early, at step {step}')
                ticks.close()
                break
        assert tick is not None
        return tick.states

    def _evaluate(
        self, index: int, states: Any, totals: Any, *, step: int, again: bool = False
    ) -> Any:
        """Measure, show, record and save. `again`: a resumed last step, recorded and saved."""
        phase, engine = self._phases[index], self._engines[index]
        count = len(engine.seeds)
        numbers: dict[str, list[Any]] = {}
        if totals is not None:
            numbers |= _named('train', finish_each(totals, count))
        if phase.valid is not None:
            measured = engine.measure(states, phase.valid)
            numbers |= _named('valid', finish_each(measured, count))
            if not again:
                states = engine.review(states, measured)
        outcome = engine.outcome(states)
        for name, source in phase.tests.items():
            numbers |= _named(name, finish_each(engine.measure(outcome, source), count))
        scalars, arrays = _split(numbers)
        if arrays:
            self._record.arrays({name: np.array(value) for name, value in arrays.items()})
        if again:
            lines = [line['metrics'] for line in read_metrics(self._record.folder)]
            scalars = {**lines[-1], **scalars} if lines else scalars
        else:
            if phase.show is not None and phase.tests:
                shown = engine.show(phase.show, outcome, next(iter(phase.tests.values())))
                self._record.samples(step, jax.tree.map(lambda x: x[0], shown))
            seconds = round(time.perf_counter() - self._began, 2)
            self._record.metrics(step, phase=index, seconds=seconds, values=scalars)
            self._save(index, states, engine.no_totals(), step=step, score=_score(scalars))
        self._last = scalars
        return states

    def _save(
        self, index: int, states: Any, totals: Any, *, step: int, score: float | None
    ) -> None:
        tree = {'states': self._engines[index].layout.stack(states), 'totals': totals}
        self._checkpoints.save(tree, step=step, phase=index, score=score)

    def _leave(self, step: int) -> None:
        self._checkpoints.wait()
        text = f'saved at step {step}; the same command goes on from there'
        self._record.say(text)
        raise (PreemptedError if self._stop[0] == signal.SIGTERM else InterruptedRunError)(text)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Signals received: SIGTERM and the first Ctrl-C wait for the next tick, a second does not."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _agree(folder: Path, config: Config) -> None:
    """Write config.json, or compare with the one there. Raises UsageError with the differences.

    Where nothing was trained yet there is nothing to lose: the new configuration takes its place.
    """
    path, new = folder / 'config.json', json.loads(json.dumps(config._asdict(), default=str))
    if not path.exists() or not read_metrics(folder):
        write_json(path, new)
        return
    old = read_json(path)
    if old != new:
        changes = '; '.join(_differences(old, new))
        raise UsageError(
            f'{folder} holds a run of another configuration: {changes}; '
            'take another --workdir, or remove the folder'
        )


def _differences(old: Any, new: Any, name: str = '') -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        out = []
        for key in sorted(old.keys() | new.keys()):
            out += _differences(old.get(key), new.get(key), f'{name}.{key}' if name else key)
        return out
    return [] if old == new else [f'{name}: {old!r} there, {new!r} now']


def _template(engine: Engine) -> Any:
    return {'states': engine.template(), 'totals': engine.no_totals()}


def _seconds(folder: Path) -> float:
    """Time already spent on a run that goes on."""
    lines = read_metrics(folder)
    return float(lines[-1]['seconds']) if lines else 0.0


def _sum(totals: dict[str, Metric], finished: list[tuple[int, dict[str, Metric]]]) -> Any:
    for _, metrics in finished:
        totals = {name: totals[name] + metric for name, metric in metrics.items()}
    return totals


def _named(split: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {f'{split}/{name}': values for name, values in numbers.items()}


def _split(numbers: Mapping[str, Any]) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Scalars and arrays: the first go to metrics.jsonl, the others to arrays.npz."""
    scalars = {k: [float(v) for v in vs] for k, vs in numbers.items() if np.ndim(vs[0]) == 0}
    return scalars, {k: vs for k, vs in numbers.items() if k not in scalars}


def _score(scalars: Mapping[str, Sequence[float]]) -> float | None:
    """Which checkpoint is kept as the best: the one of the lowest mean loss, if one is measured."""
    for name in ('valid/loss', 'test/loss', 'train/loss'):
        if name in scalars:
            mean = float(np.mean(scalars[name]))
            return -mean if math.isfinite(mean) else None
    return None
