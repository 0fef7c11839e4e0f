"""Retrieval: ranks by hand, and the same however the pairs come."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UsageError
from jaxdl.metrics import describe, finish, total
from jaxdl.metrics.retrieval import Retrieval

A = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]], np.float32)
B = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.8, 0.6]], np.float32)  # two are exchanged
YES = np.ones(4, bool)


def numbers(metric):
    return finish({'': metric})


def test_ranks_by_hand():
    found = numbers(Retrieval.of(A, B, YES, ks=(1, 2, 3)))
    for way in ('image_to_text', 'text_to_image'):
        assert [found[f'{way}/recall@{k}'] for k in (1, 2, 3)] == [0.5, 0.75, 1.0]
        assert found[f'{way}/median_rank'] == 1.5


def test_the_loss_is_the_symmetric_cross_entropy():
    found = numbers(Retrieval.of(A, B, YES, scale=3.0))
    logits = 3.0 * A.astype(np.float64) @ B.astype(np.float64).T
    p = np.exp(logits)
    rows = -np.log(np.diag(p / p.sum(1, keepdims=True))).mean()
    columns = -np.log(np.diag(p / p.sum(0, keepdims=True))).mean()
    assert found['contrastive_loss'] == pytest.approx((rows + columns) / 2)


def test_what_is_as_near_counts_as_nearer_and_a_group_belongs_together():
    same = np.ones((4, 2), np.float32)
    found = numbers(Retrieval.of(same, same, YES, ks=(1, 3, 4)))
    assert [found[f'image_to_text/recall@{k}'] for k in (1, 3, 4)] == [0, 0, 1]
    grouped = numbers(Retrieval.of(A, B, YES, group=np.array([0, 1, 1, 2])))
    assert grouped['image_to_text/recall@1'] == 1  # the exchanged two have one text


def test_pairs_in_batches_with_padding_are_those_at_once():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 10, 4)).astype(np.float32)
    b += 0.7 * a
    whole = numbers(Retrieval.of(a, b, np.ones(10, bool), scale=2.0))
    parts = []
    for first in range(0, 12, 4):
        rows = np.minimum(np.arange(first, first + 4), 9)
        mask = jnp.arange(first, first + 4) < 10
        parts.append({'': Retrieval.of(jnp.asarray(a[rows]), jnp.asarray(b[rows]), mask, scale=2)})
    assert finish(total(parts)) == pytest.approx(whole)
    assert 0 < whole['image_to_text/recall@1'] < 1


def test_of_no_pairs_nothing_is_known_but_the_names():
    metric = Retrieval.of(A, B, np.zeros(4, bool))
    assert all(math.isnan(x) for x in numbers(metric).values())
    said = describe({'': metric})
    assert said['image_to_text/recall@5'].better == 'higher'
    assert said['text_to_image/median_rank'].better == said['contrastive_loss'].better == 'lower'


def test_what_is_no_pair_is_said():
    with pytest.raises(UsageError, match=r'\[4, 2\] and \[3, 2\]; both are \[pairs, width\]'):
        Retrieval.of(A, B[:3], YES)
    with pytest.raises(UsageError, match=r'ks=\(0, 1\); each is 1 or more'):
        Retrieval.of(A, B, YES, ks=(0, 1))
