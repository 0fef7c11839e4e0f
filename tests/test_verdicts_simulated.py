"""Verdicts on 1,000 simulated studies whose truth is known: how often they cover it and are wrong.

Bands are those of counting in 1,000 studies: three standard errors of a share, 0.02 for 95 %.
"""

import math

import numpy as np
import pytest

from jaxdl.claims import better, in_seeds
from jaxdl.derived import first_time, restricted
from jaxdl.report.verdicts import corrected
from jaxdl.statistics import crossed_interval, mean_ci, share_ci

STUDIES = 1000


def near(share):
    """Three standard errors of a share that is counted over the studies."""
    return 3 * math.sqrt(share * (1 - share) / STUDIES)


@pytest.mark.parametrize('seeds', [3, 5, 10])
def test_the_t_interval_covers_the_mean(seeds):
    rng = np.random.default_rng(seeds)
    covered = [low <= 3 <= high for _, (low, high) in map(mean_ci, rng.normal(3, 2, (1000, seeds)))]
    assert np.mean(covered) == pytest.approx(0.95, abs=near(0.95))
    # Values far from a normal distribution (exponential ones) are covered less often.
    skewed = rng.exponential(1, (1000, seeds))
    covered = [low <= 1 <= high for _, (low, high) in map(mean_ci, skewed)]
    assert 0.84 < np.mean(covered) < 0.94


@pytest.mark.parametrize('share', [0.5, 0.8, 0.95])
@pytest.mark.parametrize('seeds', [5, 10, 30])
def test_the_interval_of_clopper_and_pearson_covers_the_share(share, seeds):
    rng = np.random.default_rng(seeds)
    ends = np.array([share_ci(k, seeds) for k in range(seeds + 1)])
    low, high = ends[rng.binomial(seeds, share, STUDIES)].T
    assert np.mean((low <= share) & (share <= high)) > 0.95 - near(0.95)


def test_in_seeds_is_seldom_wrong_where_the_share_is_the_bound():
    reached = np.random.default_rng(0).uniform(size=(STUDIES, 20)) < 0.8
    claim = in_seeds('a', 'm', at_least=1)
    words = [claim.judge({'a': {'m': values}}, {}).verdict for values in reached.astype(float)]
    # Counts are coarse: the sides are at most 2.5 % each, and the claim is true at 0.8.
    assert words.count('supported') + words.count('refuted') < STUDIES * (0.05 + near(0.05))
    # Counting alone would have supported it in more than half of them.
    assert np.mean(reached.mean(1) >= 0.8) > 0.5


@pytest.fixture(scope='module')
def studies():
    """Five claims of each study, judged: of arms that are equal, or of one that is better by 3."""
    rng = np.random.default_rng(1)
    claim = better('a', 'b', 'm')

    def study(effects):
        shared = rng.normal(0, 10, (5, 6))  # between seeds, which pairing takes away
        a, b = shared + rng.normal(size=(5, 6)) + effects[:, None], shared + rng.normal(size=(5, 6))
        results = [{'a': {'m': x}, 'b': {'m': y}} for x, y in zip(a, b, strict=True)]
        return [claim.judge(each, {'m': 'higher'})._asdict() for each in results]

    return {
        name: [study(np.array(effects, float)) for _ in range(STUDIES)]
        for name, effects in {'null': [0] * 5, 'mixed': [3, 3, 0, 0, 0]}.items()
    }


def wrong(studies, claims):
    """The share of studies with a verdict, other than undecided, on any of some claims."""
    return np.mean([any(s[i]['verdict'] != 'undecided' for i in claims) for s in studies])


def test_five_true_nulls_give_a_false_verdict_in_5_studies_of_100(studies):
    alone = studies['null']
    assert wrong(alone, range(5)) == pytest.approx(1 - 0.95**5, abs=near(0.226))  # 23 of 100
    assert wrong([corrected(study) for study in alone], range(5)) < 0.05 + near(0.05)


def test_holm_holds_where_some_claims_are_true_and_finds_those(studies):
    found = [corrected(study) for study in studies['mixed']]
    assert wrong(found, [2, 3, 4]) < 0.05 + near(0.05) < wrong(studies['mixed'], [2, 3, 4])
    supported = np.mean([study[0]['verdict'] == 'supported' for study in found])
    assert 0.75 < supported < np.mean([s[0]['verdict'] == 'supported' for s in studies['mixed']])


