"""A run's first states, with weights from elsewhere: another run, or a file of `jaxdl convert`."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jaxdl.errors import UsageError, nearest
from jaxdl.net import Net, is_net
from jaxdl.optim import matching, path_name


def with_weights(state: Any, saved: Mapping[str, Any], where: str) -> Any:
    """`state` with the parameters, memory and shadows of its nets taken from `saved`.

    Both have a leading axis of seeds. saved: a state of the same players as nested dicts of
    arrays, as `load_weights` returns it.
    Raises UsageError, naming the array and both shapes, where one is missing or does not fit.
    """
    flat = flatten_dict(dict(saved), sep='/')

    def take(path: Any, leaf: Any) -> Any:
        name = path_name(path)
        if not any(word in name.split('/') for word in ('params', 'memory')):
            return leaf
        if name not in flat:
            raise UsageError(f'--init-from {where}: no array {name!r}{nearest(name, flat)}')
        there, here = flat[name].shape[1:], leaf.shape[1:]
        if there != here:
            raise UsageError(f'--init-from {where}: {name!r} is {list(there)}, not {list(here)}')
        # Seed i starts from seed i of the other run, which may have had fewer.
        return jnp.asarray(flat[name][np.arange(len(leaf)) % len(flat[name])], leaf.dtype)

    def fill(prefix: Any, node: Any) -> Any:
        if not isinstance(node, Net):
            return node
        return jax.tree_util.tree_map_with_path(lambda path, x: take((*prefix, *path), x), node)

    return jax.tree_util.tree_map_with_path(fill, state, is_leaf=is_net)


def with_variables(
    state: Any, variables: Mapping[str, Any], where: str, *, without: Sequence[str] = ()
) -> Any:
    """`state` with the one net that `variables` fit taken from them, the same in every seed.

    state: has a leading axis of seeds. variables: {'params': ..., 'batch_stats': ...} without one.
    without: patterns of paths, 'params/fc/*', at which the net keeps its own initial values.
    What began as a copy of that net, its shadow or the best state so far, is taken with it.
    Raises UsageError where no net fits, naming what does not, or where several do.
    """
    given = flatten_dict(dict(variables), sep='/')
    leaves = jax.tree_util.tree_leaves_with_path(state, is_leaf=is_net)
    nets = {path_name(path): net for path, net in leaves if isinstance(net, Net)}
    misfits = {name: _misfits(given, net, without) for name, net in nets.items()}
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

    def filled(net: Net) -> Net:
        def take(path: Any, leaf: Any) -> Any:
            name = path_name(path).removeprefix('memory/')
            if name not in given:
                return leaf
            return jnp.broadcast_to(jnp.asarray(given[name], leaf.dtype), leaf.shape)

        shadow = filled(net.shadow) if net.shadow else None
        own = net.replace(shadow=None)
        return jax.tree_util.tree_map_with_path(take, own).replace(shadow=shadow)

    def fill(path: Any, node: Any) -> Any:
        return filled(node) if is_net(node) and path_name(path) in fitting else node

    return jax.tree_util.tree_map_with_path(fill, state, is_leaf=is_net)


def _misfits(given: Mapping[str, Any], net: Net, without: Sequence[str]) -> list[str]:
    """What stands between these arrays and a net with a leading axis of seeds, in words."""
    own = flatten_dict({'params': net.params, **net.memory}, sep='/')
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
