"""Numbers of generators against scipy's matrix roots and loops over all pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxdl.errors import UsageError
from jaxdl.metrics import describe, finish, total
from jaxdl.metrics.generators import (
    ClassesSeen,
    ClassScore,
    Frechet,
    Manifolds,
    frechet_distance,
)

RNG = np.random.default_rng(0)
N, D = 60, 5
MIX = RNG.normal(size=(D, D))
REAL = (RNG.normal(size=(N, D)) @ MIX + 3).astype(np.float32)
FAKE = (0.7 * RNG.normal(size=(N, D)) @ MIX.T + 3.3).astype(np.float32)
LOGITS = 3 * RNG.normal(size=(N, 4)).astype(np.float32)


def measured(size, real=REAL, fake=FAKE, logits=LOGITS):
    """All numbers, from batches of `size`, whose padding holds NaN."""

    @jax.jit
    def measure(real, fake, logits, mask):
        return {
            'frechet': Frechet.of(real, fake, mask),
            'score': ClassScore.of(logits, mask),
            'classes': ClassesSeen.of(logits, mask, least=0.1),
            '': Manifolds.of(real, fake, mask),
        }

    parts = []
    for start in range(0, len(real), size):
        rows = [x[start : start + size] for x in (real, fake, logits)]
        lack = size - len(rows[0])
        rows = [np.pad(x, ((0, lack), (0, 0)), constant_values=np.nan) for x in rows]
        parts.append(measure(*rows, np.arange(size) < size - lack))
    return finish(total(parts))


def by_scipy(real, fake):
    c, d = np.cov(real.astype(np.float64).T), np.cov(fake.astype(np.float64).T)
    apart = real.mean(0, dtype=np.float64) - fake.mean(0, dtype=np.float64)
    root = scipy.linalg.sqrtm(c @ d).real
    return apart @ apart + np.trace(c + d - 2 * root)


@pytest.mark.parametrize('size', [60, 7, 25])
def test_frechet_distance_is_that_of_scipy_whatever_the_batches(size):
    assert measured(size)['frechet'] == pytest.approx(by_scipy(REAL, FAKE), rel=1e-5)


def test_frechet_distance_keeps_its_digits_far_from_zero():
    # About zero the squares of 1,000 would leave float32 nothing of a variance of one.
    real, fake = REAL + np.float32(1000), FAKE + np.float32(1000)
    assert measured(7, real, fake)['frechet'] == pytest.approx(by_scipy(real, fake), rel=1e-4)


def test_frechet_distance_of_known_gaussians():
    eye = np.eye(3)
    assert frechet_distance(np.zeros(3), eye, np.array([1.0, 2, 2]), eye) == pytest.approx(9)
    # Commuting: sum (s - t)^2. A direction without variance is no trouble.
    d = np.diag([4.0, 0, 1])
    assert frechet_distance(np.zeros(3), eye, np.zeros(3), d) == pytest.approx(1 + 1 + 0)
    assert measured(30, fake=REAL)['frechet'] == pytest.approx(0, abs=1e-9)


def test_score_and_classes_by_hand():
    found = measured(25)
    p = np.exp(LOGITS - LOGITS.max(1, keepdims=True)).astype(np.float64)
    p /= p.sum(1, keepdims=True)
    divergence = (p * np.log(p / p.mean(0))).sum(1)
    assert found['score'] == pytest.approx(np.exp(divergence.mean()), rel=1e-5)
    assert found['classes'] == (np.bincount(LOGITS.argmax(1)) >= 6).sum()


def test_score_at_its_ends():
    sure = 100 * np.eye(4, dtype=np.float32)[np.arange(N) % 4]
    assert measured(25, logits=sure)['score'] == pytest.approx(4)
    assert measured(25, logits=np.zeros((N, 4), np.float32))['score'] == pytest.approx(1)


@pytest.mark.parametrize(
    'counts, seen', [((54, 6, 0, 0), 2), ((55, 5, 0, 0), 1), ((15, 15, 15, 15), 4)]
)
def test_a_class_is_seen_from_its_share(counts, seen):
    logits = np.eye(4, dtype=np.float32)[np.repeat(np.arange(4), counts)]
    assert measured(7, logits=logits)['classes'] == seen


def in_manifold(points, members, k):
    """The share of points that are in a ball of a member."""
    hits = 0
    for point in points:
        for i, member in enumerate(members):
            others = [np.linalg.norm(member - m) for j, m in enumerate(members) if j != i]
            if np.linalg.norm(point - member) <= sorted(others)[k - 1]:
                hits += 1
                break
    return hits / len(points)


@pytest.mark.parametrize('size', [60, 25])
def test_precision_and_recall_are_those_of_a_loop(size):
    real, fake = REAL.astype(np.float64), FAKE.astype(np.float64)
    found = measured(size)
    assert found['precision'] == pytest.approx(in_manifold(fake, real, 3))
    assert found['recall'] == pytest.approx(in_manifold(real, fake, 3))
    assert 0 < found['recall'] < found['precision'] < 1


def test_a_dropped_mode_costs_recall_and_a_wrong_one_precision():
    far = (REAL + 100).astype(np.float32)
    two, one = np.concatenate([REAL, far]), np.concatenate([REAL, REAL]) + np.float32(1e-4)
    found = measured(60, real=two, fake=one, logits=np.repeat(LOGITS, 2, 0))
    assert found['recall'] == 0.5 and found['precision'] == 1
    found = measured(60, real=one, fake=two, logits=np.repeat(LOGITS, 2, 0))
    assert found['recall'] == 1 and found['precision'] == 0.5


def test_what_is_better_is_known_before_anything_is_measured():
    mask = jnp.zeros(2, bool)
    metrics = {
        'frechet': Frechet.of(REAL[:2], FAKE[:2], mask),
        'score': ClassScore.of(LOGITS[:2], mask),
        'classes': ClassesSeen.of(LOGITS[:2], mask),
        '': Manifolds.of(REAL[:2], FAKE[:2], mask),
    }
    assert {name: about.better for name, about in describe(metrics).items()} == {
        'frechet': 'lower',
        **dict.fromkeys(('score', 'classes', 'precision', 'recall'), 'higher'),
    }
    assert all(np.isnan(x) for x in finish(metrics).values())
    with pytest.raises(UsageError, match='neighbours is 0'):
        Manifolds.of(REAL, FAKE, mask, neighbours=0)
