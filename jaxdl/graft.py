"""Transfer: how one phase of training takes over the networks of the phase before."""

import fnmatch
from collections.abc import Callable
from typing import Any

import jax

from jaxdl.errors import UsageError, nearest
from jaxdl.net import Net, is_net, nets
from jaxdl.optim import matching, path_name, paths
from jaxdl.task import State


def graft(*fresh: str) -> Callable[[State, State], State]:
    """How a phase takes over the networks of the phase before, for `Phase.start`.

    Parameters and memory come from the phase before, all but those whose path in the network
    matches one of the patterns `fresh` (shell globs, 'params/fc/*'): a new head on a trained trunk.
    Optimizers start anew. Raises UsageError where an array is missing there or has another shape,
    and where a pattern matches nothing.
    """

    def start(before: State, state: State) -> State:
        trained, new = nets(before), nets(state)
        if len(trained) != len(new):
            raise UsageError(f'graft: {len(trained)} networks before, and {len(new)} now')
        grafted = iter([_grafted(a, b, fresh) for a, b in zip(trained, new, strict=True)])
        return jax.tree.map(
            lambda node: next(grafted) if is_net(node) else node, state, is_leaf=is_net
        )

    return start


def _grafted(before: Net, net: Net, fresh: tuple[str, ...]) -> Net:
    there = {path_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(before)}
    names = paths(net)
    for pattern in fresh:
        if not fnmatch.filter(names, pattern):
            raise UsageError(f'graft: {pattern!r} matches no array{nearest(pattern, names)}')

    def take(path: Any, x: jax.Array) -> jax.Array:
        name = path_name(path)
        if matching(fresh, name):
            return x
        if name not in there:
            raise UsageError(f'graft: the network before has no {name!r}{nearest(name, there)}')
        if there[name].shape != x.shape:
            shapes = f'{list(there[name].shape)} before, and {list(x.shape)} now'
            raise UsageError(f'graft: {name!r} has the shape {shapes}')
        return there[name]

    return jax.tree_util.tree_map_with_path(take, net)
