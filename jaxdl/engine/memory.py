"""What one device holds while a step runs, from shapes and where they lie; nothing is placed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jaxdl.engine.cost import quantity
from jaxdl.engine.placement import Path, words_of
from jaxdl.net import is_net
from jaxdl.paths import path_name


class Memory(NamedTuple):
    """Bytes on one device, of all seeds that it has.

    parameters: of every net, not of its slow copy. optimizer: what lies beside parameters under
    their names, such as moments. rest: of the state, such as statistics, slow copies, a replay.
    data: the batch that is sent, and the arrays of which batches are made. activations: what a
    step needs for a while.
    """

    parameters: int
    optimizer: int
    rest: int
    data: int
    activations: int

    @property
    def state(self) -> int:
        """Bytes of the state of training."""
        return self.parameters + self.optimizer + self.rest

    def told(self, most: int | None = None) -> str:
        """The whole and its parts in words, and of how many bytes there are, where that is known.

        '412 MB of 80.0 GB: parameters 1.2 MB, ...'
        """
        parts = [f'{name} {quantity(size)}B' for name, size in named(self) if size]
        of = '' if most is None else f' of {quantity(most)}B'
        return f'{quantity(sum(self))}B{of}: {", ".join(parts)}'

    def __str__(self) -> str:
        return self.told()


NAMES = ('parameters', 'optimizer', 'rest of the state', 'data', 'activations')


def named(memory: Memory) -> list[tuple[str, int]]:
    """Each part by its name, in order."""
    return list(zip(NAMES, memory, strict=True))


def account(mine: Sequence[Any], ours: Sequence[Any], *, temporaries: int) -> Memory:
    """What a device holds of the arguments of a step, `mine[0]` the states, and for a while.

    The arguments are arrays, or shapes that say where they lie.
    """
    states, *others = mine
    parameters = optimizer = rest = 0
    nets = [
        path
        for path, node in jax.tree_util.tree_leaves_with_path(states, is_leaf=is_net)
        if is_net(node)
    ]
    prefixes = {words_of(path) for path in nets}
    leaves = [(words_of(path), x) for path, x in jax.tree_util.tree_leaves_with_path(states)]

    def below(words: Path) -> Path | None:
        """The path in the net that a leaf is of, if it is of one."""
        for end in range(len(words)):
            if words[:end] in prefixes:
                return words[end:]
        return None

    places = {inner[1:] for words, _ in leaves if (inner := below(words)) and inner[0] == 'params'}
    for words, leaf in leaves:
        inner, size = below(words), on_one(leaf)
        if inner is not None and inner[0] == 'params':
            parameters += size
        elif inner is None and any(words[i:] in places for i in range(len(words))):
            optimizer += size
        else:
            rest += size
    data = sum(on_one(leaf) for leaf in jax.tree.leaves((others, ours)))
    return Memory(parameters, optimizer, rest, data, temporaries)


def on_one(leaf: Any) -> int:
    """The bytes of an array that lie on one of its devices."""
    sharding = getattr(leaf, 'sharding', None)
    shape = tuple(leaf.shape) if sharding is None else sharding.shard_shape(tuple(leaf.shape))
    size = int(leaf.dtype.itemsize)
    for length in shape:
        size *= length
    return size


def largest(tree: Any, count: int = 5) -> list[tuple[str, int]]:
    """The leaves that take most of a device, as (path, bytes), largest first."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = [(path_name(path), on_one(leaf)) for path, leaf in leaves]
    return sorted(found, key=lambda each: -each[1])[:count]


def limit(device: Any) -> int | None:
    """The bytes that a device lets programs have; None where it does not say, as a CPU."""
    return (device.memory_stats() or {}).get('bytes_limit')
