"""Claims against hand-computed values, scipy's own tests, and simulation."""

import itertools
import math
import re

import numpy as np
import pytest
from scipy import stats as scipy_stats

from jaxdl.claims import (
    area,
    better,
    better_over,
    gap,
    in_seeds,
    larger_lead,
    no_worse,
    reaches,
    sooner,
    steadier,
    unequal,
)
from jaxdl.errors import UsageError
from jaxdl.statistics import holm, mean_ci, seeds_to_show, share_ci


def judged(claim, direction='higher', /, **arms):
    results = {arm: {'m': np.asarray(values, float)} for arm, values in arms.items()}
    return claim.judge(results, {'m': direction})


def test_mean_ci_of_a_known_sample():
    # mean 3, standard deviation sqrt(2.5), t(4, 0.975) = 2.776445: 3 +- 2.776445 * sqrt(0.5)
    mean, (low, high) = mean_ci([1, 2, 3, 4, 5])
    assert mean == 3
    assert low == pytest.approx(3 - 2.7764451 * math.sqrt(0.5), abs=1e-6)
    assert high == pytest.approx(3 + 2.7764451 * math.sqrt(0.5), abs=1e-6)


@pytest.mark.parametrize('values', [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_mean_ci_without_an_interval(values):
    _, interval = mean_ci(values)
    assert all(map(math.isnan, interval))


def test_the_interval_covers_the_mean_95_times_in_100():
    rng = np.random.default_rng(0)
    draws = rng.normal(3.0, 2.0, (800, 5))
    covered = [low <= 3.0 <= high for _, (low, high) in map(mean_ci, draws)]
    assert 0.93 < np.mean(covered) < 0.97


def test_a_true_null_is_decided_5_times_in_100():
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 10, (800, 5))  # large differences between seeds, which pairing removes
    a, b = shared + rng.normal(size=(800, 5)), shared + rng.normal(size=(800, 5))
    claim = better('a', 'b', 'm')
    verdicts = [judged(claim, a=x, b=y).verdict for x, y in zip(a, b, strict=True)]
    assert 0.03 < 1 - verdicts.count('undecided') / 800 < 0.07


def test_better_is_scipys_paired_t_test():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.97, 0.01, 6), rng.normal(0.95, 0.01, 6)
    verdict = judged(better('a', 'b', 'm'), a=a, b=b)
    test = scipy_stats.ttest_rel(a, b)
    assert verdict.p == pytest.approx(test.pvalue)
    assert verdict.ci95 == pytest.approx(tuple(test.confidence_interval()))
    assert verdict.effect == pytest.approx(np.mean(a - b))
    # Lower is better turns the effect and the interval round.
    other = judged(better('a', 'b', 'm'), 'lower', a=a, b=b)
    assert other.ci95 == pytest.approx((-verdict.ci95[1], -verdict.ci95[0]))
    assert (other.effect, other.p) == pytest.approx((-verdict.effect, verdict.p))


@pytest.mark.parametrize(
    ('by', 'direction', 'expected'),
    [
        (0.0, 'higher', 'supported'),
        (0.0, 'lower', 'refuted'),
        (0.5, 'higher', 'supported'),
        (1.0, 'higher', 'undecided'),
        (2.0, 'higher', 'refuted'),
    ],
)
def test_better_by_where_the_interval_lies(by, direction, expected):
    a, b = [11.0, 21.1, 30.9, 41.2], [10.0, 20.0, 30.0, 40.0]  # differences 1, 1.1, 0.9, 1.2
    verdict = judged(better('a', 'b', 'm', by=by), direction, a=a, b=b)
    assert verdict.verdict == expected
    # The interval excludes the bound exactly when p < 0.05.
    assert (verdict.p < 0.05) == (expected != 'undecided')


