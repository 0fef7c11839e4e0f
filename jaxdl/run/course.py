"""The course of a run, on the host: what is done at each tick of the engine, from phase to phase.

Everything that can happen to a run while it trains is here: it measures, reviews, shows, saves, is
interrupted, diverges, ends.
"""

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl.checkpoint.manager import Checkpoints, load_weights
from jaxdl.checkpoint.reading import Saved
from jaxdl.engine.engine import Tick
from jaxdl.engine.layout import COMPILES
from jaxdl.errors import DivergedError, JaxdlError
from jaxdl.files import RESTORE, read_arrays
from jaxdl.metrics import Metric
from jaxdl.processes.telling import Agreement, wait_for_all
from jaxdl.run.config import groups_of, seeds_said
from jaxdl.run.interruption import stopped_by
from jaxdl.run.record import ARRAYS, METRICS, Record, read_metrics
from jaxdl.run.stage import BEST_STEP, STEPS, Numbers, Stage, scalars_of
from jaxdl.run.watchdog import Watchdog, floor_of
from jaxdl.task import never
from jaxdl.transfer import with_variables, with_weights


class Course:
    """A run that is under way: its stages, its record, its checkpoints, and who may stop it.

    seconds: that it has taken before this start.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        record: Record,
        checkpoints: Checkpoints,
        stop: Agreement,
        seconds: float,
    ) -> None:
        self._stages, self._record, self._checkpoints = stages, record, checkpoints
        self._stop = stop
        self._halted: list[bool] = []  # of each seed whether it was seen to have stopped
        self._warned: set[str] = set()  # numbers that were said not to be finite
        self._began = time.perf_counter() - seconds

    def go(self, saved: Saved | None, *, init_from: str | None) -> dict[str, Any]:
        """Every phase from where it stands, to the final numbers."""
        first = saved.phase if saved else 0
        offset = sum(stage.phase.steps for stage in self._stages[:first])
        costs = [stage.cost() for stage in self._stages]  # now: an engine goes with its phase
        outcome: Any = None  # of the phase before, with a leading axis of seeds
        for stage in self._stages[first:]:
            engine, phase = stage.engine, stage.phase
            self._introduce(stage)
            if saved and stage.index == first:
                self._record.say(f'going on at step {saved.step}')
                states, start = engine.layout.unstack(saved.state['states']), saved.step - offset
                totals = jax.device_get(saved.state['totals'])
            else:
                states, start, totals = engine.init(), 0, engine.no_totals()
                if outcome is not None and phase.start is not None:
                    before = engine.layout.unstack(outcome)
                    states = engine.start(phase.start, before, states)
                if init_from and stage.index == 0:
                    states = self._weights(states, Path(init_from))
            # Killed after the last step of a phase was saved, and before what comes after it?
            if not (start == phase.steps or (start and engine.all_stopped(states))):
                states = self._train(stage, states, totals, start=start, offset=offset)
            outcome = engine.layout.gather(engine.outcome(states))
            offset += phase.steps
            parameters = engine.parameters()
            stage.forget()
            del engine
        self._checkpoints.wait()
        wait_for_all()
        results = self._results()
        steps = [_steps_done(stage, results) for stage in self._stages]
        done = list(zip(steps, costs, strict=True))
        return {
            'parameters': parameters,
            'steps': sum(steps),
            'flops': sum(count * each.flops for count, each in done),
            'epochs': [each.epochs(count) for count, each in done],
            'seconds': round(time.perf_counter() - self._began, 1),
            'metrics': results,
        }

    def redraw(self, saved: Saved) -> None:
        """Draw the pictures of a finished run again, of the outcome of its last step."""
        stage = self._stages[saved.phase]
        outcome = stage.engine.outcome(stage.engine.layout.unstack(saved.state['states']))
        for name in stage.tests:
            self._show(stage, outcome, name, step=saved.step)
        self._record.say('the pictures are drawn again: what they show has changed')

    def _show(self, stage: Stage, outcome: Any, name: str, *, step: int) -> None:
        shown = stage.engine.show(outcome, name)
        self._record.samples(step, {f'{name}/{kind}': x for kind, x in shown.items()})

    def _results(self) -> dict[str, Any]:
        """The last numbers of every phase, as metrics.jsonl has them."""
        _refuse_lost(self._record.folder, self._stages)
        lines = read_metrics(self._record.folder)
        latest = {line['phase']: line['metrics'] for line in lines if line['ends']}
        return {
            stage.prefix + name: values
            for stage in self._stages
            for name, values in latest[stage.index].items()
        }

    def _introduce(self, stage: Stage) -> None:
        engine, choice = stage.engine, stage.engine.choice
        name = stage.prefix.removesuffix('/') or f'phase {stage.index}'
        most = '' if stage.phase.task.stopped is never else 'at most '
        self._record.say(
            f'{name}: {most}{stage.phase.steps} steps, {engine.parameters():,} parameters, '
            f'{stage.phase.train.name}; layout {choice.name} ({choice.why}), '
            f'{engine.chunk} steps a look{", scanned" if choice.scan else ""}'
        )

    def _weights(self, states: Any, source: Path) -> Any:
        """The first states with weights from a file, or from another run's newest checkpoint."""
        from jaxdl.interop.files import SUFFIXES, read_weights  # imports every network there is

        layout = self._stages[0].engine.layout
        stacked = layout.gather(states)
        if source.is_file() or source.suffix in SUFFIXES:
            weights = read_weights(source)
            what = f'{source} ({weights.arch}, {weights.layout})'
            loaded = with_variables(stacked, weights.variables, what, without=weights.without)
            left = f', without {", ".join(weights.without)}' if weights.without else ''
            self._record.say(f'weights from {what}{left}')
        else:
            found = [
                load_weights(group / 'checkpoints', say=self._record.say)
                for group in groups_of(source) or [source]
            ]
            # Of a run to which seeds were added: all of them, in the order of their folders.
            there = jax.tree.map(lambda *x: np.concatenate(x), *(s.state['states'] for s in found))
            loaded = with_weights(stacked, there, str(source))
            self._record.say(f'weights from {source}, step {found[0].step}')
        return layout.unstack(loaded)

    def _train(self, stage: Stage, states: Any, totals: Any, *, start: int, offset: int) -> Any:
        """The steps of a phase from `start` on; the states they end in."""
        engine, phase = stage.engine, stage.phase
        examples = engine.rows * len(engine.seeds)
        self._halted = engine.stopped(states) if start else [False] * len(engine.seeds)
        ticks = engine.train(states, start=start, stop=phase.steps, cadences=stage.cadences)
        tick: Tick | None = None
        who = f'rank {jax.process_index()}: ' if jax.process_count() > 1 else ''
        watchdog = Watchdog(floor_of(os.environ), busy=COMPILES, who=who)
        with closing(ticks), self._diverging(stage), watchdog:
            for tick in ticks:
                watchdog.tick()
                totals = _sum(totals, tick.finished)
                self._record.progress(offset + tick.step, examples=examples)
                last = saved = False
                if tick.boundary:
                    with watchdog.paused():
                        last, saved, totals = self._look(stage, tick, totals, offset=offset)
                if asked := self._stop.look():
                    with watchdog.paused():
                        if not saved:
                            totals = _sum(totals, tick.drain())
                            self._save(stage, tick.states, totals, step=offset + tick.step)
                        self._leave(asked, offset + tick.step)
                if last:
                    break
        assert tick is not None
        return tick.states

    def _look(
        self, stage: Stage, tick: Tick, totals: Any, *, offset: int
    ) -> tuple[bool, bool, Any]:
        """Measure, review, show and record what is due.

        What is reviewed may end the phase, and at its end everything is due. Returns whether this
        was the last look, whether it was saved, and the totals that the next stretch adds to.
        """
        engine, phase, step = stage.engine, stage.phase, offset + tick.step
        ends = tick.step == phase.steps
        numbers: Numbers = {}
        if 'valid' in stage.evaluations and (ends or stage.is_due('valid', tick.step)):
            numbers = stage.measure(tick.states, 'valid')
            scalars = {name.removeprefix('valid/'): x for name, x in scalars_of(numbers).items()}
            tick.states = engine.review(tick.states, scalars)
            numbers |= stage.standing(tick.states)
        stopped = engine.stopped(tick.states)
        if not ends:
            self._tell_stopped(stage, stopped, numbers, step=step)
            ends = all(stopped)
        saves = ends or tick.step % stage.every == 0
        if saves:
            numbers = {**stage.trained(totals), **numbers}
        due = [name for name in stage.tests if ends or stage.is_due(name, tick.step)]
        outcome = engine.outcome(tick.states) if due else None
        for name in due:
            numbers |= stage.measure(outcome, name)
            self._show(stage, outcome, name, step=step)
        self._write(stage, numbers, step=step, ends=ends)
        if ends:
            self._tell_unscored(stage, numbers)
        if saves:
            totals = stage.carried(totals, stopped)
            self._save(stage, tick.states, totals, step=step, score=stage.score(numbers))
        return ends, saves, totals

    def _tell_stopped(
        self, stage: Stage, stopped: list[bool], numbers: Numbers, *, step: int
    ) -> None:
        """Say which seeds have stopped early at this look."""
        now = [i for i, halts in enumerate(stopped) if halts and not self._halted[i]]
        if now:
            bests = numbers.get(BEST_STEP, [math.nan] * len(stopped))
            found = ', '.join(f'{bests[i]:.0f}' if math.isfinite(bests[i]) else 'none' for i in now)
            seeds = seeds_said([stage.engine.seeds[i] for i in now])
            self._record.say(f'{seeds} stopped early, at step {step} (best step {found})')
        if all(stopped) and not all(self._halted):
            self._record.say(f'every seed stopped early, at step {step}')
        self._halted = stopped

    def _tell_unscored(self, stage: Stage, numbers: Numbers) -> None:
        """Warn of seeds that never had a finite score: there is no best state of theirs."""
        bests = zip(stage.engine.seeds, numbers.get(BEST_STEP, []), strict=False)
        seeds = [seed for seed, best in bests if not math.isfinite(best)]
        if seeds:
            self._record.say(
                f'warning: valid/{stage.engine.kept_by} of {seeds_said(seeds)} was never finite: '
                'the last state counts, not a best one'
            )

    def _write(self, stage: Stage, numbers: Numbers, *, step: int, ends: bool) -> None:
        """Scalars go to metrics.jsonl, arrays to arrays.npz."""
        scalars = scalars_of(numbers)
        arrays = {k: _stacked(v) for k, v in numbers.items() if k not in scalars}
        if arrays:
            self._record.arrays({stage.prefix + name: x for name, x in arrays.items()})
        for name, values in scalars.items():
            found = {s: v for s, v in zip(stage.engine.seeds, values, strict=True)}
            bad = [seed for seed, value in found.items() if not math.isfinite(value)]
            if bad and name != BEST_STEP and stage.prefix + name not in self._warned:
                self._warned.add(stage.prefix + name)
                what = 'NaN' if any(math.isnan(found[seed]) for seed in bad) else 'infinite'
                self._record.say(f'warning: {name} of {seeds_said(bad)} is {what} at step {step}')
        seconds = round(time.perf_counter() - self._began, 2)
        self._record.metrics(step, phase=stage.index, seconds=seconds, values=scalars, ends=ends)

    @contextmanager
    def _diverging(self, stage: Stage) -> Iterator[None]:
        """Say of a state that is not finite in which phase it was, and what is left."""
        try:
            yield
        except DivergedError as error:
            self._record.say(str(error))
            self._checkpoints.wait()
            steps = self._checkpoints.steps()
            left = f'step {steps[-1]} is the last good checkpoint' if steps else 'nothing was saved'
            phase = f' phase {stage.index}:' if len(self._stages) > 1 else ''
            raise DivergedError(f'{self._record.folder}:{phase} {error}; {left}') from error

    def _save(
        self, stage: Stage, states: Any, totals: Any, *, step: int, score: float | None = None
    ) -> None:
        tree = {'states': stage.engine.layout.gather(states), 'totals': totals}
        self._checkpoints.save(tree, step=step, phase=stage.index, score=score)

    def _leave(self, asked: int, step: int) -> None:
        self._checkpoints.wait()
        wait_for_all()  # none ends before the first one has written
        self._record.say(f'saved at step {step}')
        raise stopped_by(asked, f'stopped and saved at step {step}')


