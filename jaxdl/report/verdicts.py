"""The verdicts of a study: each claim judged alone, and then corrected for how many there are."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.claims import unequal
from jaxdl.errors import UsageError
from jaxdl.judges import Counted, Lead, Paired, Pooled, Reached
from jaxdl.report import numerals
from jaxdl.report.finished import Arm, directions, results_of, times_to
from jaxdl.run import registered
from jaxdl.run.config import seeds_said
from jaxdl.statistics import LEVEL, crossed_interval, holm
from jaxdl.study import Claim, Directions, Results

# What the effect of each kind of claim is.
EFFECTS = {
    Paired: 'mean difference',
    Lead: 'difference of mean differences',
    Pooled: 'mean difference over settings',
    Reached: 'mean',
    Counted: 'share of seeds',
}
DECIDED = ('supported', 'refuted')


def judged(
    claims: Sequence[Claim],
    arms: Sequence[Arm],
    *,
    unfinished: Mapping[str, str],
    told: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """What result.json says of the claims of a study, each over the seeds that its arms share.

    unfinished: why arms are not done, as `unfinished_arms` has it. told: what result.json says of
    each arm: its parameters, FLOPs and seconds, and under 'moving' what had not come to rest.

    The verdict is 'not run' where an arm is not done, 'not judged' where the arms have no seed in
    common, the number is not there, or they are not equal in what the claim says: each with the
    reason. Others are corrected, see `corrected`; and where an arm still moved they are said to
    hold at this budget.
    """
    found = corrected([_alone(claim, arms, unfinished, told) for claim in claims])
    for each in found:
        moved = [
            f'{arm} still moved ({", ".join(moving)})'
            for arm in dict.fromkeys(each['arms'])
            if (moving := told.get(arm, {}).get('moving'))
        ]
        if moved and each['verdict'] in DECIDED:
            each['reason'] = _joined(each['reason'], f'at this budget: {", ".join(moved)}')
    return found


def corrected(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Claims of one study with their verdicts under Holm's correction for how many have a p-value.

    What is supported or refuted alone, and whose corrected p-value is not below 0.05, is undecided,
    with the reason; its verdict alone stays under 'alone'. Claims that are corrected stay as they
    are. 'p_holm' is the corrected p-value, None where there is none.
    """
    if all('p_holm' in claim for claim in claims):
        return [dict(claim) for claim in claims]
    ps = [np.nan if claim['p'] is None else float(claim['p']) for claim in claims]
    count, found = int(np.isfinite(ps).sum()), []
    for claim, p, adjusted in zip(claims, ps, holm(ps), strict=True):
        each = {**claim, 'p_holm': None if np.isnan(adjusted) else adjusted}
        if claim['verdict'] in DECIDED and adjusted >= LEVEL:  # without a p-value it stands
            alone, now = numerals.p_value(p), numerals.p_value(adjusted)
            why = f'p {alone} alone, {now} corrected for {count} claims'
            reason = _joined(why, claim.get('reason') or '')
            each |= {'verdict': 'undecided', 'alone': claim['verdict'], 'reason': reason}
        found.append(each)
    return found


