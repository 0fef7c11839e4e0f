"""The best state of a task whose state is one number, which grows by 1 at each step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UsageError
from jaxdl.metrics import Mean
from jaxdl.objectives.keep_best import keep_best
from jaxdl.task import Finished, Task

KEY, NAN = jax.random.key(0), float('nan')


def counted(metric='score', **options):
    def step(key, state, batch):
        return state + 1, {'loss': Mean.of(state, better='lower')}

    task = Task(lambda key, batch: jnp.float32(0), step, lambda key, state, batch: {})
    return keep_best(task, metric, **options)


def walk(task, scores, better='higher'):
    """One step before each review; the state after them all, and the metrics of each step."""
    state, metrics = task.init(KEY, None), []
    for score in scores:
        state, found = task.step(KEY, state, None)
        metrics.append(found['loss'])
        state = task.review(state, {'score': Finished(jnp.float32(score), better)})
    return state, metrics


@pytest.mark.parametrize(
    ('scores', 'better', 'outcome', 'best'),
    [
        ([0.1, 0.5, 0.3], 'higher', 2, 2),
        ([0.1, 0.5, 0.3], 'lower', 1, 1),
        ([NAN, 0.5, NAN], 'higher', 2, 2),
        # No score is finite: the last state counts, never the initial one, and it says so.
        ([NAN, NAN, NAN], 'higher', 3, -1),
        ([-np.inf, NAN, np.inf], 'higher', 3, -1),
        ([np.inf, 0.5], 'lower', 2, 2),
        ([np.inf, 0.5, 0.6], 'higher', 3, 3),
        ([], 'higher', 0, -1),
    ],
)
def test_the_outcome_is_the_best_state_or_the_last(scores, better, outcome, best):
    task = counted()
    state, _ = walk(task, scores, better)
    standing = task.standing(state)
    assert float(task.outcome(state).live) == outcome
    assert (int(standing.best), int(standing.steps), standing.metric) == (
        best,
        len(scores),
        'score',
    )


def test_before_the_first_review_the_outcome_is_the_newest_state():
    task = counted()
    state, _ = task.step(KEY, task.init(KEY, None), None)
    assert float(task.outcome(state).live) == 1


def test_patience_ends_at_the_best_and_steps_are_those_that_were_done():
    task = counted(patience=2)
    state, metrics = walk(task, [0.1, 0.5, 0.3, 0.4, 0.9])
    assert bool(task.stopped(state)) and float(task.outcome(state).live) == 2
    standing = task.standing(state)
    assert (int(standing.steps), int(standing.best)) == (4, 2)
    assert [float(m.weight) for m in metrics] == [1, 1, 1, 1, 0]  # after the fourth it weighs none


def test_patience_without_any_score_ends_at_the_last_state():
    task = counted(patience=2)
    state, _ = walk(task, [NAN] * 4)
    assert bool(task.stopped(state))
    assert float(task.outcome(state).live) == 2 and int(task.standing(state).best) == -1


def test_patience_is_at_least_one_review():
    with pytest.raises(UsageError, match='patience is 0; it is 1 or more'):
        counted(patience=0)


def test_a_score_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="no number 'scores' is measured; did you mean 'score'"):
        walk(counted('scores'), [1.0])
