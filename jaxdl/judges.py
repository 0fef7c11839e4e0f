"""Judges of claims: paired by seed, with a 95 % interval and a p-value.

Every judge here follows one rule: *supported* if the whole 95 % interval lies on the claimed side
of the bound, *refuted* if the whole interval lies on the other side, else *undecided*. One seed
has no interval and decides nothing, and neither does a number that is NaN. The p-value is
two-sided, against "the mean is the bound", so the interval excludes the bound exactly when
p < 0.05. Where all values are equal there is no variance, nothing is tested and nothing decided:
seeds that are all at the ceiling do not say how far below it others would be.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from jaxdl.errors import UsageError, nearest
from jaxdl.statistics import (
    NAN,
    no_variance,
    rounding,
    seeds_to_show,
    share_ci,
    share_p,
    t_test,
)
from jaxdl.study import Directions, Results, Verdict

Term = tuple[float, str]  # the factor of a mean in an effect, and the arm whose mean it is


class Evidence(NamedTuple):
    """What a judge looks at: one value a seed, and the bound they are held against.

    values: float [seeds].
    bound: the claim says the values lie above it (`above`) or below.
    label: what the values are, 'lenet - mlp, test/accuracy'.
    """

    values: np.ndarray
    bound: float
    above: bool
    label: str


@dataclass(frozen=True)
class Paired:
    """A judge of two arms: the differences seed by seed have a mean above `bound`.

    The difference is taken in the direction of the claim: a - b, or b - a where lower is better.
    `inclusive`: a mean of exactly `bound` is enough.
    """

    a: str
    b: str
    metric: str
    bound: float
    inclusive: bool

    def terms(self, better: Directions) -> list[Term]:
        """The effect as a sum of means. Raises UsageError where it has no direction."""
        if self.metric not in better:
            raise _undirected(self.metric)
        first, second = (self.b, self.a) if better[self.metric] == 'lower' else (self.a, self.b)
        return [(1.0, first), (-1.0, second)]

    def evidence(self, results: Results, better: Directions) -> Evidence:
        """The differences in the direction of the claim. Raises UsageError if there is none."""
        (_, first), (_, second) = self.terms(better)
        a, b = (_values(results, arm, self.metric) for arm in (self.a, self.b))
        if len(a) != len(b):
            raise UsageError(
                f'arms {self.a!r} and {self.b!r} have {len(a)} and {len(b)} seeds: '
                'a paired test needs the same seeds of both'
            )
        label = f'{first} \N{MINUS SIGN} {second}, {self.metric}'
        return Evidence(a - b if first == self.a else b - a, self.bound, True, label)

    def __call__(self, results: Results, better: Directions) -> Verdict:
        """Paired t-test of the mean difference against the bound."""
        found = self.evidence(results, better)
        arms = [_values(results, arm, self.metric) for arm in (self.a, self.b)]
        near = rounding(*arms, self.bound)
        return _judged(found, inclusive=self.inclusive, near=near, each='difference is')


@dataclass(frozen=True)
class Lead:
    """A judge of four arms: the first pair is further apart than the second, paired by seed.

    (a - b) - (c - d) has a mean above 0 (an interaction), with the signs turned where lower is
    better.
    """

    first: Paired
    second: Paired

    @property
    def metric(self) -> str:
        """The number that is compared."""
        return self.first.metric

    def terms(self, better: Directions) -> list[Term]:
        """The effect as a sum of means. Raises UsageError where it has no direction."""
        other = [(-factor, arm) for factor, arm in self.second.terms(better)]
        return [*self.first.terms(better), *other]

    def evidence(self, results: Results, better: Directions) -> Evidence:
        """The differences of the differences."""
        one, other = (pair.evidence(results, better) for pair in (self.first, self.second))
        if len(one.values) != len(other.values):
            raise UsageError(
                f'arms {self.first.a!r} and {self.second.a!r} have {len(one.values)} and '
                f'{len(other.values)} seeds: a paired test needs the same seeds of both'
            )
        minus = ' \N{MINUS SIGN} '
        names = [label.rpartition(', ')[0] for label in (one.label, other.label)]
        label = f'({names[0]}){minus}({names[1]}), {self.metric}'
        return Evidence(one.values - other.values, 0.0, True, label)

    def __call__(self, results: Results, better: Directions) -> Verdict:
        """Paired t-test of the mean difference of differences against 0."""
        found = self.evidence(results, better)
        arms = [self.first.a, self.first.b, self.second.a, self.second.b]
        near = rounding(*(_values(results, arm, self.metric) for arm in arms))
        return _judged(found, inclusive=False, near=near, each='difference is')


@dataclass(frozen=True)
class Pooled:
    """A judge of two groups of arms, each a method over several settings, paired by seed.

    Of each seed's values in a group it takes the mean over the settings, or their spread, the
    standard deviation (over n - 1). The mean difference of the groups is above 0: in the direction
    in which the metric is better, and of spreads in that of the smaller one.
    """

    a: tuple[str, ...]
    b: tuple[str, ...]
    metric: str
    of: Literal['mean', 'spread']

    def evidence(self, results: Results, better: Directions) -> Evidence:
        """The differences in the direction of the claim. Raises UsageError if there is none."""
        if self.of == 'mean' and self.metric not in better:
            raise _undirected(self.metric)
        a, b = self._each(results)
        lower = self.of == 'spread' or better[self.metric] == 'lower'
        first, second = ('b', 'a') if lower else ('a', 'b')
        label = f'{self.of} of {first} \N{MINUS SIGN} {second}, {self.metric}'
        return Evidence(b - a if lower else a - b, 0.0, True, label)

    def __call__(self, results: Results, better: Directions) -> Verdict:
        """Paired t-test of the mean difference against 0."""
        found = self.evidence(results, better)
        near = rounding(*(_values(results, arm, self.metric) for arm in (*self.a, *self.b)))
        return _judged(found, inclusive=False, near=near, each='difference is')

    def _each(self, results: Results) -> list[np.ndarray]:
        """The mean or the spread of both groups, one a seed."""
        groups = [[_values(results, arm, self.metric) for arm in arms] for arms in (self.a, self.b)]
        sizes = sorted({len(values) for group in groups for values in group})
        if len(sizes) > 1:
            raise UsageError(
                f'the arms of {self.metric!r} have {sizes[0]} to {sizes[-1]} seeds: a paired test '
                'needs the same seeds of all'
            )
        if self.of == 'mean':
            return [np.mean(group, axis=0) for group in groups]
        return [np.std(group, axis=0, ddof=1) for group in groups]


@dataclass(frozen=True)
class Reached:
    """A judge of one arm: the mean over seeds is at least (`above`) or at most `bound`."""

    arm: str
    metric: str
    bound: float
    above: bool

    def terms(self, better: Directions) -> list[Term]:
        """The effect as a sum of means: that of the arm."""
        return [(1.0, self.arm)]

    def evidence(self, results: Results, better: Directions) -> Evidence:
        """The values of the arm."""
        label = f'{self.arm}, {self.metric}'
        return Evidence(_values(results, self.arm, self.metric), self.bound, self.above, label)

    def __call__(self, results: Results, better: Directions) -> Verdict:
        """One-sample t-test of the mean against the bound; the effect is the mean itself."""
        found = self.evidence(results, better)
        near = rounding(found.values, self.bound)
        return _judged(found, inclusive=True, near=near, each='seed has')


@dataclass(frozen=True)
class Counted:
    """A judge of one arm: at least `seeds` of every `of` seeds reach the bound."""

    arm: str
    metric: str
    bound: float
    above: bool
    seeds: int
    of: int

    def evidence(self, results: Results, better: Directions) -> Evidence:
        """The values of the arm."""
        label = f'{self.arm}, {self.metric}'
        return Evidence(_values(results, self.arm, self.metric), self.bound, self.above, label)

    def __call__(self, results: Results, better: Directions) -> Verdict:
        """The exact binomial test of the share of seeds that reach the bound.

        The effect is the share, its interval that of Clopper and Pearson. A seed whose value is NaN
        counts for the worst: as one that does not reach the bound where the claim would be
        supported, and as one that does where it would be refuted.
        """
        values = self.evidence(results, better).values
        known = values[~np.isnan(values)]
        reached = known >= self.bound if self.above else known <= self.bound
        n, k, share = len(values), int(reached.sum()), self.seeds / self.of
        most = k + n - len(known)
        low, high = share_ci(k, n)[0], share_ci(most, n)[1]
        p = max(share_p(each, n, share) for each in range(k, most + 1))
        verdict = Verdict('undecided', k / n if n else NAN, (low, high), p)
        if low >= share:
            return verdict._replace(verdict='supported')
        if high < share:
            return verdict._replace(verdict='refuted')
        return verdict._replace(reason=_too_few(n, share) if n and k == n else '')


Judge = Paired | Lead | Pooled | Reached | Counted


def _judged(found: Evidence, *, inclusive: bool, near: float, each: str) -> Verdict:
    """The verdict on "the mean of the values lies on the claimed side of the bound".

    near: how far equal numbers may lie apart. each: what the values are, 'difference is'.
    """
    values = found.values
    (low, high), p = t_test(values, found.bound, near=near)
    verdict = Verdict('undecided', float(values.mean()) if values.size else NAN, (low, high), p)
    if no_variance(values, near=near):
        value = 0.0 if abs(values[0]) <= near else values[0]
        why = f'at the ceiling: every {each} {value:.6g}, there is no variance to test'
        return verdict._replace(reason=why)
    # How far the nearer and the farther end of the interval lie on the claimed side.
    near_end, far_end = sorted(
        (end - found.bound) * (1 if found.above else -1) for end in (low, high)
    )
    # Every comparison with NaN is false: no interval, no verdict.
    if near_end >= -near if inclusive else near_end > near:
        return verdict._replace(verdict='supported')
    return verdict._replace(verdict='refuted') if far_end < -near else verdict


def _undirected(metric: str) -> UsageError:
    """The error of a comparison in a metric without a direction."""
    return UsageError(
        f'a claim compares {metric!r}, and nothing says which values are better; its '
        "metric does: better='higher'"
    )


def _too_few(n: int, share: float) -> str:
    """Why n of n seeds do not show a share."""
    needed = seeds_to_show(share)
    more = f'it takes {needed} of {needed}' if needed else 'no number of seeds does'
    return f'{n} of {n} does not show a share of {share:g}: {more}'


def _values(results: Results, arm: str, metric: str) -> np.ndarray:
    """The values of a metric, one a seed."""
    if arm not in results:
        raise UsageError(f'a claim names the arm {arm!r}{nearest(arm, results)}')
    if metric not in results[arm]:
        close = nearest(metric, results[arm])
        raise UsageError(f'a claim names the metric {metric!r} of arm {arm!r}{close}')
    return np.asarray(results[arm][metric], np.float64)
