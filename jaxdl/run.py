"""The run of one arm: a folder, its lock, its checkpoints, its records, and the loop over ticks.

Everything that can happen to a run on the host is here: it resumes, evaluates, saves, is
interrupted, diverges, is done. What it computes is in `engine.py`.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.checkpoint import Checkpoints, Saved, load_weights
from jaxdl.config import Config, agree
from jaxdl.engine import Engine, Tick, finish_each
from jaxdl.errors import DivergedError, UsageError
from jaxdl.interruption import noted, stopped_by
from jaxdl.lock import locked
from jaxdl.metrics import Metric
from jaxdl.record import Record, read_json, read_metrics, write_json
from jaxdl.study import Phase
from jaxdl.weights import with_variables, with_weights


class Options(NamedTuple):
    """How an arm is run: nothing here changes what it computes.

    layout, chunk: see `jaxdl.engine.Engine`. tensorboard: whether to write its files too.
    """

    layout: str = 'auto'
    chunk: int | None = None
    tensorboard: bool = True


def run_arm(
    folder: Path,
    phases: Sequence[Phase],
    config: Config,
    *,
    env: Mapping[str, Any],
    options: Options = Options(),  # noqa: B008 (immutable)
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Train one arm in `folder`, or go on with it, or return its numbers if it is done.

    env: what env.json is to say of the machine. notes: lines for the log.
    Returns what DONE holds: {'parameters', 'steps', 'seconds', 'metrics': {name: [one a seed]}}.
    Raises UsageError where the folder holds another config or another process runs in it;
    DivergedError; PreemptedError and InterruptedRunError once everything is saved.
    """
    with ExitStack() as stack:
        stack.enter_context(locked(folder))
        stop = stack.enter_context(noted())
        early = list(notes)  # said before the record is open, which must know where to go on
        speak = [early.append]
        checkpoints = stack.enter_context(
            Checkpoints(folder / 'checkpoints', say=lambda text: speak[0](text))
        )
        recorded = bool(read_metrics(folder))
        agree(folder, config, trained=recorded or bool(checkpoints.steps()))
        if (folder / 'DONE').exists():
            return read_json(folder / 'DONE')
        engines = _Engines(phases, config.seeds, options, say=lambda text: speak[0](text))
        saved = checkpoints.restore(lambda phase: _template(engines[phase]))
        record = stack.enter_context(
            Record(
                folder,
                title=f'{config.study} {config.arm}',
                seeds=config.seeds,
                steps=sum(phase.steps for phase in phases),
                resume_at=saved.step if saved else 0,
                tensorboard=options.tensorboard,
            )
        )
        speak[0] = record.say
        for text in early:
            record.say(text)
        if recorded and not saved:
            record.say('nothing was saved yet: starting from step 0')
        layout = engines[saved.phase if saved else 0].layout
        write_json(folder / 'env.json', {**env, 'layout': layout.name})
        arm = _Arm(phases, engines, record, checkpoints, stop, _seconds(folder))
        payload = arm.run(saved, init_from=config.init_from)
        record.done(payload)
    if stop:  # after the last step: this arm is done, and what would follow is not
        raise stopped_by(stop[0], f'{folder} is done')
    return payload


def evaluate_arm(
    folder: Path,
    phases: Sequence[Phase],
    config: Config,
    *,
    options: Options,
    say: Callable[[str], None] = print,
) -> tuple[int, dict[str, list[float]]]:
    """The newest valid checkpoint of an arm, measured again: (step, {metric: [one a seed]}).

    Raises CheckpointError where no checkpoint is valid, UsageError where there is none.
    """
    with locked(folder), Checkpoints(folder / 'checkpoints', say=say) as checkpoints:
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

    def forget(self, index: int) -> None:
        """Give back the data and the programs of a phase that is over."""
        self._made.pop(index, None)


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
        outcome: Any = None  # of the phase before, with a leading axis of seeds
        for index in range(first, len(self._phases)):
            engine, phase = self._engines[index], self._phases[index]
            self._introduce(index)
            if saved and index == first:
                self._record.say(f'going on at step {saved.step}')
                states, start = engine.layout.unstack(saved.state['states']), saved.step - offset
                totals = jax.device_get(saved.state['totals'])
            else:
                states, start, totals = engine.init(), 0, engine.no_totals()
                if outcome is not None and phase.start is not None:
                    before = engine.layout.unstack(outcome)
                    states = engine.start(phase.start, before, states)
                if init_from and index == 0:
                    states = self._weights(states, Path(init_from))
            states = self._phase(index, states, totals, start=start, offset=offset)
            outcome = engine.layout.stack(engine.outcome(states))
            offset += phase.steps
            parameters = engine.parameters()
            self._engines.forget(index)
        self._checkpoints.wait()
        return {
            'parameters': parameters,
            'steps': offset,
            'seconds': round(time.perf_counter() - self._began, 1),
            'metrics': self._last,
        }

    def _introduce(self, index: int) -> None:
        engine, phase = self._engines[index], self._phases[index]
        choice = engine.choice
        self._record.say(
            f'phase {index}: {phase.steps} steps, {engine.parameters():,} parameters, '
            f'{phase.train.name}; layout {choice.name} ({choice.why}), '
            f'{engine.chunk} steps a look{", scanned" if choice.scan else ""}'
        )

    def _weights(self, states: Any, source: Path) -> Any:
        """The first states with weights from a file, or from another run's newest checkpoint."""
        from jaxdl.interop.files import SUFFIXES, read_weights  # imports every network there is

        layout = self._engines[0].layout
        stacked = layout.stack(states)
        if source.is_file() or source.suffix in SUFFIXES:
            weights = read_weights(source)
            what = f'{source} ({weights.arch}, {weights.layout})'
            loaded = with_variables(stacked, weights.variables, what, without=weights.without)
            left = f', without {", ".join(weights.without)}' if weights.without else ''
            self._record.say(f'weights from {what}{left}')
        else:
            saved = load_weights(source / 'checkpoints', say=self._record.say)
            loaded = with_weights(stacked, saved.state['states'], str(source))
            self._record.say(f'weights from {source}, step {saved.step}')
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
        with closing(ticks), self._diverging(index):
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
                    self._leave(step)
                if tick.boundary and engine.all_stopped(tick.states):
                    self._record.say(f'every seed stopped early, at step {step}')
                    break
        assert tick is not None
        return tick.states

    @contextmanager
    def _diverging(self, index: int) -> Iterator[None]:
        """Say of a state that is not finite in which phase it was, and what is left."""
        try:
            yield
        except DivergedError as error:
            self._record.say(str(error))
            self._checkpoints.wait()
            steps = self._checkpoints.steps()
            left = f'step {steps[-1]} is the last good checkpoint' if steps else 'nothing was saved'
            phase = f' phase {index}:' if len(self._phases) > 1 else ''
            raise DivergedError(f'{self._record.folder}:{phase} {error}; {left}') from error

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
        self._record.say(f'saved at step {step}')
        raise stopped_by(self._stop[0], f'stopped and saved at step {step}')


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
