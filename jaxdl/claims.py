"""Tests for the claims of a study: paired by seed, with a 95 % interval and a p-value.

Every judge here follows one rule: *supported* if the whole 95 % interval lies on the claimed side
of the bound, *refuted* if the whole interval lies on the other side, else *undecided*. One seed
has no interval and decides nothing, and neither does a number that is NaN. The p-value is
two-sided, against "the mean is the bound", so the interval excludes the bound exactly when
p < 0.05.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxdl.errors import UsageError, nearest
from jaxdl.study import Claim, Directions, Results, Verdict

Interval = tuple[float, float]
NAN = float('nan')


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

    def evidence(self, results: Results, better: Directions) -> Evidence:
        """The differences in the direction of the claim. Raises UsageError if there is none."""
        if self.metric not in better:
            raise UsageError(
                f'a claim compares {self.metric!r}, and nothing says which values are better; its '
                "metric does: better='higher'"
            )
        lower = better[self.metric] == 'lower'
        a, b = (_values(results, arm, self.metric) for arm in (self.a, self.b))
        if len(a) != len(b):
            raise UsageError(
                f'arms {self.a!r} and {self.b!r} have {len(a)} and {len(b)} seeds: '
                'a paired test needs the same seeds of both'
            )
        first, second = (self.b, self.a) if lower else (self.a, self.b)
        label = f'{first} \N{MINUS SIGN} {second}, {self.metric}'
        return Evidence(b - a if lower else a - b, self.bound, True, label)

    def __call__(self, results: Results, better: Directions) -> Verdict:
        """Paired t-test of the mean difference against the bound."""
        values = self.evidence(results, better).values
        arms = [_values(results, arm, self.metric) for arm in (self.a, self.b)]
        rounding = _rounding(*arms, self.bound)
        return _judged(values, self.bound, inclusive=self.inclusive, rounding=rounding)


@dataclass(frozen=True)
class Lead:
    """A judge of four arms: the first pair is further apart than the second, paired by seed.

    (a - b) - (c - d) has a mean above 0 (an interaction), with the signs turned where lower is
    better.
    """

    first: Paired
    second: Paired

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
        label = f'({names[0]}){minus}({names[1]}), {self.first.metric}'
        return Evidence(one.values - other.values, 0.0, True, label)

    def __call__(self, results: Results, better: Directions) -> Verdict:
        """Paired t-test of the mean difference of differences against 0."""
        values = self.evidence(results, better).values
        arms = [self.first.a, self.first.b, self.second.a, self.second.b]
        rounding = _rounding(*(_values(results, arm, self.first.metric) for arm in arms))
        return _judged(values, 0.0, inclusive=False, rounding=rounding)


@dataclass(frozen=True)
class Reached:
    """A judge of one arm: the mean over seeds is at least (`above`) or at most `bound`."""

    arm: str
    metric: str
    bound: float
    above: bool

    def evidence(self, results: Results, better: Directions) -> Evidence:
        """The values of the arm."""
        label = f'{self.arm}, {self.metric}'
        return Evidence(_values(results, self.arm, self.metric), self.bound, self.above, label)

    def __call__(self, results: Results, better: Directions) -> Verdict:
        """One-sample t-test of the mean against the bound; the effect is the mean itself."""
        values = self.evidence(results, better).values
        rounding = _rounding(values, self.bound)
        sign = 1.0 if self.above else -1.0
        judged = _judged(sign * values, sign * self.bound, inclusive=True, rounding=rounding)
        low, high = sorted((sign * judged.ci95[0], sign * judged.ci95[1]))
        return judged._replace(effect=sign * judged.effect, ci95=(low, high))


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
        """The verdict by count; the effect is the share of seeds, its interval Clopper-Pearson.

        With fewer than `of` seeds, or with some whose value is NaN, it is decided only where those
        cannot matter. There is no p-value: nothing is tested, seeds are counted.
        """
        values = self.evidence(results, better).values
        known = values[~np.isnan(values)]
        reached = known >= self.bound if self.above else known <= self.bound
        n, k = len(known), int(reached.sum())
        count = max(len(values), self.of)
        share = k / n if n else NAN
        verdict = Verdict('undecided', share, share_ci(k, n), NAN)
        if k * self.of >= self.seeds * count:
            return verdict._replace(verdict='supported')
        unknown = count - n
        refuted = (k + unknown) * self.of < self.seeds * count
        return verdict._replace(verdict='refuted') if refuted else verdict


Judge = Paired | Lead | Reached | Counted


def better(a: str, b: str, metric: str, *, by: float = 0.0, text: str | None = None) -> Claim:
    """The claim that arm `a` beats arm `b` by more than `by` in the mean, paired by seed.

    Whether higher or lower is better is for the metric to say. The effect is positive where the
    claim is right.
    """
    more = f' by more than {by:g}' if by else ''
    said = text or f'{a} has a better {metric} than {b}{more}'
    return Claim(said, (a, b), metric, Paired(a, b, metric, by, inclusive=False))


def larger_lead(
    pair: tuple[str, str], other: tuple[str, str], metric: str, *, text: str | None = None
) -> Claim:
    """The claim that the first arm of `pair` beats its second by more than in the pair `other`.

    The effect is (a - b) - (c - d), positive where the claim is right: does the advantage depend
    on what distinguishes the pairs?
    """
    (a, b), (c, d) = pair, other
    said = text or f'{a} leads {b} in {metric} by more than {c} leads {d}'
    pairs = (Paired(*two, metric, 0.0, inclusive=False) for two in (pair, other))
    return Claim(said, (a, b, c, d), metric, Lead(*pairs))


def no_worse(a: str, b: str, metric: str, *, margin: float, text: str | None = None) -> Claim:
    """The claim that arm `a` is at most `margin` worse than `b` (non-inferiority), paired by seed.

    The effect is how much better `a` is; the p-value is against a difference of -margin.
    """
    if margin < 0:
        raise UsageError(f'no_worse: margin is {margin:g}; a margin is 0 or more')
    said = text or f'{a} is at most {margin:g} worse than {b} in {metric}'
    return Claim(said, (a, b), metric, Paired(a, b, metric, -margin, inclusive=True))


def reaches(
    arm: str,
    metric: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    text: str | None = None,
) -> Claim:
    """The claim that the mean of `metric` is at least (or at most) a value.

    It is about the mean over all seeds there could be, not these alone: supported when the whole
    interval of the mean reaches the value. Where only the mean of these seeds does, the claim is
    undecided, and more seeds would tell.
    """
    bound, above, side = _side('reaches', at_least=at_least, at_most=at_most)
    said = text or f'The mean {metric} of {arm} is {side} {bound:g}'
    return Claim(said, (arm,), metric, Reached(arm, metric, bound, above))


def in_seeds(
    arm: str,
    metric: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    seeds: int = 4,
    of: int = 5,
    text: str | None = None,
) -> Claim:
    """The claim that `metric` reaches a value in at least `seeds` of `of` seeds.

    With more than `of` seeds the share must be as high: 4 of 5 becomes 8 of 10.
    """
    if not 1 <= seeds <= of:
        raise UsageError(f'in_seeds: seeds is {seeds}; it must be from 1 to of={of}')
    bound, above, side = _side('in_seeds', at_least=at_least, at_most=at_most)
    said = text or f'{metric} of {arm} is {side} {bound:g} in at least {seeds} of {of} seeds'
    return Claim(said, (arm,), metric, Counted(arm, metric, bound, above, seeds, of))


def mean_ci(values: Sequence[float] | np.ndarray) -> tuple[float, Interval]:
    """The mean and its 95 % t interval. NaN interval for one value or any that is not finite."""
    values = np.asarray(values, np.float64)
    interval, _ = _t_test(values, 0.0, rounding=_rounding(values))
    return (float(values.mean()) if values.size else NAN), interval


def share_ci(k: int, n: int) -> Interval:
    """The exact 95 % interval of a share seen as k of n (Clopper and Pearson 1934)."""
    from scipy import stats

    if not n:
        return NAN, NAN
    interval = stats.binomtest(k, n).proportion_ci(0.95, method='exact')
    return float(interval.low), float(interval.high)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are (Holm 1979). NaN stays NaN and does not count."""
    adjusted = [NAN] * len(ps)
    order = sorted((i for i, p in enumerate(ps) if np.isfinite(p)), key=lambda i: ps[i])
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def _judged(values: np.ndarray, bound: float, *, inclusive: bool, rounding: float) -> Verdict:
    """The verdict on "the mean of `values` lies above `bound`" by the rule of this module."""
    effect = float(values.mean()) if values.size else NAN
    (low, high), p = _t_test(values, bound, rounding=rounding)
    verdict = Verdict('undecided', effect, (low, high), p)
    # Every comparison with NaN is false: no interval, no verdict.
    if low >= bound - rounding if inclusive else low > bound + rounding:
        return verdict._replace(verdict='supported')
    return verdict._replace(verdict='refuted') if high < bound - rounding else verdict


