"""Transfer: how networks take over weights, from a phase before, another run, or a file.

From another run or a file they come whether their blocks are stacked there or not, see `blocks`.
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jaxdl.blocks import arrays_as
from jaxdl.errors import UsageError, nearest
from jaxdl.net import Net, is_net, named_nets, player_of
from jaxdl.paths import matching, path_name, paths
from jaxdl.task import State

# ---- from the phase before ----------------------------------------------------------------------


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
        there, here = named_nets(before), named_nets(state)
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
            lambda path, node: grafted.get(player_of(path), node) if is_net(node) else node,
            state,
            is_leaf=is_net,
        )

    return start


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


# ---- from another run, or from a file -----------------------------------------------------------


def with_weights(state: Any, saved: Mapping[str, Any], where: str) -> Any:
    """`state` with its nets taken from the outcome of another run, player by player.

    Both have a leading axis of seeds. saved: a state as nested dicts of arrays, as `load_weights`
    returns it; of one that `keep_best` kept the best is the outcome, and either may be kept.
    Optimizers start anew, and a slow copy from the net itself where there was none.
    Raises UsageError, naming the net or the array and both shapes, where one is missing or does not
    fit.
    """
    there = _saved_nets(saved)

    def fill(place: Any, node: Any) -> Any:
        if not isinstance(node, Net):
            return node
        player = player_of(place)
        if player not in there:
            raise UsageError(f'--init-from {where}: no net {player!r}{nearest(player, there)}')
        flat = arrays_as(there[player], paths(node), axis=1)

        def take(path: Any, leaf: Any) -> Any:
            name = path_name(path)
            source = name if name in flat else name.removeprefix('shadow/')
            whole = f'{player}/{name}'
            if source not in flat:
                raise UsageError(f'--init-from {where}: no array {whole!r}{nearest(name, flat)}')
            got, want = flat[source].shape[1:], leaf.shape[1:]
            if got != want:
                raise UsageError(f'--init-from {where}: {whole!r} is {list(got)}, not {list(want)}')
            # Seed i starts from seed i of the other run, which may have had fewer.
            return jnp.asarray(flat[source][np.arange(len(leaf)) % len(flat[source])], leaf.dtype)

        return jax.tree_util.tree_map_with_path(take, node)

    return jax.tree_util.tree_map_with_path(fill, state, is_leaf=is_net)


def _saved_nets(saved: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The arrays of each net of a saved state by player; the best ones where both are there."""
    found: dict[str, dict[str, Any]] = {}

    def look(node: Any, path: tuple[str, ...]) -> None:
        if not isinstance(node, Mapping):
            return
        if 'params' in node:
            # A seat's net stands under the player's name as 'net'.
            player = path[-2] if len(path) > 1 and path[-1] == 'net' else path[-1]
            if player not in found or 'best' in path:
                found[player] = flatten_dict(dict(node), sep='/')
            return
        if 'best' in node and 'found' in node and (np.asarray(node['found']) < 0).all():
            node = {name: child for name, child in node.items() if name != 'best'}  # none yet
        for name, child in node.items():
            look(child, (*path, str(name)))

    look(saved, ())
    return found


def with_variables(
    state: Any, variables: Mapping[str, Any], where: str, *, without: Sequence[str] = ()
) -> Any:
    """`state` with the one net that `variables` fit taken from them, the same in every seed.

    state: has a leading axis of seeds. variables: {'params': ..., 'batch_stats': ...} without one.
    without: patterns of paths, 'params/fc/*', at which the net keeps its own initial values.
    What began as a copy of that net, its shadow or the best state so far, is taken with it.
    Raises UsageError where no net fits, naming what does not, or where several do.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state, is_leaf=is_net)
    nets = {path_name(path): net for path, net in leaves if isinstance(net, Net)}
    flat = flatten_dict(dict(variables), sep='/')
    stored = {name: arrays_as(flat, _arrays(net)) for name, net in nets.items()}
    misfits = {name: _misfits(stored[name], net, without) for name, net in nets.items()}
    fitting = [name for name in nets if not misfits[name]]
    if not nets:
        raise UsageError(f'--init-from {where}: there is no net in the state')
    if not fitting:
        best = min(nets, key=lambda name: len(misfits[name]))
        first, *more = misfits[best]
        rest = f' (and {len(more)} more)' if more else ''
        raise UsageError(f'--init-from {where}: {first} in {best}{rest}')
    if others := [name for name in fitting if not _equal(nets[fitting[0]], nets[name])]:
        raise UsageError(
            f'--init-from {where}: it fits {fitting[0]} and {", ".join(others)}, and must fit one'
        )

    def filled(net: Net, given: Mapping[str, Any]) -> Net:
        def take(path: Any, leaf: Any) -> Any:
            name = path_name(path).removeprefix('memory/')
            if name not in given:
                return leaf
            return jnp.broadcast_to(jnp.asarray(given[name], leaf.dtype), leaf.shape)

        shadow = filled(net.shadow, given) if net.shadow else None
        own = net.replace(shadow=None)
        return jax.tree_util.tree_map_with_path(take, own).replace(shadow=shadow)

    def fill(path: Any, node: Any) -> Any:
        name = path_name(path)
        return filled(node, stored[name]) if is_net(node) and name in fitting else node

    return jax.tree_util.tree_map_with_path(fill, state, is_leaf=is_net)


def _misfits(given: Mapping[str, Any], net: Net, without: Sequence[str]) -> list[str]:
    """What stands between these arrays and a net with a leading axis of seeds, in words."""
    own = _arrays(net)
    found = []
    for name, array in given.items():
        if name not in own:
            found.append(f'no place for {name!r}{nearest(name, own)}')
        elif (there := np.shape(array)) != (here := own[name].shape[1:]):
            found.append(
                f'{name!r} is {list(there)}, not {list(here)} '
                f'(`jaxdl convert --without {_layer(name)!r}` makes a file without it)'
            )
    for name in own:
        if name not in given and not matching(without, name):
            found.append(f'no array {name!r} for the one{nearest(name, given)}')
    return found


def _arrays(net: Net) -> dict[str, Any]:
    """The variables of a net by path."""
    return flatten_dict({'params': net.params, **net.memory}, sep='/')


def _layer(name: str) -> str:
    return name.rpartition('/')[0] + '/*'


def _equal(one: Net, other: Net) -> bool:
    return one.module == other.module and all(
        np.array_equal(a, b)
        for a, b in zip(
            jax.tree.leaves((one.params, one.memory)),
            jax.tree.leaves((other.params, other.memory)),
            strict=True,
        )
    )
