"""Claims of a study and their judges: paired by seed, with a 95 % interval and a p-value.

Every judge here follows one rule: *supported* if the whole 95 % interval lies on the claimed side
of the bound, *refuted* if the whole interval lies on the other side, else *undecided*. One seed
has no interval and decides nothing, and neither does a number that is NaN. The p-value is
two-sided, against "the mean is the bound", so the interval excludes the bound exactly when
p < 0.05. Where all values are equal there is no variance, nothing is tested and nothing decided:
seeds that are all at the ceiling do not say how far below it others would be.

A study of several claims asks several questions: a verdict stands only if the p-value that is
corrected for all of them (Holm 1979) is below 0.05 as well, see `jaxdl.report.verdicts`.

The names of numbers are those that are measured, 'test/accuracy', and those on the way there:
`area`, `gap`, and the times of `sooner`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from jaxdl.derived import Derived
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
from jaxdl.study import Claim, Directions, Results, Verdict

Equal = Literal['parameters', 'flops', 'seconds']
Term = tuple[float, str]  # the factor of a mean in an effect, and the arm whose mean it is

EQUAL: tuple[str, ...] = get_args(Equal)
WITHIN = 1.05  # the most against the least of what is called equal


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
            raise UsageError(
                f'a claim compares {self.metric!r}, and nothing says which values are better; its '
                "metric does: better='higher'"
            )
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


Judge = Paired | Lead | Reached | Counted


def better(
    a: str,
    b: str,
    metric: str,
    *,
    by: float = 0.0,
    equal: Equal | None = None,
    text: str | None = None,
) -> Claim:
    """The claim that arm `a` beats arm `b` by more than `by` in the mean, paired by seed.

    Whether higher or lower is better is for the metric to say. The effect is positive where the
    claim is right. equal: in what the two must be equal, to 5 %, for the claim to be judged.
    """
    more = f' by more than {by:g}' if by else ''
    said = _said(f'{a} has a better {metric} than {b}{more}', equal, text)
    return Claim(said, (a, b), metric, Paired(a, b, metric, by, inclusive=False), equal)


def larger_lead(
    pair: tuple[str, str],
    other: tuple[str, str],
    metric: str,
    *,
    equal: Equal | None = None,
    text: str | None = None,
) -> Claim:
    """The claim that the first arm of `pair` beats its second by more than in the pair `other`.

    The effect is (a - b) - (c - d), positive where the claim is right: does the advantage depend
    on what distinguishes the pairs? equal: in what the two arms of each pair must be equal, to 5 %.
    """
    (a, b), (c, d) = pair, other
    said = _said(f'{a} leads {b} in {metric} by more than {c} leads {d}', equal, text)
    pairs = (Paired(*two, metric, 0.0, inclusive=False) for two in (pair, other))
    return Claim(said, (a, b, c, d), metric, Lead(*pairs), equal)


def no_worse(
    a: str,
    b: str,
    metric: str,
    *,
    margin: float,
    equal: Equal | None = None,
    text: str | None = None,
) -> Claim:
    """The claim that arm `a` is at most `margin` worse than `b` (non-inferiority), paired by seed.

    The effect is how much better `a` is; the p-value is against a difference of -margin. equal: in
    what the two must be equal, to 5 %, for the claim to be judged.
    """
    if margin < 0:
        raise UsageError(f'no_worse: margin is {margin:g}; a margin is 0 or more')
    said = _said(f'{a} is at most {margin:g} worse than {b} in {metric}', equal, text)
    return Claim(said, (a, b), metric, Paired(a, b, metric, -margin, inclusive=True), equal)


def sooner(
    a: str,
    b: str,
    metric: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    by: Literal['steps', 'seconds'] = 'steps',
    equal: Equal | None = None,
    text: str | None = None,
) -> Claim:
    """The claim that arm `a` takes less time than `b` until `metric` reaches a value.

    Paired by seed; the effect is the difference of restricted mean times, positive where the claim
    is right: a seed that never reaches the value counts with the whole length of the run, and with
    that of the shorter run where the lengths differ. by: 'steps', or 'seconds' of the whole arm,
    all its seeds together: only arms that train as many seeds at once can be compared by them. See
    `jaxdl.derived.Derived` for what is counted. equal: in what the two must be equal, to 5 %.
    """
    if by not in ('steps', 'seconds'):
        raise UsageError(f'sooner: by is {by!r}{nearest(str(by), ("steps", "seconds"))}')
    bound, above, side = _side('sooner', at_least=at_least, at_most=at_most)
    name = Derived(by, metric, bound, above).name
    what = f'{metric} of {side} {bound:g}'
    said = _said(f'{a} takes fewer {by} than {b} to a {what}', equal, text)
    return Claim(said, (a, b), name, Paired(a, b, name, 0.0, inclusive=False), equal)


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

    It is about the share of all seeds there could be: supported when the exact interval of the
    share lies at or above `seeds / of`, refuted when it lies below. Few seeds show no high share: 5
    of 5 have the interval [0.48, 1]. It takes 17 of 17 to show 0.8, 6 of 6 for 0.5, 36 of 36 for
    0.9; and no number of seeds shows a share of 1.
    """
    if not 1 <= seeds <= of:
        raise UsageError(f'in_seeds: seeds is {seeds}; it must be from 1 to of={of}')
    bound, above, side = _side('in_seeds', at_least=at_least, at_most=at_most)
    said = text or f'{metric} of {arm} is {side} {bound:g} in at least {seeds} of {of} seeds'
    return Claim(said, (arm,), metric, Counted(arm, metric, bound, above, seeds, of))


