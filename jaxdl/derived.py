"""Numbers on the way there: what is made of a curve, or of a test and its training twin.

A derived number has a name like any other, and that name says it all: 'area of test/accuracy',
'gap of test/accuracy', 'steps to test/accuracy >= 0.9', 'seconds to test/loss <= 0.3'. Names are
read here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jaxdl.errors import UsageError

if TYPE_CHECKING:  # claims need not wait for jax
    from jaxdl.metrics import Better

_NAME = re.compile(r'(area|gap) of (.+)|(steps|seconds) to (.+) (>=|<=) (\S+)')


class Derived(NamedTuple):
    """A number that is made of others.

    area: the mean of the curve of `metric` over steps, from the first look to the planned end of
        its phase, by the trapezoid rule; a seed that stopped early keeps its last value.
    gap: how much worse `metric` is on the test than in training, from their last values. Those of
        training are of the last steps, as the network was then: with dropout, augmentation, and
        what else belongs to training.
    steps, seconds: of the run until the first look at which `metric` reaches `bound`, earlier
        phases included, or the whole length where it never does. Seconds are those of the whole
        arm, all its seeds together, compiling and measuring included. How fine they are is for the
        steps between two looks to say.

    metric: what it is made of. above: whether the bound is reached from below, 'at least'.
    """

    kind: Literal['area', 'gap', 'steps', 'seconds']
    metric: str
    bound: float = 0.0
    above: bool = True

    @property
    def name(self) -> str:
        """The name, from which `derived` reads all this again."""
        if self.kind in ('area', 'gap'):
            return f'{self.kind} of {self.metric}'
        return f'{self.kind} to {self.metric} {">=" if self.above else "<="} {self.bound:.12g}'

    @property
    def timed(self) -> bool:
        """Whether it is a time, which ends with the run where the bound is not reached."""
        return self.kind in ('steps', 'seconds')

    def better(self, of_metric: Better | None) -> Better | None:
        """Which of its values are better, where that is known of its metric."""
        return of_metric if self.kind == 'area' else 'lower'


def derived(name: str) -> Derived | None:
    """What a name stands for; None for a number that is measured."""
    found = _NAME.fullmatch(name)
    if not found:
        return None
    whole, metric, unit, reached, sign, bound = found.groups()
    if whole:
        return Derived('area' if whole == 'area' else 'gap', metric)
    try:
        kind: Literal['steps', 'seconds'] = 'steps' if unit == 'steps' else 'seconds'
        return Derived(kind, reached, float(bound), sign == '>=')
    except ValueError:
        return None


def measured(name: str) -> str:
    """The number that is measured for this one: itself, or what it is derived from."""
    made = derived(name)
    return made.metric if made else name


def refuse_underived(made: Derived, better: Better | None, names: Sequence[str]) -> None:
    """Raise UsageError where a number cannot be made of `metric`, one of those that are measured.

    better: which values of the metric are the better ones, if it says so. names: of all numbers.
    """
    if made.kind == 'gap':
        if twin(made.metric, names) is None:
            raise UsageError(
                f'{made.name!r}: no number of the same name is measured in training, '
                f'{"/".join(["train", *made.metric.split("/")[1:]])!r}'
            )
        if not better:
            raise UsageError(
                f'{made.name!r}: nothing says which values of {made.metric!r} are better, so '
                "neither which gap is; its metric does: better='higher'"
            )
    if made.timed and better and (better == 'higher') != made.above:
        side, other = ('at_least', 'at_most') if made.above else ('at_most', 'at_least')
        raise UsageError(
            f'{made.name!r}: {better} values of {made.metric!r} are better, and {side} is reached '
            f'by getting worse; say {other}'
        )


def area(steps: np.ndarray, values: np.ndarray, *, end: int) -> np.ndarray:
    """The mean over steps of curves, steps [t] and values [t, seeds], up to `end`; [seeds].

    The last values stay to the end. NaN for a seed with a value that is not finite.
    """
    if steps[-1] < end:
        steps, values = np.append(steps, end), np.concatenate([values, values[-1:]])
    if len(steps) == 1:
        return np.asarray(values[0], np.float64)
    whole = np.trapezoid(values, steps, axis=0) / (steps[-1] - steps[0])
    return np.where(np.isfinite(values).all(0), whole, np.nan)


def gap(test: np.ndarray, train: np.ndarray, *, better: Better) -> np.ndarray:
    """How much worse the test is than training."""
    return train - test if better == 'higher' else test - train


def first_time(times: np.ndarray, values: np.ndarray, *, bound: float, above: bool) -> np.ndarray:
    """The time of the first look, of times [t], at which values [t, seeds] reach the bound.

    Infinite for a seed that never does.
    """
    reached = values >= bound if above else values <= bound  # what is NaN does not
    return np.where(reached.any(0), times[reached.argmax(0)], np.inf)


def restricted(first: np.ndarray, length: np.ndarray | float) -> np.ndarray:
    """Times up to the length of the run, whose mean is the restricted mean time.

    Of survival analysis (Royston and Parmar 2013): what is not reached by the end is not left out,
    which would favour runs that seldom reach it, but counts with the whole length. Runs are
    compared up to one length, the shorter one.
    """
    return np.minimum(first, length)


def is_training(metric: str) -> bool:
    """Whether a number was measured in training, 'train/loss' or 'pretrain/train/loss'."""
    split, *rest = measured(metric).split('/')
    return split == 'train' or (len(rest) > 1 and rest[0] == 'train')


def twin(metric: str, names: Sequence[str], split: str = 'train') -> str | None:
    """The number of the same name as a test's in training or validation, if one of `names` is."""
    parts = metric.split('/')
    for i in range(min(2, len(parts) - 1) if derived(metric) is None else 0):
        other = '/'.join([*parts[:i], split, *parts[i + 1 :]])
        if parts[i] not in ('train', 'valid') and other in names:
            return other
    return None