@pytest.mark.parametrize(
    ('a', 'b', 'difference'),
    [
        # 0.99 - 0.98 is not 0.97 - 0.96 to the last bit.
        ([0.99, 0.98, 0.97], [0.98, 0.97, 0.96], '0.01'),
        ([0.98, 0.97, 0.96], [0.99, 0.98, 0.97], '-0.01'),
        ([0.3, 0.6, 0.9], [0.3, 0.6, 0.9], '0'),
        # 0.1 + 0.2 is not 0.3: a difference of rounding is no difference.
        ([0.1 + 0.2, 0.3, 0.3], [0.3, 0.1 + 0.2, 0.3], '0'),
    ],
)
def test_without_variance_nothing_is_tested(a, b, difference):
    why = f'at the ceiling: every difference is {difference}, there is no variance to test'
    for claim in (better('a', 'b', 'm'), no_worse('a', 'b', 'm', margin=0.5)):
        verdict = judged(claim, a=a, b=b)
        assert (verdict.verdict, verdict.reason) == ('undecided', why)
        assert np.isnan([*verdict.ci95, verdict.p]).all()
        assert verdict.effect == pytest.approx(float(difference))
    equal = judged(reaches('a', 'm', at_least=0.5), a=[0.985] * 3)
    assert equal.reason == 'at the ceiling: every seed has 0.985, there is no variance to test'
    assert equal.verdict == 'undecided' and math.isnan(equal.p) and equal.effect == 0.985
    assert math.isnan(mean_ci([0.985] * 3)[1][0])


@pytest.mark.parametrize('a', [[0.9], [math.nan, 0.9, 0.8], [math.inf, 0.9, 0.8]])
def test_no_interval_decides_nothing(a):
    for claim in (better('a', 'b', 'm'), reaches('a', 'm', at_least=0.5)):
        verdict = judged(claim, a=a, b=[0.1] * len(a))
        assert verdict.verdict == 'undecided'
        assert all(map(math.isnan, (*verdict.ci95, verdict.p)))


@pytest.mark.parametrize(
    ('margin', 'expected'), [(0.0, 'refuted'), (0.1, 'undecided'), (0.3, 'supported')]
)
def test_no_worse(margin, expected):
    a, b = [0.9, 1.9, 2.88, 3.92], [1.0, 2.0, 3.0, 4.0]
    assert judged(no_worse('a', 'b', 'm', margin=margin), a=a, b=b).verdict == expected
    # The mirror image, where lower is better.
    verdict = judged(no_worse('b', 'a', 'm', margin=margin), 'lower', a=a, b=b)
    assert verdict.verdict == expected


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([0.990, 0.991, 0.992, 0.990, 0.991], 'supported'),
        ([0.980, 0.991, 0.992, 0.990, 0.980], 'undecided'),  # mean above, interval includes
        ([0.970, 0.971, 0.972, 0.970, 0.971], 'refuted'),
    ],
)
def test_reaches(values, expected):
    verdict = judged(reaches('a', 'm', at_least=0.985), a=values)
    assert verdict.verdict == expected
    assert verdict.effect == pytest.approx(np.mean(values))
    mirrored = judged(reaches('a', 'm', at_most=-0.985), a=-np.asarray(values))
    assert mirrored.verdict == expected
    assert mirrored.effect == pytest.approx(-verdict.effect)
    assert mirrored.ci95 == pytest.approx((-verdict.ci95[1], -verdict.ci95[0]))


@pytest.mark.parametrize(
    ('k', 'n', 'expected'),
    [
        (5, 5, 'undecided'),  # Clopper and Pearson: [0.48, 1]
        (16, 16, 'undecided'),
        (17, 17, 'supported'),  # 0.025 ** (1 / 17) is 0.805
        (27, 28, 'supported'),
        (26, 28, 'undecided'),
        (1, 5, 'refuted'),  # [0.005, 0.716]
        (2, 5, 'undecided'),  # [0.053, 0.853]
        (0, 2, 'undecided'),
        (0, 3, 'refuted'),
    ],
)
def test_in_seeds_goes_by_its_interval(k, n, expected):
    values = np.array([8.0] * k + [5.0] * (n - k))
    verdict = judged(in_seeds('a', 'm', at_least=8, seeds=4, of=5), a=values)
    theirs = scipy_stats.binomtest(k, n).proportion_ci(0.95, method='exact')
    assert (verdict.verdict, verdict.effect) == (expected, k / n)
    assert verdict.ci95 == pytest.approx((theirs.low, theirs.high))
    tails = [scipy_stats.binomtest(k, n, 0.8, way).pvalue for way in ('less', 'greater')]
    assert verdict.p == pytest.approx(min(1, 2 * min(tails)))
    # The interval excludes the share exactly when p < 0.05.
    assert (verdict.p < 0.05) == (expected != 'undecided')
    assert judged(in_seeds('a', 'm', at_most=-8), a=-values).verdict == expected


