"""A study: one question, arms that differ in named choices, seeds, and claims to be judged."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Interval

from jaxdl.data.source import Source
from jaxdl.keys import Key
from jaxdl.samples import Sample
from jaxdl.task import Batch, State, Task

# The types of a trial's parameters: they are its ranges on the command line.
Count = Annotated[int, Ge(1)]
Rate = Annotated[float, Gt(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]

# Final numbers: {arm: {metric: one value a seed}}.
Results = Mapping[str, Mapping[str, np.ndarray]]


class Phase(NamedTuple):
    """One stretch of training.

    task: what is learned and how.
    train: the batches of steps 0, 1, ...; endless.
    tests: the splits measured on the outcome, by name ('test' -> 'test/accuracy'); finite.
    steps: how many.
    every: steps between evaluations (and checkpoints); the last step is always one.
    valid: a split measured on the live state and shown to `task.review` ('valid/accuracy').
    start(before, fresh): how this phase's initial state takes from the last outcome of the phase
        before; None starts fresh.
    show(key, state, batch): what a person should see, drawn from the first test batch.
    """

    task: Task
    train: Source
    tests: Mapping[str, Source]
    steps: int
    every: int
    valid: Source | None = None
    start: Callable[[State, State], State] | None = None
    show: Callable[[Key, State, Batch], Mapping[str, Sample]] | None = None


Trial = Phase | tuple[Phase, ...]


class Verdict(NamedTuple):
    """The answer to a claim: the effect, its 95 % interval and the p-value behind it."""

    verdict: Literal['supported', 'refuted', 'undecided']
    effect: float
    ci95: tuple[float, float]
    p: float


class Claim(NamedTuple):
    """A sentence with a test. `arms` are the arms it needs."""

    text: str
    arms: tuple[str, ...]
    judge: Callable[[Results], Verdict]


class Study(NamedTuple):
    """A question and how it is answered.

    question: one sentence.
    trial: its signature is the configuration and the command line.
    arms: named overrides of the trial's parameters. The arm 'tiny' is what the tests run; it is
        left out unless asked for.
    seeds: how many seeds each arm is trained with.
    claims: see `jaxdl.stats` for tests.
    """

    question: str
    trial: Callable[..., Trial]
    arms: Mapping[str, Mapping[str, Any]]
    seeds: int = 5
    claims: Sequence[Claim] = ()