def _t_test(values: np.ndarray, bound: float, *, rounding: float) -> tuple[Interval, float]:
    """The 95 % t interval of the mean, and the two-sided p-value of its being `bound`."""
    from scipy import stats

    if values.size < 2 or not np.isfinite(values).all():
        return (NAN, NAN), NAN
    mean = float(values.mean())
    if float(np.ptp(values)) <= rounding:
        # Equal up to the rounding of a subtraction: the t statistic would be noise over noise.
        return (mean, mean), 1.0 if abs(mean - bound) <= rounding else 0.0
    test = stats.ttest_1samp(values, bound)
    interval = test.confidence_interval(0.95)
    return (float(interval.low), float(interval.high)), float(test.pvalue)


def _rounding(*values: np.ndarray | float) -> float:
    """How far two results of the same arithmetic on numbers of this size may lie apart."""
    sizes = np.abs(np.concatenate([np.atleast_1d(np.float64(value)) for value in values]))
    return 64 * float(np.finfo(np.float64).eps) * float(sizes[np.isfinite(sizes)].max(initial=0))


def _values(results: Results, arm: str, metric: str) -> np.ndarray:
    """The values of a metric, one a seed."""
    if arm not in results:
        raise UsageError(f'a claim names the arm {arm!r}{nearest(arm, results)}')
    if metric not in results[arm]:
        close = nearest(metric, results[arm])
        raise UsageError(f'a claim names the metric {metric!r} of arm {arm!r}{close}')
    return np.asarray(results[arm][metric], np.float64)


def _side(name: str, *, at_least: float | None, at_most: float | None) -> tuple[float, bool, str]:
    """The bound, whether values should lie above it, and the words for it."""
    if at_least is not None and at_most is None:
        return at_least, True, 'at least'
    if at_most is not None and at_least is None:
        return at_most, False, 'at most'
    raise UsageError(f'{name}: give either at_least or at_most, not both and not neither')
