"""Training as pure functions: the only thing the engine knows.

Parameters, optimizer states, target networks, replay buffers and environments are leaves of an
opaque pytree, so a classifier, a GAN and DQN are not cases of the engine.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxdl.metrics import Better, Metric, read_classes

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


class Standing(struct.PyTreeNode):
    """How far a task that looks at a validation split is; on the host that of all seeds.

    steps: int, steps that changed the state. best: int, the step of the best state so far, -1 where
    no finite score was seen. metric: what scores, by its name on that split.
    """

    steps: Any
    best: Any
    metric: str = struct.field(pytree_node=False)


def untold(state: State) -> Standing | None:
    """None: a task that keeps no best state."""
    return None


def never(state: State) -> jax.Array:
    """False: a task that does not stop early."""
    return jnp.array(False)


class Labels(NamedTuple):
    """What a column of class numbers may hold: whole numbers 0..classes - 1.

    classes: how many. names: of them, where they are known.
    axes: of what a row holds: 0 for one number, 2 for a map of them.
    ignore: one more number that is allowed, and counts nowhere.
    mask: the column that says which of a row's numbers are real.
    probabilities: whether a column of floats [rows, classes] may stand for it.
    """

    classes: int
    axes: int = 0
    ignore: int | None = None
    mask: str | None = None
    probabilities: bool = False
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, classes: int | Sequence[str], **more: Any) -> 'Labels':
        """Those of so many classes, or of the classes with these names."""
        count, names = read_classes(classes)
        return cls(count, names=names, **more)


class Method(NamedTuple):
    """How a task learns, for those who read of it: nothing is computed from this.

    players: what `jaxdl.game.game` was made of, by name. notes: what else there is to know, each in
    words: 'the last 4,000 transitions are remembered'.
    """

    players: Mapping[str, Any] = MappingProxyType({})
    notes: tuple[str, ...] = ()


class Task(NamedTuple):
    """What is learned and how: pure functions, of which three must be given.

    init(key, batch) -> state: the state before the first step.
    step(key, state, batch) -> (state, metrics): one step; names no device, reads nothing back.
    measure(key, state, batch) -> metrics: additive numbers over the rows whose `mask` is true.
    nets(state) -> nets: what an evaluation's own measure and pictures see of the state; of a game
        its nets by player.

    The other four are for tasks that look at a validation split (see `keep_best`):

    review(state, numbers) -> state: what finished numbers of the validation split change.
    outcome(state) -> state: the state that counts: measured on the test splits, handed to the next
        phase.
    stopped(state) -> bool: whether further steps would change nothing.
    standing(state) -> Standing: the steps done, and which of them was the best.

    labels: the columns of a batch that are class numbers. They are checked before the first step.
    method: how it learns, for the report.
    micro_batches: how many parts its step cuts each batch into, see `jaxdl.accumulation`.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    measure: Callable[[Key, State, Batch], Metrics]
    nets: Callable[[State], Any] = unchanged
    review: Callable[[State, Numbers], State] = unreviewed
    outcome: Callable[[State], State] = unchanged
    stopped: Callable[[State], jax.Array] = never
    standing: Callable[[State], Standing | None] = untold
    labels: Mapping[str, Labels] = MappingProxyType({})
    method: Method = Method()
    micro_batches: int = 1
