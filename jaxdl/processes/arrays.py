"""Arrays over the devices of many processes: made of what each holds, and brought back to each.

With one process they are put where they are to lie by jax, and are as they are.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl.processes.joining import count


def place(tree: Any, shardings: Any) -> Any:
    """Lay a tree of arrays, which every process holds whole, where `shardings` say.

    shardings: a tree of them, or one for all leaves.
    """
    if count() == 1:
        return jax.device_put(tree, shardings)
    if isinstance(shardings, NamedSharding):
        return jax.tree.map(lambda leaf: _lay(leaf, shardings), tree)
    return jax.tree.map(_lay, tree, shardings)


def _lay(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.jit(_same, out_shardings=sharding)(leaf)
    if _is_key(leaf):
        # As numbers: what only this process has cannot be sent as keys.
        data, impl = np.asarray(jax.random.key_data(leaf)), str(jax.random.key_impl(leaf))
        wrap = jax.jit(jax.random.wrap_key_data, static_argnames='impl', out_shardings=sharding)
        return wrap(_lay(data, NamedSharding(sharding.mesh, sharding.spec)), impl=impl)
    held = np.asarray(leaf)
    return jax.make_array_from_callback(held.shape, sharding, lambda index: held[index])


def lay_part(
    part: np.ndarray, whole: tuple[int, ...], sharding: NamedSharding, *, axis: int, first: int
) -> jax.Array:
    """An array of shape `whole` of which this process holds `part`, from `first` on along `axis`.

    It must hold all that its devices need, see `needed`.
    """

    def held(index: Any) -> np.ndarray:
        start, stop, _ = index[axis].indices(whole[axis])
        inner = (*index[:axis], slice(start - first, stop - first), *index[axis + 1 :])
        return part[inner]

    return jax.make_array_from_callback(whole, sharding, held)


def needed(whole: tuple[int, ...], sharding: NamedSharding, *, axis: int) -> slice:
    """From where to where along `axis` the devices of this process have an array of a shape."""
    places = sharding.addressable_devices_indices_map(whole).values()
    ends = [index[axis].indices(whole[axis]) for index in places if index is not None]
    return slice(min(start for start, _, _ in ends), max(stop for _, stop, _ in ends))


def replicate(tree: Any) -> Any:
    """The same values, whole in every process. Dispatched: nothing is waited for."""
    if count() == 1:
        return tree
    return jax.tree.map(_whole, tree)


def gather(tree: Any) -> Any:
    """The same values, whole on the host of every process, one leaf after another.

    So that a device need not hold more than one whole leaf beside its own part of the state.
    """
    if count() == 1:
        return tree
    return jax.tree.map(_fetched, tree)


def _fetched(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return leaf
    if _is_key(leaf):
        impl = jax.random.key_impl(leaf)
        return jax.random.wrap_key_data(_fetched(_key_data(leaf)), impl=impl)
    return np.asarray(_whole(leaf).addressable_data(0))


def _whole(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
        return leaf
    assert isinstance(leaf.sharding, NamedSharding)
    return jax.jit(_same, out_shardings=NamedSharding(leaf.sharding.mesh, PartitionSpec()))(leaf)


def _same(leaf: jax.Array) -> jax.Array:
    return leaf


_key_data: Callable[[jax.Array], jax.Array] = jax.jit(jax.random.key_data)


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(getattr(leaf, 'dtype', None) or np.float32, jax.dtypes.prng_key)
