"""Training as pure functions: the only thing the engine knows.

Parameters, optimizer states, target networks, replay buffers and environments are leaves of an
opaque pytree, so a classifier, a GAN and DQN are not cases of the engine.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxdl.metrics import Metric

Key = jax.Array  # a typed PRNG key, `jax.random.key(0)`
State = Any  # any pytree of arrays
Batch = Any  # usually {'x': ..., 'y': ..., 'mask': ...}, see jaxdl.data
Metrics = Mapping[str, Metric]  # additive numbers, by name


def _unchanged(state: State, metrics: Metrics | None = None) -> State:
    return state


class Task(NamedTuple):
    """What is learned and how: five pure functions, of which three must be given.

    init(key, batch) -> state: the state before the first step.
    step(key, state, batch) -> (state, metrics): one step; names no device, reads nothing back.
    measure(key, state, batch) -> metrics: additive numbers over the rows whose `mask` is true.
    review(state, metrics) -> state: what the totals on the validation split change in the state
        (early stopping and the best state so far live here; see `keep_best`).
    outcome(state) -> state: the state that counts: measured on the test splits, handed to the next
        phase. The state itself unless a best one is kept.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    measure: Callable[[Key, State, Batch], Metrics]
    review: Callable[[State, Metrics], State] = _unchanged
    outcome: Callable[[State], State] = _unchanged
