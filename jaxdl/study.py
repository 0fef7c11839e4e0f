"""A study: one question, arms that differ in named choices, seeds, and claims to be judged."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Interval

from jaxdl.errors import UsageError

# Types only: a list of studies, or the help of a command, need not wait for jax.
if TYPE_CHECKING:
    import numpy as np

    from jaxdl.data.source import Source
    from jaxdl.data.text import Tokenizer
    from jaxdl.keys import Key
    from jaxdl.metrics import Better
    from jaxdl.samples import Sample
    from jaxdl.task import Batch, Metrics, State, Task

# The types of a trial's parameters: they are its ranges on the command line, and the text of one
# is its help there where the trial's docstring says no more.
Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Rate = Annotated[float, Gt(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Steps = Annotated[int, Ge(1), 'optimizer steps']
BatchSize = Annotated[int, Ge(1), 'rows of a training batch']
Examples = Annotated[int, Ge(1), 'training examples used, the first ones']
Peak = Annotated[float, Gt(0), 'peak learning rate, falling to zero along a cosine']

# In what the arms of a claim may have to be equal.
Equal = Literal['parameters', 'flops', 'seconds']
# Final numbers: {arm: {metric: one value a seed}}.
Results = Mapping[str, Mapping[str, 'np.ndarray']]
# Of numbers that say it: whether higher or lower is better.
Directions = Mapping[str, 'Better']
# An arm that is not trained, baseline(seed, ...) -> its numbers by name ('test/accuracy'): scalars,
# and arrays with one value an example. Its other parameters are the trial's, by name.
Baseline = Callable[..., Mapping[str, Any]]


class Eval(NamedTuple):
    """An evaluation: a finite source, and how it is measured where that is not as its phase says.

    measure(nets, batch, key) -> metrics: None is the task's own. `nets` are those of the task (see
        `Task.nets`); with the task's shadows, which its own measure may prefer.
    every: steps between two looks; None is the phase's. The last step always is one.
    show(nets, batch, key) -> samples by name: what a person should see of the first batch.
    """

    source: Source
    measure: Callable[[Any, Batch, Key], Metrics] | None = None
    every: int | None = None
    show: Callable[[Any, Batch, Key], Mapping[str, Sample]] | None = None


class Phase(NamedTuple):
    """One stretch of training.

    task: what is learned and how.
    train: the batches of steps 0, 1, ...; endless.
    tests: what is measured of the outcome, by name ('test' -> 'test/accuracy').
    steps: how many.
    every: steps between evaluations (and checkpoints), None for a tenth of all; the last step is
        always one.
    valid: what is measured of the live state and shown to `task.review` ('valid/accuracy').
    start(before, fresh): how this phase's initial state takes from the last outcome of the phase
        before; None starts fresh.
    name: of an earlier phase's numbers among the results ('pretrain' -> 'pretrain/test/accuracy');
        None is 'phase 0'.
    best: the number whose best value, in the mean over seeds, names the checkpoint that is kept
        beside the newest ones ('valid/accuracy'); None keeps no other.
    tokenizer: of what a language model writes, and of what it reads if there is no
        `source_tokenizer`: `jaxdl sample` needs it.
    """

    task: Task
    train: Source
    tests: Mapping[str, Source | Eval]
    steps: int
    every: int | None = None
    valid: Source | Eval | None = None
    start: Callable[[State, State], State] | None = None
    name: str | None = None
    best: str | None = None
    tokenizer: Tokenizer | None = None
    source_tokenizer: Tokenizer | None = None


Trial = Phase | tuple[Phase, ...]

# The splits that a run has whatever the experiment calls its own.
OWN = ('train', 'valid')


def cadence(phase: Phase) -> int:
    """Steps between the evaluations of a phase."""
    return phase.every or max(1, phase.steps // 10)


def evaluations(phase: Phase) -> dict[str, Eval]:
    """Every evaluation of a phase by name, with its cadence; 'valid' first, if there is one.

    Raises UsageError for a name that a run has for itself, or that cannot be part of a name.
    """
    for name in phase.tests:
        if name in OWN:
            raise UsageError(f'tests: {name!r} is what a run calls its own numbers; take another')
        if not isinstance(name, str) or not re.fullmatch(r'\w[\w .+-]*', name):
            raise UsageError(f'tests: {name!r} is no name: it is letters, digits, and - . + _')
    asked = {**({} if phase.valid is None else {'valid': phase.valid}), **phase.tests}
    found = {}
    for name, source in asked.items():
        test = source if isinstance(source, Eval) else Eval(source)
        found[name] = test._replace(every=test.every or cadence(phase))
    return found


def phase_names(phases: Sequence[Phase]) -> list[str]:
    """The names of phases. Raises UsageError where two are the same, or one cannot be a name."""
    names = [phase.name or f'phase {i}' for i, phase in enumerate(phases)]
    for i, name in enumerate(names):
        taken = {*names[:i], *OWN, *(test for phase in phases for test in phase.tests)}
        if name in taken:
            raise UsageError(f'phase {i}: the name {name!r} is taken')
        if not re.fullmatch(r'\w[\w .+-]*', name):
            raise UsageError(f'phase {i}: {name!r} is no name: it is letters, digits, and - . + _')
    return names


class Verdict(NamedTuple):
    """The answer to a claim: the effect, its 95 % interval and the p-value behind it.

    reason: what its reader must know, such as why nothing could be tested.
    """

    verdict: Literal['supported', 'refuted', 'undecided']
    effect: float
    ci95: tuple[float, float]
    p: float
    reason: str = ''


class Claim(NamedTuple):
    """A sentence with a test: `arms` are the arms it needs, and `metric` the number it judges.

    judge(results, better): `better` says which values of a number are the better ones.
    equal: in what the arms must be equal, to 5 %, for the claim to be judged at all.
    reported: what others found, with the source; see `against`.
    """

    text: str
    arms: tuple[str, ...]
    metric: str
    judge: Callable[[Results, Directions], Verdict]
    equal: Equal | None = None
    reported: str = ''

    def against(self, reported: str) -> Claim:
        """The same claim beside what others found, which changes no verdict.

        ``better('gru', 'tanh', 'test/loss').against('Cho et al. 2014: ...')``. The table of what
        was learned from all recorded studies has a row for each such claim.
        """
        return self._replace(reported=reported)


class Study(NamedTuple):
    """A question and how it is answered.

    question: one sentence.
    trial: its signature is the configuration and the command line.
    arms: named overrides of the trial's parameters; see `each`.
    seeds: how many seeds each arm is trained with.
    claims: see `jaxdl.claims` for tests.
    tiny: overrides that make an arm of seconds, called 'tiny': what the tests run, left out unless
        asked for. None: there is none.
    tune: a grid of values for some parameters, {'lr': (3e-4, 1e-3, 3e-3)}: before its reported
        seeds every arm is trained with each combination, and keeps that of the best mean
        `tuned_by`, the first of equal ones. Budgets are equal: every arm has the same grid, the
        same seeds and the steps that its reported run has. Nothing is measured on tests there.
        'tiny', parameters typed on the command line, and smoke runs are not tuned.
    tuned_by: the number that chooses, of the last phase's validation split ('valid/accuracy'): of
        the outcome, so that what a task kept as its best is what is compared.
    tuning_seeds: how many seeds each combination is trained with; none of them is reported.
    baselines: arms that are not trained, by name. A function's parameters besides `seed` are the
        trial's; see `jaxdl.baselines` for plain ones.
    """

    question: str
    trial: Callable[..., Trial]
    arms: Mapping[str, Mapping[str, Any]]
    seeds: int = 5
    claims: Sequence[Claim] = ()
    tiny: Mapping[str, Any] | None = None
    tune: Mapping[str, Sequence[Any]] | None = None
    tuned_by: str | None = None
    tuning_seeds: int = 2
    baselines: Mapping[str, Baseline] = {}

    def named(self) -> dict[str, Mapping[str, Any]]:
        """Every arm that can be asked for, with what it changes: baselines, then 'tiny', last."""
        tiny = {} if self.tiny is None else {'tiny': self.tiny}
        return {**self.arms, **{name: {} for name in self.baselines}, **tiny}


def each(**choices: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """An arm for each value of a parameter, called after it; of several, for each combination.

    ``each(start=('scratch', 'frozen'), labels=(10, 100))`` has the arms scratch_10, scratch_100,
    frozen_10 and frozen_100. Raises UsageError where two would have one name.
    """
    arms: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*choices.values()):
        name = '_'.join(map(str, values))
        if name in arms:
            raise UsageError(f'each: two arms are called {name!r}; write their names out')
        arms[name] = dict(zip(choices, values, strict=True))
    return arms
