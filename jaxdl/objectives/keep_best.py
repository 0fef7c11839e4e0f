"""The best state on a validation split, and early stopping: a task made from a task."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.errors import UsageError, nearest
from jaxdl.keys import Key
from jaxdl.task import Batch, Metrics, Numbers, Standing, State, Task


class Kept(NamedTuple):
    """A state that is trained and the best one so far.

    score: of the best one, -inf before the first finite score. steps: that changed the live one.
    found: at which of them the best was found, -1 before. waited: reviews since then.
    """

    live: State
    best: State
    score: jax.Array
    steps: jax.Array
    found: jax.Array
    waited: jax.Array


def keep_best(task: Task, metric: str, *, patience: int | None = None) -> Task:
    """The same task, whose outcome is its best state on the validation split, seed by seed.

    metric: any number measured there that says which values are better: 'accuracy', 'mAP'. Only
        finite ones score. Where there was none the outcome is the last state, and the run says so.
    patience: stop a seed (early stopping) after this many reviews without a better score; its
        steps then change nothing and its training metrics keep their last values.

    Its review raises UsageError where there is no such number, or nothing says what is better.
    """
    if not isinstance(task, Task):
        raise UsageError(f'keep_best: {task!r:.80} is no Task')
    if not isinstance(metric, str):
        raise UsageError(f"keep_best: {metric!r:.80} is no name of a number, such as 'accuracy'")
    whole = hasattr(patience, '__index__') and not isinstance(patience, bool)
    if patience is not None and (not whole or patience < 1):
        raise UsageError(
            f'keep_best: patience is {patience!r:.80}; it is 1 or more, a whole number, or None'
        )

    def init(key: Key, batch: Batch) -> Kept:
        live = task.init(key, batch)
        # Copies: the state is donated, and a buffer may be donated only once.
        best = jax.tree.map(jnp.copy, live)
        return Kept(
            live,
            best,
            score=jnp.float32(-jnp.inf),
            steps=jnp.int32(0),
            found=jnp.int32(-1),
            waited=jnp.int32(0),
        )

    def stopped(kept: Kept) -> jax.Array:
        return jnp.array(False) if patience is None else kept.waited >= patience

    def step(key: Key, kept: Kept, batch: Batch) -> tuple[Kept, Metrics]:
        live, metrics = task.step(key, kept.live, batch)
        if patience is None:
            return kept._replace(live=live, steps=kept.steps + 1), metrics
        halt = stopped(kept)
        kept = kept._replace(live=_select(halt, kept.live, live), steps=kept.steps + ~halt)
        return kept, jax.tree.map(lambda x: jnp.where(halt, 0, x), metrics)

    def review(kept: Kept, numbers: Numbers) -> Kept:
        score = _score(numbers, metric)
        going = ~stopped(kept)
        better = jnp.isfinite(score) & (score > kept.score) & going
        # Without any score the newest state stands in: the initial one is nobody's outcome.
        takes = better | ((kept.found < 0) & going)
        return kept._replace(
            best=_select(takes, kept.live, kept.best),
            score=jnp.where(better, score, kept.score),
            found=jnp.where(better, kept.steps, kept.found),
            waited=jnp.where(better, 0, kept.waited + 1),
        )

    def outcome(kept: Kept) -> Kept:
        return kept._replace(live=_select(kept.found < 0, kept.live, kept.best))

    kept = f'the state of the best valid/{metric} counts, seed by seed'
    if patience is not None:
        kept += f'; a seed stops after {patience} looks without a better one'
    return Task(
        init,
        step,
        measure=lambda key, kept, batch: task.measure(key, kept.live, batch),
        nets=lambda kept: task.nets(kept.live),
        review=review,
        outcome=outcome,
        stopped=stopped,
        standing=lambda kept: Standing(kept.steps, kept.found, metric=metric),
        labels=task.labels,
        method=task.method._replace(notes=(*task.method.notes, kept)),
    )


def _score(numbers: Numbers, metric: str) -> jax.Array:
    """The number that keeps a state, so that more is better."""
    if metric not in numbers:
        raise UsageError(f'keep_best: no number {metric!r} is measured{nearest(metric, numbers)}')
    number = numbers[metric]
    if number.better is None:
        raise UsageError(
            f"keep_best: nothing says which {metric!r} is better; its metric does: better='higher'"
        )
    return number.value if number.better == 'higher' else -number.value


def _select(condition: jax.Array, yes: State, no: State) -> State:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
