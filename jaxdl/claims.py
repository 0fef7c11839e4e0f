"""Claims of a study: sentences about arms, each with the judge that tests it (`jaxdl.judges`).

A study of several claims asks several questions: a verdict stands only if the p-value that is
corrected for all of them (Holm 1979) is below 0.05 as well, see `jaxdl.report.verdicts`.

The names of numbers are those that are measured, 'test/accuracy', and those on the way there:
`area`, `gap`, and the times of `sooner`.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, get_args

from jaxdl.derived import Derived
from jaxdl.errors import UsageError, nearest
from jaxdl.judges import Counted, Lead, Paired, Pooled, Reached
from jaxdl.study import Claim, Equal

EQUAL: tuple[str, ...] = get_args(Equal)
WITHIN = 1.05  # the most against the least of what is called equal


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
    _two('better', a, b)
    by = _finite('better', 'by', by)
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
    if tuple(pair) == tuple(other):
        raise UsageError(f'larger_lead: {a!r} and {b!r} are both pairs; a claim compares two')
    said = _said(f'{a} leads {b} in {metric} by more than {c} leads {d}', equal, text)
    pairs = (Paired(*two, metric, 0.0, inclusive=False) for two in (pair, other))
    return Claim(said, (a, b, c, d), metric, Lead(*pairs), equal)


def better_over(
    a: Sequence[str], b: Sequence[str], metric: str, *, text: str | None = None
) -> Claim:
    """The claim that a method beats another in the mean over settings, paired by seed.

    a, b: the arms of each method, one for each setting. The effect is positive where the claim is
    right.
    """
    return _pooled('better_over', a, b, metric, 'mean', text)


def steadier(a: Sequence[str], b: Sequence[str], metric: str, *, text: str | None = None) -> Claim:
    """The claim that a method depends less on its settings than another, paired by seed.

    A seed's values over the arms `a` have a smaller standard deviation than those over the arms
    `b`, in the mean over seeds; the effect is the difference, positive where the claim is right.
    """
    return _pooled('steadier', a, b, metric, 'spread', text)


def _pooled(
    name: str,
    a: Sequence[str],
    b: Sequence[str],
    metric: str,
    of: Literal['mean', 'spread'],
    text: str | None,
) -> Claim:
    """The claim of two groups of arms. Raises UsageError where they are no two groups."""
    first, second = tuple(a), tuple(b)
    least = 2 if of == 'spread' else 1
    for arms in (first, second):
        if len(set(arms)) < max(least, len(arms)):
            raise UsageError(f'{name}: {list(arms)}; it takes {least} or more arms, each once')
    if both := [arm for arm in first if arm in second]:
        raise UsageError(f'{name}: {both[0]!r} is in both groups')
    said = 'have a better mean' if of == 'mean' else 'are less spread in'
    said = f'{", ".join(first)} {said} {metric} than {", ".join(second)}'
    return Claim(text or said, (*first, *second), metric, Pooled(first, second, metric, of))


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
    _two('no_worse', a, b)
    margin = _finite('no_worse', 'margin', margin)
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
    all its seeds together: only arms that train as many seeds at once can be compared by them, and
    the interval does not cover what another run of the same arm would take, because it is timed
    once. See `jaxdl.derived.Derived` for what is counted. equal: in what the two must be equal, to
    5 %.
    """
    _two('sooner', a, b)
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
    given: dict[str, Any] = {'seeds': seeds, 'of': of}  # whatever they are
    for what, count in given.items():
        if isinstance(count, bool) or not isinstance(count, Integral):
            raise UsageError(f'in_seeds: {what} is {count!r:.80}; it is a whole number')
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


def _two(name: str, a: str, b: str) -> None:
    """Raise UsageError where an arm is compared with itself."""
    if a == b:
        raise UsageError(f'{name}: {a!r} is compared with itself; a claim compares two arms')


def _finite(name: str, what: str, value: float) -> float:
    """The same bound. Raises UsageError for what no number can lie beside, as NaN."""
    given: Any = value  # whatever it is
    if isinstance(given, bool) or not isinstance(given, Real) or not math.isfinite(given):
        raise UsageError(f'{name}: {what} is {given!r:.80}; it is a number, and finite')
    return value


def _said(claim: str, equal: Equal | None, text: str | None) -> str:
    """The text of a claim, the author's own if there is one.

    Raises UsageError for what arms cannot be equal in.
    """
    if equal is None:
        return text or claim
    if equal not in EQUAL:
        raise UsageError(f'equal is {equal!r}{nearest(str(equal), EQUAL)}')
    return text or f'{claim} at equal {equal}'


def _side(name: str, *, at_least: float | None, at_most: float | None) -> tuple[float, bool, str]:
    """The bound, whether values should lie above it, and the words for it."""
    if at_least is not None and at_most is None:
        return _finite(name, 'at_least', at_least), True, 'at least'
    if at_most is not None and at_least is None:
        return _finite(name, 'at_most', at_most), False, 'at most'
    raise UsageError(f'{name}: give either at_least or at_most, not both and not neither')
