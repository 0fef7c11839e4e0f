"""Training as pure functions: the only thing the engine knows.

Parameters, optimizer states, target networks, replay buffers and environments are leaves of an
opaque pytree, so a classifier, a GAN and DQN are not cases of the engine.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.metrics import Mean, Metric

Key = jax.Array  # a typed PRNG key, `jax.random.key(0)`
State = Any  # any pytree of arrays
Batch = Any  # usually {'x': ..., 'y': ..., 'mask': ...}, see jaxdl.data
Metrics = Mapping[str, Metric]  # additive numbers, by name


def unchanged(state: State, metrics: Metrics | None = None) -> State:
    """The same state: a task that keeps no best one reviews nothing."""
    return state


def never(state: State) -> jax.Array:
    """False: a task that does not stop early."""
    return jnp.array(False)


class Task(NamedTuple):
    """What is learned and how: pure functions, of which three must be given.

    init(key, batch) -> state: the state before the first step.
    step(key, state, batch) -> (state, metrics): one step; names no device, reads nothing back.
    measure(key, state, batch) -> metrics: additive numbers over the rows whose `mask` is true.

    The other three are for tasks that look at a validation split (see `keep_best`):

    review(state, metrics) -> state: what the totals on the validation split change in the state.
    outcome(state) -> state: the state that counts: measured on the test splits, handed to the next
        phase.
    stopped(state) -> bool: whether further steps would change nothing.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    measure: Callable[[Key, State, Batch], Metrics]
    review: Callable[[State, Metrics], State] = unchanged
    outcome: Callable[[State], State] = unchanged
    stopped: Callable[[State], jax.Array] = never


class Kept(NamedTuple):
    """A state that is trained, the best one so far, its score, and reviews since it was found."""

    live: State
    best: State
    score: jax.Array
    waited: jax.Array


def trained(state: State) -> State:
    """The part of a state that steps change: without the best one that `keep_best` remembers."""
    return state.live if isinstance(state, Kept) else state


def keep_best(task: Task, metric: str, *, lower: bool = False, patience: int | None = None) -> Task:
    """The same task, whose outcome is its best state on the validation split, seed by seed.

    metric: a `Mean` of the task's measure, e.g. 'accuracy'. `lower`: smaller is better.
    patience: stop a seed (early stopping) after this many reviews without a better score; its
        steps then change nothing and its training metrics weigh nothing.
    """

    def init(key: Key, batch: Batch) -> Kept:
        live = task.init(key, batch)
        # Copies: the state is donated, and a buffer may be donated only once.
        best = jax.tree.map(jnp.copy, live)
        return Kept(live, best, jnp.float32(-jnp.inf), jnp.int32(0))

    def stopped(kept: Kept) -> jax.Array:
        return jnp.array(False) if patience is None else kept.waited >= patience

    def step(key: Key, kept: Kept, batch: Batch) -> tuple[Kept, Metrics]:
        live, metrics = task.step(key, kept.live, batch)
        if patience is None:
            return kept._replace(live=live), metrics
        halt = stopped(kept)
        live = _select(halt, kept.live, live)
        return kept._replace(live=live), jax.tree.map(lambda x: jnp.where(halt, 0, x), metrics)

    def review(kept: Kept, metrics: Metrics) -> Kept:
        number = metrics[metric]
        if not isinstance(number, Mean):
            raise TypeError(f'keep_best needs a Mean, and {metric!r} is a {type(number).__name__}')
        score = -number.ratio() if lower else number.ratio()
        better = (score > kept.score) & ~stopped(kept)
        return Kept(
            live=kept.live,
            best=_select(better, kept.live, kept.best),
            score=jnp.where(better, score, kept.score),
            waited=jnp.where(better, 0, kept.waited + 1),
        )

    return Task(
        init,
        step,
        measure=lambda key, kept, batch: task.measure(key, kept.live, batch),
        review=review,
        outcome=lambda kept: kept._replace(live=jax.tree.map(jnp.copy, kept.best)),
        stopped=stopped,
    )


def _select(condition: jax.Array, yes: State, no: State) -> State:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