def _refuse_lost(folder: Path, ended: Sequence[Stage]) -> None:
    """Raise JaxdlError where the last numbers of a phase that has ended are no longer there."""
    ends = {line['phase'] for line in read_metrics(folder) if line['ends']}
    arrays = read_arrays(folder / ARRAYS)
    for stage in ended:
        if stage.index not in ends:
            raise JaxdlError(f'{folder / METRICS} has lost the last numbers of a phase; {RESTORE}')
        if lost := [name for name in stage.arrays if name not in arrays]:
            raise JaxdlError(f'{folder / ARRAYS} has lost {lost[0]} of a phase; {RESTORE}')


def tell_lost(record: Record, stages: Sequence[Stage], saved: Saved) -> None:
    """Say of which steps metrics.jsonl has lost the numbers that were there before a save.

    Raises JaxdlError where they are the last of an earlier phase: those belong to the result.
    """
    _refuse_lost(record.folder, stages[: saved.phase])
    path = record.folder / METRICS
    lines = read_metrics(record.folder)
    there = {line['step'] for line in lines}
    ends = {line['phase']: line['step'] for line in lines if line['ends']}
    lost: set[int] = set()
    offset = 0
    for stage in stages[: saved.phase + 1]:
        last = saved.step if stage.index == saved.phase else ends[stage.index]
        for every in stage.cadences:
            lost |= set(range(offset + every, last + 1, every)) - there
        offset += stage.phase.steps
    if lost:
        steps = ', '.join(map(str, sorted(lost)[:5])) + ', ...' * (len(lost) > 5)
        record.say(f'{path} has lost the numbers of step {steps}; the curves are without them')


def _steps_done(stage: Stage, results: Mapping[str, Any]) -> int:
    """The steps of a phase that its longest seed did: fewer than planned if all stopped early."""
    done = results.get(stage.prefix + STEPS)
    return int(max(done)) if done else stage.phase.steps


def _stacked(values: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays of all seeds as one; where a seed has fewer examples, NaN fills it up."""
    rows = max(map(len, values))
    if all(len(each) == rows for each in values):
        return np.array(values)
    found = np.full((len(values), rows, *values[0].shape[1:]), np.nan)
    for row, each in zip(found, values, strict=True):
        row[: len(each)] = each
    return found


def _sum(totals: dict[str, Metric], finished: list[tuple[int, dict[str, Metric]]]) -> Any:
    for _, metrics in finished:
        totals = {name: totals[name] + metric for name, metric in metrics.items()}
    return totals