def _alone(
    claim: Claim,
    arms: Sequence[Arm],
    unfinished: Mapping[str, str],
    told: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What result.json says of a claim as if it were the only one."""
    named = [arm for arm in arms if arm.name in claim.arms]
    found: dict[str, Any] = {
        'text': claim.text,
        'arms': list(claim.arms),
        'metric': claim.metric,
        'judge': repr(claim.judge),
        'when': '',
        **{'verdict': 'not judged', 'effect': None, 'ci95': [None, None], 'p': None},
        'kind': EFFECTS.get(type(claim.judge), ''),
        'reason': '',
        **({'equal': claim.equal} if claim.equal else {}),
        **({'reported': claim.reported} if claim.reported else {}),
    }
    there = {arm.name for arm in named}
    if missing := [name for name in dict.fromkeys(claim.arms) if name not in there]:
        return found | {'verdict': 'not run', 'reason': _missing(missing, unfinished)}
    # A baseline may be begun anew at any time: what is trained says when numbers could be seen.
    dated = [arm for arm in named if arm.config['phases']] or named
    found['when'] = registered.when(claim, [it for arm in dated for it in arm.first_starts])
    if why := unequal(claim, told):
        return found | {'reason': why}
    try:
        results, shared = results_of(named, judged=claim.metric)
        if not shared:
            each = '; '.join(f'{arm.name} has {seeds_said(arm.seeds)}' for arm in named)
            return found | {'reason': f'no seed in common: {each}'}
        better = directions(named)
        verdict = claim.judge(results, better)
    except UsageError as error:
        return found | {'reason': str(error)}
    reasons = [
        hole for arm in named if (hole := lost(arm, claim.metric, shared, several=len(named) > 1))
    ]
    word, counted = verdict.verdict, isinstance(claim.judge, Counted)
    if reasons and not counted:
        word = 'undecided'
    if word == 'undecided' and not reasons and len(shared) == 1 and not counted:
        reasons.append('one seed has no interval')
    reasons += [verdict.reason] if verdict.reason else []
    if all(claim.metric in arm.times for arm in named):
        late = unreached(claim.metric, named, shared)
        reasons += [late] if late else []
    reasons += [other] if (other := _other_lengths(claim.metric, named)) else []
    reasons += [lone] if (lone := _unlike_examples(claim, named, results, shared)) else []
    if any(set(arm.seeds) - set(shared) for arm in named):
        reasons.append(f'over {seeds_said(shared)}, which all its arms have')
    return (
        found
        | verdict._replace(verdict=word, reason='; '.join(reasons))._asdict()
        | _over_examples(claim, named, results, shared, better)
    )


def _over_examples(
    claim: Claim,
    arms: Sequence[Arm],
    results: Results,
    seeds: Sequence[int],
    better: Directions,
) -> dict[str, Any]:
    """The interval over seeds and examples, where the values of single examples were kept.

    Not where arms or seeds have other examples, or other numbers of them: then examples are drawn
    with the seed, and the interval over seeds covers them. Nor where the number is not the mean of
    its examples, for which the interval would not be of that number.
    """
    if not isinstance(claim.judge, Paired | Lead | Reached) or len(seeds) < 2:
        return {}
    if any(claim.metric in arm.drawn for arm in arms):
        return {}
    each, rows = {}, []
    for arm in arms:
        at = [arm.seeds.index(seed) for seed in seeds]
        if f'{claim.metric}/each' not in arm.arrays:
            return {}
        each[arm.name] = np.asarray(arm.arrays[f'{claim.metric}/each'], np.float64)[at]
        if (own := arm.arrays.get(f'{claim.metric}/rows')) is not None:
            rows += list(own[at])
    sizes = {values.shape[1:] for values in each.values()}
    if len(sizes) > 1 or len(next(iter(sizes))) != 1:
        return {}
    if any(not np.array_equal(one, other) for one, other in itertools.pairwise(rows)):
        return {}
    if not all(_is_mean(each[arm.name], results[arm.name][claim.metric]) for arm in arms):
        return {}
    terms = [(factor, each[arm]) for factor, arm in claim.judge.terms(better)]
    low, high = crossed_interval(terms)
    return {'ci95_examples': (float(low), float(high)), 'examples': next(iter(sizes))[0]}


def _unlike_examples(
    claim: Claim, arms: Sequence[Arm], results: Results, seeds: Sequence[int]
) -> str:
    """Of which baselines the examples' values do not average to the number; '' where all do.

    Of what is trained a number may be no mean by nature; who returns both means them to agree.
    """
    if not isinstance(claim.judge, Paired | Lead | Reached) or len(seeds) < 2:
        return ''
    name, unlike = f'{claim.metric}/each', []
    for arm in arms:
        if not arm.config['phases'] and name in arm.arrays:
            values = np.asarray(arm.arrays[name], np.float64)
            values = values[[arm.seeds.index(seed) for seed in seeds]]
            if not _is_mean(values, results[arm.name][claim.metric]):
                unlike.append(arm.name)
    if not unlike:
        return ''
    return (
        f'no interval over examples: the mean of {name} is another number in {" and ".join(unlike)}'
    )


def _is_mean(each: np.ndarray, numbers: Any) -> bool:
    """Whether the values of examples [seeds, examples] average to the numbers [seeds]."""
    if not np.isfinite(each).any(1).all():
        return False
    return bool(np.allclose(np.nanmean(each, 1), numbers, rtol=1e-4, atol=1e-4))


def lost(arm: Arm, metric: str, seeds: Sequence[int], *, several: bool) -> str:
    """'test/accuracy of seed 1 is NaN': which of some seeds have no finite value; '' if none."""
    values = arm.metrics.get(metric, np.zeros(0))
    bad = [s for s, x in zip(arm.seeds, values, strict=False) if s in seeds and not np.isfinite(x)]
    where = f' in {arm.name}' if several else ''
    return f'{metric} of {seeds_said(bad)} is NaN{where}' if bad else ''


def unreached(name: str, arms: Sequence[Arm], seeds: Sequence[int]) -> str:
    """Which of some seeds did not get to a value in time, and what counts for them; '' if all did.

    In time is up to the end of the shorter run: the longer one may have got there after that.
    """
    first, length = times_to(name, arms, seeds)
    unit, what = name.split(' ', 1)[0], name.split(' to ', 1)[1]
    said = []
    for arm, times in first.items():
        late = [seed for seed, time, end in zip(seeds, times, length, strict=True) if time > end]
        if late:
            said.append(f'{seeds_said(late)} of {arm}')
    if not said:
        return ''
    ends = ' to '.join(dict.fromkeys(f'{end:,.6g}' for end in (min(length), max(length))))
    shorter = any((arm.times[name].length > length[0]).any() for arm in arms)
    whole = 'the length of the shorter run' if shorter else 'the whole length'
    return f'{what} is not reached in {ends} {unit}, {whole}, by {" and ".join(said)}: that counts'


def _other_lengths(metric: str, arms: Sequence[Arm]) -> str:
    """Of which arms the curves behind an area are of other lengths; '' where they are of one."""
    steps = {arm.name: arm.lengths[metric] for arm in arms if metric in arm.lengths}
    if len({*steps.values()}) < 2:
        return ''
    said = ', '.join(f'{count:,} steps of {arm}' for arm, count in steps.items())
    return f'the curves are of other lengths: {said}'


def _missing(names: Sequence[str], unfinished: Mapping[str, str]) -> str:
    """Which arms a claim lacks, and why."""
    said = []
    for name in names:
        why = f': {unfinished[name]}' if unfinished.get(name) else ''
        said.append(f'{name} is not finished{why}' if name in unfinished else f'{name} was not run')
    return '; '.join(said)


def _joined(*reasons: str) -> str:
    return '; '.join(filter(None, reasons))
