"""Transfer: how one phase of training takes over the networks of the phase before."""

import fnmatch
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxdl.errors import UsageError, nearest
from jaxdl.net import Net, is_net
from jaxdl.optim import matching, path_name, paths
from jaxdl.task import State


def graft(
    *fresh: str,
    nets: Mapping[str, str] | None = None,
    parts: Mapping[str, str] | None = None,
) -> Callable[[State, State], State]:
    """How a phase takes over the networks of the phase before, for `Phase.start`.

    Parameters and memory come from the phase before, all but those whose path in the network
    matches one of the patterns `fresh` (shell globs, 'params/fc/*'): a new head on a trained trunk.
    Optimizers start anew.

    nets: which player's net takes from which one's, ``{'judge': 'net'}``; others stay fresh. None
        is every net from that of the same name.
    parts: which part of a net takes from which, by where its modules stand: ``{'encoder/*': '*'}``
        makes a whole network the encoder of a larger one, ``{'*': 'encoder/*'}`` takes one out.
        Other parts stay fresh. None is the whole from the whole.

    Raises UsageError where a net or an array is missing there or has another shape, and where a
    pattern matches nothing.
    """
    for pattern in [end for pair in (parts or {}).items() for end in pair]:
        if pattern != '*' and not pattern.endswith('/*'):
            raise UsageError(f"graft: the part {pattern!r} is not '*' and does not end in '/*'")

    def start(before: State, state: State) -> State:
        there, here = _named(before), _named(state)
        taken = dict(zip(here, here, strict=True)) if nets is None else dict(nets)
        for name, source in taken.items():
            if name not in here:
                raise UsageError(f'graft: there is no net {name!r} now{nearest(name, here)}')
            if source not in there:
                close = nearest(source, there)
                raise UsageError(f'graft: there was no net {source!r} before{close}')
        grafted = {
            name: _grafted(there[source], here[name], fresh, parts or {'*': '*'})
            for name, source in taken.items()
        }
        # A state that `keep_best` keeps has each net twice, and both start from the same.
        return jax.tree_util.tree_map_with_path(
            lambda path, node: grafted.get(_player(path), node) if is_net(node) else node,
            state,
            is_leaf=is_net,
        )

    return start


def _named(state: State) -> dict[str, Net]:
    """The nets of a state by player; the trained ones of a state that `keep_best` keeps."""
    found: dict[str, Net] = {}
    for path, node in jax.tree_util.tree_leaves_with_path(state, is_leaf=is_net):
        if isinstance(node, Net):
            found.setdefault(_player(path), node)
    return found


def _player(path: Any) -> str:
    """The player whose net stands at a path: the innermost name in a mapping."""
    keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
    return str(keys[-1]) if keys else ''


def _grafted(before: Net, net: Net, fresh: tuple[str, ...], parts: Mapping[str, str]) -> Net:
    there = {path_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(before)}
    names = paths(net)
    for pattern in fresh:
        if not fnmatch.filter(names, pattern):
            raise UsageError(f'graft: {pattern!r} matches no array{nearest(pattern, names)}')
    for part in parts:
        if not any(_moved(name, part, part) for name in names):
            raise UsageError(f'graft: {part!r} matches no array{nearest(part, names)}')

    def take(path: Any, x: jax.Array) -> jax.Array:
        name = path_name(path)
        if matching(fresh, name):
            return x
        source = next(filter(None, (_moved(name, *part) for part in parts.items())), None)
        if source is None:
            return x
        if source not in there:  # a slow copy starts from the net itself where there was none
            source = source.removeprefix('shadow/')
        if source not in there:
            raise UsageError(f'graft: the network before has no {source!r}{nearest(source, there)}')
        if there[source].shape != x.shape:
            shapes = f'{list(there[source].shape)} before, and {list(x.shape)} now'
            raise UsageError(f'graft: {name!r} has the shape {shapes}')
        return there[source]

    return jax.tree_util.tree_map_with_path(take, net)


def _moved(name: str, here: str, there: str) -> str | None:
    """The path of an array where the modules under `here` stand under `there`; None elsewhere."""
    # An array's path begins with its collection: 'params/...', 'memory/batch_stats/...'.
    words = name.split('/')
    count = 1 + sum(word in ('shadow', 'memory') for word in words[:2])
    prefix = here.removesuffix('*')
    place = '/'.join(words[count:])
    if not place.startswith(prefix):
        return None
    return '/'.join([*words[:count], there.removesuffix('*') + place.removeprefix(prefix)])