def test_in_seeds_says_how_many_would_do():
    verdict = judged(in_seeds('a', 'm', at_least=8), a=[8] * 5)
    assert verdict.reason == '5 of 5 does not show a share of 0.8: it takes 17 of 17'
    always = judged(in_seeds('a', 'm', at_least=8, seeds=3, of=3), a=[8] * 5)
    assert always.reason == '5 of 5 does not show a share of 1: no number of seeds does'
    for share, needed in {0.5: 6, 0.8: 17, 0.9: 36}.items():
        assert seeds_to_show(share) == needed
        assert share_ci(needed, needed)[0] >= share > share_ci(needed - 1, needed - 1)[0]
    assert seeds_to_show(1.0) is None


@pytest.mark.parametrize(
    ('reached', 'missed', 'nans', 'expected'),
    [
        (17, 0, 0, 'supported'),
        (17, 0, 1, 'undecided'),  # as 17 of 18
        (27, 0, 1, 'supported'),  # as 27 of 28
        (0, 3, 0, 'refuted'),
        (0, 4, 1, 'refuted'),  # as 1 of 5
        (0, 3, 1, 'undecided'),  # as 1 of 4
        (0, 0, 5, 'undecided'),
    ],
)
def test_in_seeds_counts_what_is_nan_for_the_worst(reached, missed, nans, expected):
    values = [9.0] * reached + [1.0] * missed + [math.nan] * nans
    verdict = judged(in_seeds('a', 'm', at_least=8), a=values)
    n = reached + missed + nans
    assert verdict.verdict == expected and verdict.effect == reached / n
    assert verdict.ci95 == (share_ci(reached, n)[0], share_ci(reached + nans, n)[1])
    assert (verdict.p < 0.05) == (expected != 'undecided')


@pytest.mark.parametrize(
    'claim',
    [
        better('a', 'b', 'm'),
        no_worse('a', 'b', 'm', margin=1),
        larger_lead(('a', 'b'), ('b', 'b'), 'm'),
        better_over(['a'], ['b'], 'm'),
        reaches('a', 'm', at_least=100),
        reaches('a', 'm', at_most=100),
    ],
)
def test_what_is_nan_decides_nothing(claim):
    assert judged(claim, a=[1.0, math.nan, 3.0], b=[9.0, 9.1, 9.2]).verdict == 'undecided'


@pytest.mark.parametrize(
    ('k', 'n', 'low', 'high'),
    # The closed forms at the ends, and the table of Clopper and Pearson for 4 of 5.
    [(5, 5, 0.025 ** (1 / 5), 1), (0, 5, 0, 1 - 0.025 ** (1 / 5)), (4, 5, 0.28358, 0.99495)],
)
def test_clopper_pearson(k, n, low, high):
    assert share_ci(k, n) == pytest.approx((low, high), abs=1e-5)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    adjusted = holm([0.02, math.nan, 0.03])
    assert math.isnan(adjusted[1])
    assert [adjusted[0], adjusted[2]] == pytest.approx([0.04, 0.04])


def test_holm_is_the_closed_test_of_bonferroni():
    """By definition: the largest Bonferroni p over all subsets that contain the hypothesis."""
    ps = list(np.random.default_rng(3).uniform(0, 0.5, 4))
    subsets = [s for k in range(1, 5) for s in itertools.combinations(range(4), k)]
    closed = [
        max(min(1, len(s) * min(ps[j] for j in s)) for s in subsets if i in s) for i in range(4)
    ]
    assert holm(ps) == pytest.approx(closed)