def area(metric: str) -> str:
    """The name of a number for claims: the mean of a curve over steps, by the trapezoid rule.

    From the first look to the last one that was planned; `area('test/accuracy')` is high where the
    accuracy was high early. Better is what is better in the metric.
    """
    return Derived('area', metric).name


def gap(metric: str) -> str:
    """The name of a number for claims: how much worse a test is than its twin in training.

    `gap('accuracy')` and `gap('test/accuracy')` are train/accuracy - test/accuracy; of a loss it is
    test/loss - train/loss. Lower is better.
    """
    return Derived('gap', metric if '/' in metric else f'test/{metric}').name


def unequal(claim: Claim, told: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a claim is not at equal parameters, FLOPs or seconds; '' where it is, or need not be.

    told: of each arm what it took, {'lenet': {'parameters': 13706, 'seconds': 8.1}}. Of the four
    arms of a `larger_lead` those of each pair are held against each other.
    """
    what, compared = claim.equal, [claim.arms]
    if what is None:
        return ''
    if isinstance(claim.judge, Lead):
        compared = [(pair.a, pair.b) for pair in (claim.judge.first, claim.judge.second)]
    for arms in compared:
        if unknown := [arm for arm in arms if told.get(arm, {}).get(what) is None]:
            return f'the {what} of {", ".join(unknown)} are not known: not at equal {what}'
        amounts = [float(told[arm][what]) for arm in arms]
        least, most = min(amounts), max(amounts)
        if most > WITHIN * least:
            more = 100 * (most / least - 1) if least else math.inf
            share = f'{more:.0f}' if more >= 10 else f'{more:.1f}'
            each = ' against '.join(_amount(amount) for amount in amounts)
            return f'{what} differ by {share} % ({each}): not at equal {what}'
    return ''


def _amount(number: float) -> str:
    return f'{number:,.0f}' if number >= 100 else f'{number:.3g}'


def _said(claim: str, equal: Equal | None, text: str | None) -> str:
    """The text of a claim, the author's own if there is one.

    Raises UsageError for what arms cannot be equal in.
    """
    if equal is None:
        return text or claim
    if equal not in EQUAL:
        raise UsageError(f'equal is {equal!r}{nearest(str(equal), EQUAL)}')
    return text or f'{claim} at equal {equal}'


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


def _side(name: str, *, at_least: float | None, at_most: float | None) -> tuple[float, bool, str]:
    """The bound, whether values should lie above it, and the words for it."""
    if at_least is not None and at_most is None:
        return at_least, True, 'at least'
    if at_most is not None and at_least is None:
        return at_most, False, 'at most'
    raise UsageError(f'{name}: give either at_least or at_most, not both and not neither')
