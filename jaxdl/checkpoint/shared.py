"""A checkpoint that the first of many processes reads, told to all as arrays of the host."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.checkpoint.reading import Saved
from jaxdl.processes.telling import from_first


def on_host(like: Callable[[int], Any]) -> Callable[[int], Any]:
    """The same tree for each phase, to be restored by one process alone, on one device."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def placed(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)

    return lambda phase: jax.tree.map(placed, like(phase))


def told_by_first(restore: Callable[[], Saved | None], like: Callable[[int], Any]) -> Saved | None:
    """What `restore` finds in the first process, in all; its errors too. Leaves are of the host."""

    def found() -> tuple[int, int, list[Any]] | None:
        saved = restore()
        if saved is None:
            return None
        return saved.step, saved.phase, [_sent(leaf) for leaf in jax.tree.leaves(saved.state)]

    told = from_first(found)
    if told is None:
        return None
    step, phase, leaves = told
    tree = jax.tree.structure(like(phase))
    return Saved(step, phase, jax.tree.unflatten(tree, [_received(leaf) for leaf in leaves]))


def _sent(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(jax.random.key_impl(leaf)), np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf


def _received(leaf: Any) -> Any:
    if isinstance(leaf, tuple):
        impl, data = leaf
        return jax.random.wrap_key_data(data, impl=impl)
    return leaf