def crossed(seeds, *, of_seeds, of_examples, rest, n=50):
    """Values [studies, seeds, n] of a two-way random effects model whose mean is 0."""
    rng = np.random.default_rng(seeds)
    values = of_seeds * rng.normal(size=(STUDIES, seeds, 1))
    values = values + of_examples * rng.normal(size=(STUDIES, 1, n))
    return values + rest * rng.normal(size=(STUDIES, seeds, n))


@pytest.mark.parametrize(
    ('seeds', 'model', 'low', 'high'),
    [
        # As it should be where the test is what is small: examples vary most.
        (5, {'of_seeds': 0.1, 'of_examples': 1.0, 'rest': 1.0}, 0.93, 0.98),
        (10, {'of_seeds': 0.1, 'of_examples': 1.0, 'rest': 1.0}, 0.93, 0.98),
        # Conservative where neither seeds nor examples matter: the variance counts threefold.
        (5, {'of_seeds': 0.0, 'of_examples': 0.0, 'rest': 1.0}, 0.98, 1.0),
        (10, {'of_seeds': 0.0, 'of_examples': 0.0, 'rest': 1.0}, 0.98, 1.0),
        # Too narrow where seeds vary most and are few, as it is known of the bootstrap.
        (5, {'of_seeds': 1.0, 'of_examples': 0.0, 'rest': 1.0}, 0.80, 0.88),
        (10, {'of_seeds': 1.0, 'of_examples': 0.0, 'rest': 1.0}, 0.88, 0.94),
    ],
)
def test_how_often_the_crossed_bootstrap_covers_the_mean(seeds, model, low, high):
    ends = crossed_interval([(1.0, crossed(seeds, **model))])
    covered = np.mean((ends[0] <= 0) & (ends[1] >= 0))
    assert low < covered < high


def test_an_interval_over_seeds_alone_does_not_cover_other_examples():
    values = crossed(10, of_seeds=0.1, of_examples=1.0, rest=0.5)
    covered = [low <= 0 <= high for _, (low, high) in map(mean_ci, values.mean(2))]
    assert np.mean(covered) < 0.6


def test_the_crossed_bootstrap_is_that_of_a_plain_loop():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 4, 1)) + rng.normal(size=(2, 1, 30)) + rng.normal(size=(2, 4, 30))
    a[1, 3] = b[2, 5] = np.nan
    draws = []
    for _ in range(4000):
        seeds, examples = rng.integers(0, 4, 4), rng.integers(0, 30, 30)
        means = [np.nanmean(x[seeds][:, examples], 1).mean() for x in (a, b)]
        draws.append(means[0] - means[1])
    ends = np.array(crossed_interval([(1.0, a), (-1.0, b)]))
    assert ends == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=0.15 * np.std(draws))
    # Many at once are each of them alone.
    many = crossed_interval([(1.0, np.stack([a, b, a - b]))])
    assert many[0][1] == pytest.approx(crossed_interval([(1.0, b)])[0], rel=1e-9)
    assert np.isnan(crossed_interval([(1.0, np.full((2, 3), np.nan))])).all()


def test_the_restricted_mean_time_is_that_of_its_law():
    """A value that is reached at each look with chance q: E[min(T, L)] = (1 - (1 - q)^L) / q."""
    rng = np.random.default_rng(2)
    looks, q, length = np.arange(1.0, 21.0), 0.08, 20
    when = rng.geometric(q, STUDIES * 10)
    curves = (looks[:, None] >= when).astype(float)
    first = first_time(looks, curves, bound=1.0, above=True)
    times = restricted(first, length)
    expected = (1 - (1 - q) ** length) / q
    assert times.mean() == pytest.approx(expected, abs=4 * times.std() / math.sqrt(len(times)))
    # Without those that never reach it the mean would be far too low.
    assert first[np.isfinite(first)].mean() < 0.8 * expected
    # Ten seeds of each study: the interval of their mean covers it, a little too seldom.
    covered = [low <= expected <= high for _, (low, high) in map(mean_ci, times.reshape(-1, 10))]
    assert 0.91 < np.mean(covered) < 0.97
