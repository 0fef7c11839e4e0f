"""The stages of a run: each phase with its engine, its evaluations, and when they are due."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.derived import derived, measured, refuse_underived
from jaxdl.engine.engine import Engine, finish_each, split_seeds
from jaxdl.errors import UsageError, nearest
from jaxdl.metrics import About, Metric
from jaxdl.study import Eval, Phase, cadence, evaluations, phase_names

Numbers = dict[str, list[Any]]  # {'test/accuracy': [one a seed]}

# Of a phase that keeps its best state: the steps that each seed did, and which was its best.
STEPS, BEST_STEP = 'valid/steps', 'valid/best_step'


class Options(NamedTuple):
    """How an arm is run: nothing here changes what it computes.

    layout, chunk: see `jaxdl.engine.engine.Engine`. tensorboard: whether to write its files too.
    """

    layout: str = 'auto'
    chunk: int | None = None
    tensorboard: bool = True


class StepCost(NamedTuple):
    """What a step of one seed costs.

    flops: of its products. rows: of its batch. of: rows there are to train on, None where they are
    no table's.
    """

    flops: float
    rows: int
    of: int | None

    def epochs(self, steps: int) -> float | None:
        """How often so many steps see each row of training; None where that means nothing."""
        return steps * self.rows / self.of if self.of else None


class Stage:
    """A phase of a run: its engine, its evaluations, and when each of them is due.

    prefix: of its numbers among the run's results, '' for the last phase.
    """

    def __init__(self, index: int, prefix: str, phase: Phase, engine: Engine) -> None:
        self.index, self.prefix, self.phase, self.engine = index, prefix, phase, engine
        self.evaluations: Mapping[str, Eval] = engine.evaluations
        self.tests = [name for name in self.evaluations if name != 'valid']
        self.every = cadence(phase)
        self.cadences = {
            self.every,
            *(test.every or self.every for test in self.evaluations.values()),
        }
        self.about = {
            f'{split}/{name}': it
            for split, numbers in engine.about.items()
            for name, it in numbers.items()
        }
        for name in (STEPS, BEST_STEP) if engine.kept_by else ():
            if name in self.about:
                raise UsageError(f'{name}: a run counts its own; call that number otherwise')
            self.about[name] = About(())
        best = phase.best
        if best is not None and (best not in self.about or not self.about[best].better):
            known = [name for name, it in self.about.items() if it.better]
            raise UsageError(
                f'best: {best!r} is no number that says which values are better'
                f'{nearest(best, known)}'
            )

    @property
    def watched(self) -> list[str]:
        """The numbers by which a state is kept, if there are any."""
        kept = self.engine.kept_by
        names = [self.phase.best, None if kept is None else f'valid/{kept}']
        return [self.prefix + name for name in names if name is not None]

    @property
    def arrays(self) -> list[str]:
        """What arrays.npz holds of this phase once it has ended."""
        return [self.prefix + name for name, it in self.about.items() if it.shape]

    def template(self) -> Any:
        """Shapes of what a checkpoint of this phase holds."""
        return {'states': self.engine.template(), 'totals': self.engine.no_totals()}

    def cost(self) -> StepCost:
        """What a step of it costs."""
        table = self.phase.train.table
        rows = None if table is None else len(table)
        return StepCost(self.engine.flops(), self.engine.rows, rows)

    def forget(self) -> None:
        """Give back the data and the programs: the phase is over."""
        del self.engine

    def is_due(self, name: str, step: int) -> bool:
        """Whether an evaluation looks at this step of the phase."""
        return step % (self.evaluations[name].every or self.every) == 0

    def measure(self, states: Any, name: str) -> Numbers:
        """The finished numbers of an evaluation, 'test/accuracy'."""
        return named_numbers(name, finish_each(self.engine.measure(states, name)))

    def trained(self, totals: dict[str, Metric]) -> Numbers:
        """The finished numbers of training, 'train/loss'."""
        return named_numbers('train', finish_each(split_seeds(totals, len(self.engine.seeds))))

    def standing(self, states: Any) -> Numbers:
        """The steps that each seed has done and the step of its best state, NaN without one."""
        found = self.engine.standing(states)
        if found is None:
            return {}
        best = [float(step) if step >= 0 else math.nan for step in found.best]
        return {STEPS: [float(steps) for steps in found.steps], BEST_STEP: best}

    def carried(self, totals: dict[str, Metric], stopped: Sequence[bool]) -> dict[str, Metric]:
        """What the next stretch adds to: nothing, and of seeds that have stopped their last totals.

        So the training metrics of a seed that trains no more keep their last values.
        """
        none = self.engine.no_totals()
        if not any(stopped):
            return none

        def keep(last: Any, zero: Any) -> np.ndarray:
            return np.where(np.reshape(stopped, (-1,) + (1,) * (np.ndim(zero) - 1)), last, zero)

        return jax.tree.map(keep, totals, none)

    def score(self, numbers: Numbers) -> float | None:
        """What the checkpoint of these numbers is worth, if the phase says so; more is better."""
        best = self.phase.best
        if best is None or best not in numbers:
            return None
        mean = float(np.mean(numbers[best]))
        sign = 1 if self.about[best].better == 'higher' else -1
        return sign * mean if math.isfinite(mean) else None


def make_stages(
    phases: Sequence[Phase],
    seeds: Sequence[int],
    options: Options,
    say: Callable[[str], None] = lambda text: None,
    note: Callable[[str], None] | None = None,
) -> list[Stage]:
    """The stages of a run; nothing is compiled, and no data are on a device yet."""
    stages = []
    for index, (phase, name) in enumerate(zip(phases, phase_names(phases), strict=True)):
        engine = Engine(
            phase.task,
            phase.train,
            seeds=seeds,
            stage=f'phase {index}',
            layout_name=options.layout,
            chunk=options.chunk,
            evaluations=evaluations(phase),
            say=say,
            note=note,
        )
        prefix = '' if index == len(phases) - 1 else f'{name}/'
        stages.append(Stage(index, prefix, phase, engine))
    return stages


def numbers_of(stages: Sequence[Stage]) -> dict[str, About]:
    """Every number that a run will have, those of earlier phases by their names."""
    return {stage.prefix + name: it for stage in stages for name, it in stage.about.items()}


def refuse_unmeasured(
    arm: str, about: Mapping[str, About], *, judged: Sequence[str], compared: Sequence[str]
) -> None:
    """Raise UsageError where claims need a number that an arm will not have.

    Of a derived number that is what it is made of; see `jaxdl.derived`.
    """
    single = [name for name, it in about.items() if not it.shape]
    for name in judged:
        if (source := measured(name)) not in single:
            what = ', which is an array' if source in about else ''
            made = f', made of {source!r}' if source != name else ''
            close = nearest(source, single)
            raise UsageError(f'a claim judges {name!r} of arm {arm!r}{made}{what}{close}')
        if made_of := derived(name):
            refuse_underived(made_of, about[source].better, single)
    for name in compared:
        made_of = derived(name)
        if not (made_of.better(about[made_of.metric].better) if made_of else about[name].better):
            raise UsageError(
                f'a claim compares {name!r}, and nothing says which values are better; its metric '
                "does: better='higher'"
            )


def named_numbers(split: str, numbers: Mapping[str, Any]) -> Numbers:
    """The numbers of a split by their whole names."""
    return {f'{split}/{name}': values for name, values in numbers.items()}


def scalars_of(numbers: Numbers) -> dict[str, list[float]]:
    """The numbers that are not arrays."""
    return {k: [float(v) for v in vs] for k, vs in numbers.items() if np.ndim(vs[0]) == 0}
