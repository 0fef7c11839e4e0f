"""Where the parts of parameters lie: by the names a module gives their axes, or by their sizes.

A module names axes as Linen does, ``nn.with_logical_partitioning(init, ('embed', 'mlp'))``, and a
`Net` remembers them. An optimizer's state follows its parameters, because its paths end like
theirs. What has no names is cut along its longest axis that divides.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import PartitionSpec

from jaxdl.engine.axes import Axes
from jaxdl.errors import UsageError, closest
from jaxdl.net import Net, is_net
from jaxdl.paths import path_name

# Which axis of the mesh an axis of a parameter or of activations is laid over, by its name.
RULES: Mapping[str, str | tuple[str, ...]] = {
    'rows': ('data', 'fsdp'),
    'embed': 'fsdp',
    'heads': 'tensor',
    'mlp': 'tensor',
    'vocabulary': 'tensor',
}
WHOLE = ('embed', 'vocabulary')  # stay so where they do not divide: nothing else depends on it
# Entries of the smallest array that is cut: smaller ones cost more to put together than to keep.
LEAST = 1024

Names = tuple[str | None, ...]
Path = tuple[Any, ...]


def specs(tree: Any, axes: Axes) -> Any:
    """The PartitionSpec of every leaf [seeds, ...] of a tree of arrays or shapes.

    Raises UsageError where a named axis cannot be cut into so many parts.
    """
    names = _names(tree)

    def lay(path: Path, leaf: Any) -> PartitionSpec:
        known = _known(path, leaf.shape[1:], names)
        return PartitionSpec('seeds', *_cut(path, leaf.shape[1:], known, axes))

    return jax.tree_util.tree_map_with_path(lay, tree)


def _cut(path: Path, shape: tuple[int, ...], names: Names, axes: Axes) -> list[str | None]:
    """The mesh axis of each axis of an array, without those at the end that have none."""
    laid: list[str | None] = [None] * len(shape)
    for i, name in enumerate(names):
        over = RULES.get(name or '')
        if not isinstance(over, str) or over in laid or (parts := getattr(axes, over)) == 1:
            continue
        if shape[i] % parts:
            if name in WHOLE:
                continue
            raise UsageError(
                f'--layout {axes}: {over} is {parts}, which does not divide the {shape[i]} '
                f'{name} of {jax.tree_util.keystr(path)}; {closest(parts, shape[i])} does'
            )
        laid[i] = over
    if axes.fsdp > 1 and 'fsdp' not in laid and math.prod(shape) >= LEAST:
        free = [i for i, over in enumerate(laid) if over is None and shape[i] % axes.fsdp == 0]
        if free:
            laid[max(free, key=lambda i: (shape[i], i))] = 'fsdp'
    while laid and laid[-1] is None:
        laid.pop()
    return laid


def _names(tree: Any) -> dict[Path, Names]:
    """What the nets of a tree say of their parameters, by the path below `params`."""
    found: dict[Path, Names] = {}
    for node in jax.tree.leaves(tree, is_leaf=is_net):
        if isinstance(node, Net):
            found |= dict(node.axes)
    return found


def _known(path: Path, shape: tuple[int, ...], names: Mapping[Path, Names]) -> Names:
    """The names of an array: its path ends as that of a parameter of as many axes does."""
    words = words_of(path)
    for first in range(len(words)):
        known = names.get(words[first:])
        if known is not None and len(known) == len(shape):
            return known
    return (None,) * len(shape)


def words_of(path: Path) -> Path:
    """The path of a leaf in words, one a key: of the root there is none."""
    return tuple(path_name((key,)) for key in path)