@pytest.mark.parametrize(
    ('claim', 'named'),
    [
        (better('a', 'c', 'm'), "the arm 'c'"),
        (reaches('a', 'mm', at_least=1), "the metric 'mm' of arm 'a'; did you mean 'm'?"),
        (better('a', 'b', 'm'), '2 and 3 seeds'),
    ],
)
def test_a_claim_that_cannot_be_judged_is_one_line(claim, named):
    with pytest.raises(UsageError, match='.') as error:
        judged(claim, a=[1, 2], b=[1, 2, 3])
    assert named in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'make',
    [
        lambda: reaches('a', 'm'),
        lambda: reaches('a', 'm', at_least=1, at_most=2),
        lambda: in_seeds('a', 'm', at_least=1, seeds=6, of=5),
        lambda: no_worse('a', 'b', 'm', margin=-1),
        lambda: sooner('a', 'b', 'm'),
        lambda: sooner('a', 'b', 'm', at_least=1, by='minutes'),
        lambda: better('a', 'b', 'm', equal='params', text='a wins'),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(make):
    with pytest.raises(UsageError):
        make()


def test_claims_say_what_they_claim():
    assert better('a', 'b', 'loss', by=0.1).text == ('a has a better loss than b by more than 0.1')
    assert in_seeds('a', 'modes', at_least=8).text == (
        'modes of a is at least 8 in at least 4 of 5 seeds'
    )
    assert reaches('a', 'm', at_least=0.985).text == 'The mean m of a is at least 0.985'
    assert better('a', 'b', 'm', text='a wins').text == 'a wins'
    assert better('a', 'b', 'm', equal='flops').text == 'a has a better m than b at equal flops'
    claim = sooner('a', 'b', 'test/accuracy', at_least=0.9, equal='parameters')
    assert claim.text == (
        'a takes fewer steps than b to a test/accuracy of at least 0.9 at equal parameters'
    )
    assert claim.metric == 'steps to test/accuracy >= 0.9' and claim.equal == 'parameters'
    claim = sooner('a', 'b', 'loss', at_most=1e-5, by='seconds')
    assert claim.metric == 'seconds to loss <= 1e-05'
    assert (area('test/loss'), gap('loss')) == ('area of test/loss', 'gap of test/loss')
    assert gap('far/loss') == 'gap of far/loss'


def test_a_larger_lead_is_a_paired_test_of_differences_of_differences():
    rng = np.random.default_rng(5)
    a, b, c, d = rng.normal([[2.0], [0.0], [1.0], [0.5]], 0.3, (4, 6))
    claim = larger_lead(('a', 'b'), ('c', 'd'), 'm')
    assert claim.arms == ('a', 'b', 'c', 'd')
    verdict = judged(claim, a=a, b=b, c=c, d=d)
    theirs = scipy_stats.ttest_rel(a - b, c - d)
    assert verdict.effect == pytest.approx((a - b - c + d).mean())
    assert verdict.p == pytest.approx(theirs.pvalue) and verdict.verdict == 'supported'
    # Where smaller is better every lead turns round.
    turned = judged(larger_lead(('a', 'b'), ('c', 'd'), 'm'), 'lower', a=-a, b=-b, c=-c, d=-d)
    assert turned.effect == pytest.approx(verdict.effect)
    other = judged(larger_lead(('c', 'd'), ('a', 'b'), 'm'), a=a, b=b, c=c, d=d)
    assert other.verdict == 'refuted' and other.effect == pytest.approx(-verdict.effect)


def test_methods_are_compared_over_their_settings():
    rng = np.random.default_rng(7)
    calm, wild = rng.normal([[2.0], [2.1]], 0.1, (2, 6)), rng.normal([[0.0], [3.0]], 0.2, (2, 6))
    arms = dict(zip('abcd', [*calm, *wild], strict=True))
    claim = better_over('ab', 'cd', 'm')
    assert claim.arms == ('a', 'b', 'c', 'd')
    found = judged(claim, **arms)
    assert found.effect == pytest.approx((calm.mean(0) - wild.mean(0)).mean())
    assert found.p == pytest.approx(scipy_stats.ttest_rel(calm.mean(0), wild.mean(0)).pvalue)
    assert found.verdict == 'supported'
    assert judged(claim, 'lower', **arms).effect == pytest.approx(-found.effect)
    # A smaller spread is steadier, whichever values are better.
    for direction in ('higher', 'lower'):
        spread = judged(steadier('ab', 'cd', 'm'), direction, **arms)
        want = wild.std(0, ddof=1) - calm.std(0, ddof=1)
        assert spread.effect == pytest.approx(want.mean()) and spread.verdict == 'supported'
    assert judged(steadier('cd', 'ab', 'm'), **arms).verdict == 'refuted'


@pytest.mark.parametrize(
    ('make', 'said'),
    [
        (lambda: better_over('ab', 'bc', 'm'), "'b' is in both groups"),
        (lambda: better_over('', 'b', 'm'), 'it takes 1 or more arms'),
        (lambda: better_over('aa', 'b', 'm'), 'each once'),
        (lambda: steadier('a', 'bc', 'm'), 'it takes 2 or more arms'),
        (lambda: judged(better_over('a', 'b', 'm'), a=[1, 2], b=[1]), 'have 1 to 2 seeds'),
    ],
)
def test_groups_that_are_none_are_refused(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_what_is_compared_must_say_what_is_better():
    results = {arm: {'m': np.arange(3.0)} for arm in 'abcd'}
    for claim in (
        better('a', 'b', 'm'),
        no_worse('a', 'b', 'm', margin=1),
        larger_lead(('a', 'b'), ('c', 'd'), 'm'),
        better_over('ab', 'cd', 'm'),
    ):
        with pytest.raises(UsageError, match='nothing says which values are better'):
            claim.judge(results, {})
    # What is held against a value needs no direction: the claim says its side.
    assert reaches('a', 'm', at_most=9.0).judge(results, {}).verdict == 'supported'


def test_leads_of_different_seeds_are_refused():
    with pytest.raises(UsageError, match="'a' and 'c' have 3 and 2 seeds"):
        judged(larger_lead(('a', 'b'), ('c', 'd'), 'm'), a=[1] * 3, b=[1] * 3, c=[1] * 2, d=[1] * 2)


@pytest.mark.parametrize(
    ('equal', 'told', 'said'),
    [
        (None, {}, ''),
        ('parameters', {'a': {'parameters': 10000}, 'b': {'parameters': 10500}}, ''),
        (
            'parameters',
            {'a': {'parameters': 13706}, 'b': {'parameters': 15400}},
            'parameters differ by 12 % (13,706 against 15,400): not at equal parameters',
        ),
        (
            'seconds',
            {'a': {'seconds': 10.6}, 'b': {'seconds': 10.0}},
            'seconds differ by 6.0 % (10.6 against 10): not at equal seconds',
        ),
        ('flops', {'a': {'flops': 1}, 'b': {}}, 'the flops of b are not known: not at equal flops'),
        (
            'flops',
            {'a': {'flops': 0}, 'b': {'flops': 1e12}},
            'flops differ by inf % (0 against 1,000,000,000,000): not at equal flops',
        ),
    ],
)
def test_what_arms_must_be_equal_in(equal, told, said):
    assert unequal(better('a', 'b', 'm', equal=equal), told) == said
    assert unequal(no_worse('b', 'a', 'm', margin=1, equal=equal), told).count('differ') == (
        said.count('differ')
    )


def test_the_pairs_of_a_lead_are_held_against_each_other():
    claim = larger_lead(('a', 'b'), ('c', 'd'), 'm', equal='seconds')
    seconds = {'a': 1.0, 'b': 1.02, 'c': 60.0, 'd': 61.0}
    assert unequal(claim, {arm: {'seconds': x} for arm, x in seconds.items()}) == ''
    seconds['d'] = 66.0
    said = unequal(claim, {arm: {'seconds': x} for arm, x in seconds.items()})
    assert said == 'seconds differ by 10 % (60 against 66): not at equal seconds'


@pytest.mark.parametrize(
    ('claim', 'said'),
    [
        (lambda: better('a', 'b', 'm', by=math.nan), 'better: by is nan'),
        (lambda: better('a', 'b', 'm', by='0.1'), "better: by is '0.1'"),
        (lambda: no_worse('a', 'b', 'm', margin=math.nan), 'no_worse: margin is nan'),
        (lambda: reaches('a', 'm', at_least=math.inf), 'reaches: at_least is inf'),
        (lambda: reaches('a', 'm', at_most=True), 'reaches: at_most is True'),
        (lambda: sooner('a', 'b', 'm', at_least='0.5'), "sooner: at_least is '0.5'"),
        (lambda: in_seeds('a', 'm', at_least=0.5, seeds=3.5), 'in_seeds: seeds is 3.5'),
        (lambda: in_seeds('a', 'm', at_least=0.5, of=True), 'in_seeds: of is True'),
        (lambda: better('a', 'a', 'm'), "better: 'a' is compared with itself"),
        (lambda: no_worse('a', 'a', 'm', margin=0.1), "no_worse: 'a' is compared with itself"),
        (lambda: sooner('a', 'a', 'm', at_least=0.5), "sooner: 'a' is compared with itself"),
        (lambda: larger_lead(('a', 'b'), ('a', 'b'), 'm'), 'are both pairs'),
    ],
)
def test_a_claim_that_nothing_could_decide_is_refused(claim, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        claim()


def test_a_bound_may_be_of_numpy():
    claim = in_seeds('a', 'm', at_least=np.float32(0.5), seeds=np.int64(4))
    assert judged(claim, a=[0.6] * 17).verdict == 'supported'


def test_what_others_found_changes_nothing_but_what_stands_beside():
    claim = better('a', 'b', 'test/loss')
    beside = claim.against('Someone 1999: 3 %')
    assert beside.reported == 'Someone 1999: 3 %' and not claim.reported
    assert beside._replace(reported='') == claim
