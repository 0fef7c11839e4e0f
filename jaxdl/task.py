"""Training as pure functions: the only thing the engine knows.

Parameters, optimizer states, target networks, replay buffers and environments are leaves of an
opaque pytree, so a classifier, a GAN and DQN are not cases of the engine.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxdl.errors import UsageError, nearest
from jaxdl.metrics import Better, Metric

Key = jax.Array  # a typed PRNG key, `jax.random.key(0)`
State = Any  # any pytree of arrays
Batch = Any  # usually {'x': ..., 'y': ..., 'mask': ...}, see jaxdl.data
Metrics = Mapping[str, Metric]  # additive numbers, by name


class Finished(struct.PyTreeNode):
    """A finished number of the validation split, inside a program, and which values are better."""

    value: Any  # an array; on the host that of all seeds
    better: Better | None = struct.field(pytree_node=False, default=None)


Numbers = Mapping[str, Finished]


def unchanged(state: State) -> State:
    """The same state."""
    return state


def unreviewed(state: State, numbers: Numbers) -> State:
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
    nets(state) -> nets: what an evaluation's own measure and pictures see of the state; of a game
        its nets by player.

    The other three are for tasks that look at a validation split (see `keep_best`):

    review(state, numbers) -> state: what finished numbers of the validation split change.
    outcome(state) -> state: the state that counts: measured on the test splits, handed to the next
        phase.
    stopped(state) -> bool: whether further steps would change nothing.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    measure: Callable[[Key, State, Batch], Metrics]
    nets: Callable[[State], Any] = unchanged
    review: Callable[[State, Numbers], State] = unreviewed
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


def keep_best(task: Task, metric: str, *, patience: int | None = None) -> Task:
    """The same task, whose outcome is its best state on the validation split, seed by seed.

    metric: any number measured there that says which values are better: 'accuracy', 'mAP'.
    patience: stop a seed (early stopping) after this many reviews without a better score; its
        steps then change nothing and its training metrics weigh nothing.

    Its review raises UsageError where there is no such number, or nothing says what is better.
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

    def review(kept: Kept, numbers: Numbers) -> Kept:
        score = _score(numbers, metric)
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
        nets=lambda kept: task.nets(kept.live),
        review=review,
        outcome=lambda kept: kept._replace(live=jax.tree.map(jnp.copy, kept.best)),
        stopped=stopped,
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
