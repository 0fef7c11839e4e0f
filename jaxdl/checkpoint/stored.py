"""The stored form of a state: flat arrays by dotted path, whatever tree holds them.

A tree may hold named tuples, None and optax states, and a misfit can be named.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.checkpoint.finite import Leaf
from jaxdl.errors import UsageError

Spec = tuple[str, tuple[int, ...]]  # dtype and shape
NUMBERS = (bool, int, float, complex)


def flatten(state: Any) -> dict[str, Any]:
    """The leaves by dotted path, in the tree's order."""
    pairs = jax.tree_util.tree_flatten_with_path(state)[0]
    name = functools.partial(jax.tree_util.keystr, simple=True, separator='.')
    leaves = {name(path) or 'state': leaf for path, leaf in pairs}
    if len(leaves) < len(pairs):
        raise ValueError('two leaves of the state have the same dotted path')
    return leaves


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts from dotted paths, for those who do not know the tree."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split('.')
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def array(name: str, leaf: Any) -> Leaf:
    """The leaf as an array. Raises TypeError, naming it, for what is no number."""
    if isinstance(leaf, jax.Array):
        return leaf
    array = np.asarray(leaf)
    if array.dtype.kind in 'OSU':
        raise TypeError(f'{name} is a {type(leaf).__name__}, not an array or a number')
    return array


def spec(leaf: Any) -> Spec:
    """The dtype and shape of a leaf."""
    if isinstance(leaf, NUMBERS):
        return str(jnp.result_type(leaf)), ()  # as it is once it has been through jit
    return str(leaf.dtype), tuple(leaf.shape)


def refuse_misfit(saved: Mapping[str, Spec], targets: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError naming the first leaf whose dtype or shape is another, and both."""
    wanted = {name: spec(target) for name, target in targets.items()}
    misfits = [name for name in {**wanted, **saved} if wanted.get(name) != saved.get(name)]
    if misfits:
        name, more = misfits[0], len(misfits) - 1
        raise UsageError(
            f'checkpoint {path} does not fit this state: {name} is {_words(saved.get(name))} there '
            f'and {_words(wanted.get(name))} here' + (f' (and {more} more)' if more else '')
        )


def _words(spec: Spec | None) -> str:
    return f'{spec[0]}[{",".join(map(str, spec[1]))}]' if spec else 'missing'


def placement(target: Any) -> jax.sharding.Sharding | None:
    """Where the target lives; None is the host."""
    if not isinstance(target, jax.Array | jax.ShapeDtypeStruct):
        return None
    return target.sharding or jnp.zeros(()).sharding


def restore_args(target: Any) -> Any:
    """What orbax needs to know to put a leaf where `target` lives."""
    import orbax.checkpoint as ocp

    sharding = placement(target)
    if sharding is None:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(sharding=sharding, global_shape=target.shape, dtype=target.dtype)


def as_target(leaf: Any, target: Any) -> Any:
    """The restored leaf as the kind of thing `target` is; None stands for one without elements."""
    if isinstance(target, NUMBERS):
        return leaf.item()
    if leaf is None:
        leaf = np.zeros(target.shape, target.dtype)
        return leaf if (place := placement(target)) is None else jax.device_put(leaf, place)
    return leaf[()] if isinstance(target, np.generic) else leaf
