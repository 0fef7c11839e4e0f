"""CTC: its loss and its decoders against all alignments, one by one."""

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses
from jaxdl.decoding_ctc import best_path, collapse, prefix_beam
from jaxdl.errors import UsageError

STEPS, CLASSES = 5, 3


def joined(alignment, blank):
    return tuple(label for label, _ in itertools.groupby(alignment) if label != blank)


def by_labels(logs, steps, blank=0):
    """{labels: log-probability} over all alignments of a row, and the likeliest alignment."""
    found, best = defaultdict(lambda: -np.inf), (-np.inf, None)
    for alignment in itertools.product(range(logs.shape[1]), repeat=steps):
        p = sum(logs[t, label] for t, label in enumerate(alignment))
        labels = joined(alignment, blank)
        found[labels] = np.logaddexp(found[labels], p)
        best = max(best, (p, labels))
    return dict(found), best


@pytest.fixture(scope='module')
def rows():
    """Logits [6, T, V] (sharp ones too), lengths, and what each row may say."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(6, STEPS, CLASSES)) * np.array([0.3, 1, 1, 2, 2, 4])[:, None, None]
    lengths = np.array([5, 5, 4, 5, 3, 5])
    logs = np.asarray(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)), np.float64)
    return logits.astype(np.float32), lengths, logs


def said(labelling):
    return [tuple(row[:n].tolist()) for row, n in zip(*map(np.asarray, labelling[:2]), strict=True)]


@pytest.mark.parametrize('blank', [0, 2])
def test_decoders_against_all_alignments(rows, blank):
    logits, lengths, logs = rows
    greedy = best_path(logits, jnp.asarray(lengths), blank=blank)
    wide = prefix_beam(logits, jnp.asarray(lengths), width=64, blank=blank)
    for i in range(len(logits)):
        found, (p, path) = by_labels(logs[i], lengths[i], blank)
        assert said(greedy)[i] == path
        assert float(greedy.scores[i]) == pytest.approx(p, abs=1e-5)
        best = max(found, key=found.get)
        assert said(wide)[i] == best
        assert float(wide.scores[i]) == pytest.approx(found[best], abs=1e-5)


def test_where_the_likeliest_alignment_says_something_else():
    """Blank 0.6 and a label 0.4, twice: nothing was 0.36 likely, the label 0.64."""
    logits = jnp.log(jnp.array([[[0.6, 0.4]] * 2]))
    greedy, beam = (decode(logits, jnp.array([2])) for decode in (best_path, prefix_beam))
    assert said(greedy) == [()] and said(beam) == [(1,)]
    np.testing.assert_allclose(np.exp([*greedy.scores, *beam.scores]), [0.36, 0.64], rtol=1e-5)


def test_a_narrow_beam_claims_no_more_than_there_is(rows):
    logits, lengths, logs = rows
    for width in (1, 2, 3):
        narrow = prefix_beam(logits, jnp.asarray(lengths), width=width)
        for i, labels in enumerate(said(narrow)):
            found, _ = by_labels(logs[i], lengths[i])
            assert float(narrow.scores[i]) <= found[labels] + 1e-5


def test_padding_changes_nothing(rows):
    logits, lengths, _ = rows
    longer = np.pad(logits, ((0, 0), (0, 3), (0, 0)), constant_values=7.0)
    for decode in (best_path, prefix_beam):
        alone, padded = (decode(x, jnp.asarray(lengths)) for x in (logits, longer))
        assert said(alone) == said(padded)
        np.testing.assert_allclose(alone.scores, padded.scores, atol=1e-6)


def test_collapse_by_hand():
    rows = jnp.array([[1, 1, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0], [2, 1, 1, 1, 1, 1]])
    labels, lengths = collapse(rows, jnp.array([6, 6, 1]))
    assert lengths.tolist() == [3, 0, 1]
    assert labels.tolist() == [[1, 1, 2, 0, 0, 0], [0] * 6, [2, 0, 0, 0, 0, 0]]


def test_no_beam():
    with pytest.raises(UsageError, match='width=0; 1 or more'):
        prefix_beam(jnp.zeros((1, 2, 3)), jnp.array([2]), width=0)


@pytest.mark.parametrize('blank', [0, 2])
def test_loss_against_all_alignments(rows, blank):
    logits, lengths, logs = rows
    label = 1 if blank == 0 else 0
    labels = np.array([[label, 1, label]] * len(logits))
    counts = np.array([1, 2, 0, 3, 1, 3])
    weights = np.array([1, 1, 1, 0, 0.5, 1], np.float32)
    expected = []
    for i in range(len(logits)):
        found, _ = by_labels(logs[i], lengths[i], blank)
        expected.append(-found.get(tuple(labels[i, : counts[i]].tolist()), -1e9))
    padded = np.where(np.arange(3) < counts[:, None], labels, 77)  # padding may be anything
    counts_here = (np.arange(STEPS) < lengths[:, None]) & (weights[:, None] > 0)
    logits = np.where(counts_here[..., None], logits, np.nan)
    value = losses.ctc(
        logits, jnp.asarray(lengths), padded, jnp.asarray(counts), weights=weights, blank=blank
    )
    assert float(value) == pytest.approx(np.average(expected, weights=weights), rel=1e-5)


def test_a_row_of_no_weight_has_no_gradient(rows):
    logits, lengths, _ = rows
    weights = jnp.array([1, 0, 1, 1, 1, 1.0])
    labels, counts = np.ones((6, 2), int), np.full(6, 2)
    bad = logits.copy()
    bad[1] = np.nan
    gradient = jax.grad(
        lambda x: losses.ctc(x, jnp.asarray(lengths), labels, counts, weights=weights)
    )(jnp.asarray(bad))
    assert not gradient[1].any() and bool(jnp.isfinite(gradient).all())
    assert not gradient[4, 3:].any() and gradient[4, :3].any()
