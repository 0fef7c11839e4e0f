"""The run of one arm: a folder, its lock, its checkpoints, its records, and whether it goes on.

Here it is found out what the folder holds and what is asked: a run is started, resumed, refused,
drawn again, or only read. What happens while it trains is in `course.py`, what it computes in
`engine.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jaxdl.checkpoint.manager import Checkpoints
from jaxdl.checkpoint.reading import Saved
from jaxdl.derived import measured
from jaxdl.errors import CheckpointError, UsageError
from jaxdl.processes.telling import Agreement, from_first
from jaxdl.run import method
from jaxdl.run.comparison import refuse_changes, stand
from jaxdl.run.config import Config, agree, note_start
from jaxdl.run.course import Course, tell_lost
from jaxdl.run.interruption import note_signals, stopped_by
from jaxdl.run.lock import locked
from jaxdl.run.record import METRICS, Record, read_done, read_metrics, saves_proved, spent
from jaxdl.run.stage import (
    Numbers,
    Options,
    Stage,
    make_stages,
    numbers_of,
    refuse_unmeasured,
    scalars_of,
)
from jaxdl.study import Phase


def run_arm(
    folder: Path,
    phases: Sequence[Phase],
    config: Config,
    *,
    env: Mapping[str, Any],
    options: Options = Options(),  # noqa: B008 (immutable)
    experiment: Path | None = None,
    accept: bool = False,
    title: str | None = None,
    notes: Sequence[str] = (),
    judged: Sequence[str] = (),
    compared: Sequence[str] = (),
) -> dict[str, Any]:
    """Train one arm in `folder`, or go on with it, or return its numbers if it is done.

    env: what env.json is to say of the machine at this start. experiment: the file that the phases
    come from. accept: go on with a run that computes something else now. title: what progress is
    said of, None for the study and the arm. notes: lines for the log.
    judged, compared: the numbers that claims need of this arm, and those of them of which it must
    be known which values are better.
    Of an arm that is done the pictures are drawn again where they would be others.
    Returns what DONE holds: {'parameters', 'steps', 'flops', 'epochs', 'seconds',
    'metrics': {name: [one a seed]}}. flops: of the training steps of one seed, products only.
    epochs: of each phase its passes over the rows of training, None where those are no table's.
    Raises UsageError where the folder holds another config, where something else is computed, where
    another process runs in it, and where phases, evaluations or claims do not fit each other;
    DivergedError; PreemptedError and InterruptedRunError once everything is saved.
    """
    with ExitStack() as stack:
        from_first(lambda: _hold(stack, folder))
        stop = Agreement(stack.enter_context(note_signals()))
        say = _Voice(notes)
        checkpoints = stack.enter_context(Checkpoints(folder / 'checkpoints', say=say))
        recorded = bool(read_metrics(folder))
        trained = recorded or bool(checkpoints.steps())
        agree(folder, config, trained=trained)
        stages = make_stages(phases, config.seeds, options, say=say, note=say.note)
        about = numbers_of(stages)
        refuse_unmeasured(config.arm, about, judged=judged, compared=compared)
        standing = stand(folder, stages, config, experiment=experiment, trained=trained)
        refuse_changes(standing, accept=accept)
        done = (folder / 'DONE').exists()
        saved = None
        if not done or standing.redraw:
            saved = checkpoints.restore(lambda phase: stages[phase].template())
        if not done and saved is None and saves_proved(folder):
            raise CheckpointError(
                f'{folder} has lost its checkpoints, and {METRICS} proves that there were some: '
                'put a copy back, or start from zero in another --workdir'
            )
        if done and standing.changed:
            layout = stages[-1].engine.layout.name
            note_start(folder, env, layout=layout, accepted=standing.changed)
        if done and saved is None:
            standing.write(experiment)
            return read_done(folder)
        watched = [*map(measured, judged), *(name for it in stages for name in it.watched)]
        # Lines of metrics.jsonl name the numbers of an earlier phase without its name.
        watched += [name.removeprefix(stage.prefix) for stage in stages for name in watched]
        record = stack.enter_context(
            Record(
                folder,
                title=title or f'{config.study} {config.arm}',
                seeds=config.seeds,
                steps=sum(phase.steps for phase in phases),
                resume_at=saved.step if saved else 0,
                tensorboard=options.tensorboard,
                watched=watched,
            )
        )
        say.open(record)
        if recorded and not saved:
            record.say('nothing was saved yet: starting from step 0')
        if saved and not done:
            tell_lost(record, stages, saved)
        standing.write(experiment)
        run = Course(stages, record, checkpoints, stop, spent(folder))
        if done and saved is not None:
            run.redraw(saved)
            return read_done(folder)
        layout = stages[saved.phase if saved else 0].engine.layout.name
        step = saved.step if saved else 0
        note_start(folder, env, layout=layout, step=step, accepted=standing.changed)
        record.describe(about)
        record.explain(method.about(stages))
        payload = run.go(saved, init_from=config.init_from)
        record.done(payload)
    if asked := stop.now():  # after the last step: this arm is done, and what would follow is not
        raise stopped_by(asked, f'{folder} is done')
    return payload


def _hold(stack: ExitStack, folder: Path) -> None:
    """The lock of a folder, for as long as the stack is open."""
    stack.enter_context(locked(folder))


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
    stage, saved = restore_arm(folder, phases, config, options=options, say=say)
    states = stage.engine.outcome(stage.engine.layout.unstack(saved.state['states']))
    numbers: Numbers = {}
    for name in stage.tests:
        numbers |= stage.measure(states, name)
    return saved.step, scalars_of(numbers)


def restore_arm(
    folder: Path,
    phases: Sequence[Phase],
    config: Config,
    *,
    options: Options,
    say: Callable[[str], None] = print,
) -> tuple['Stage', Saved]:
    """The newest valid checkpoint of an arm, and the stage that it is of.

    Raises CheckpointError where no checkpoint is valid, UsageError where there is none.
    """
    with locked(folder), Checkpoints(folder / 'checkpoints', say=say) as checkpoints:
        stages = make_stages(phases, config.seeds, options)
        saved = checkpoints.restore(lambda phase: stages[phase].template())
    if saved is None:
        raise UsageError(f'{folder} has no checkpoint yet')
    return stages[saved.phase], saved


class _Voice:
    """Lines for the log, kept until the record is open: it must know first where to go on."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._early = list(lines)
        self._record: Record | None = None

    def __call__(self, text: str) -> None:
        if self._record is None:
            self._early.append(text)
        else:
            self._record.say(text)

    def note(self, text: str) -> None:
        """What a program took to compile: for the log, and that it takes time for the person."""
        if self._record is None:
            self._early.append(text)
        else:
            self._record.note(text)

    def open(self, record: Record) -> None:
        """Say what was kept, and from now on everything at once."""
        self._record = record
        for text in self._early:
            record.say(text)
