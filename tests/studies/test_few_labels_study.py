"""Learning from few labels: every method's phases fit together, on images made here."""

import jax
import numpy as np
import pytest

from experiments import few_labels
from jaxdl.data.table import from_arrays
from jaxdl.engine.feed import first_sent
from jaxdl.study import Phase

KEY = jax.random.key(0)


def images(n):
    x = np.random.default_rng(n).integers(0, 256, (n, 14, 14, 1), np.uint8)
    return from_arrays({'x': x, 'y': np.arange(n) % 10}, name='images')


def shapes(phase):
    """Of a batch, of a state and of what a step makes of both; nothing is compiled."""
    source = phase.train
    batch = jax.eval_shape(source.make, KEY, source.resident, first_sent(source))
    state = jax.eval_shape(phase.task.init, KEY, batch)
    after, metrics = jax.eval_shape(phase.task.step, KEY, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    return batch, state, metrics


@pytest.mark.parametrize('method', few_labels.METHODS)
def test_the_phases_of_every_method_fit(method, monkeypatch):
    monkeypatch.setattr(few_labels, 'mnist', lambda examples, shrink: (images(240), images(40)))
    made = few_labels.trial(method=method, **few_labels.study.tiny)
    *before, last = (made,) if isinstance(made, Phase) else made
    batch, state, metrics = shapes(last)
    assert batch['x'].shape == (8, 14, 14, 1) and batch['x'].dtype == np.float32
    assert metrics.keys() >= {'loss', 'accuracy'} and last.train.drawn is not None
    assert len(set(last.train.drawn(3))) == 2 * 10
    assert bool(before) == (last.start is not None) == (method in ('simclr', 'byol'))
    assert ('unlabelled' in batch) == (method in ('pseudo_label', 'fixmatch'))
    for phase in before:
        pairs, trained, _ = shapes(phase)
        assert 'y' not in pairs and pairs['first'].shape == pairs['second'].shape == (32, 14, 14, 1)
        # It raises where an array of the encoder is not there, or has another shape.
        taken = jax.eval_shape(last.start, trained, state)
        assert jax.tree.structure(taken) == jax.tree.structure(state)
