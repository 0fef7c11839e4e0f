"""What processes tell each other on the host: what the first one found, and what any was asked.

With one process everything here is what it would be without.
"""

import functools
import itertools
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl.errors import JaxdlError
from jaxdl.processes.joining import client, count, rank

T = TypeVar('T')
BLOCK = 64 * 2**20  # bytes that are told at once
LEAST = 1024  # bytes of the smallest block: few sizes, few programs
WEEK = 7 * 24 * 3600 * 1000  # milliseconds: as long as it takes; a lost peer ends it before

_barriers = itertools.count()


def from_first(find: Callable[[], T]) -> T:
    """What `find` returns in the first process, told to all; an error of jaxdl's is raised in all.

    The others do not call it. What it returns must be picklable, arrays of numpy included.
    """
    if count() == 1:
        return find()
    told = b''
    if rank() == 0:
        found: tuple[bool, Any]
        try:
            found = True, find()
        except JaxdlError as error:
            found = False, (type(error), str(error))
        told = pickle.dumps(found)
    ok, value = pickle.loads(_broadcast(told))
    if not ok:
        kind, text = value
        raise kind(text)
    return value


def _broadcast(data: bytes) -> bytes:
    """The bytes of the first process."""
    from jax.experimental.multihost_utils import broadcast_one_to_all

    length = np.array(divmod(len(data), BLOCK), np.int32)
    blocks, rest = (int(x) for x in broadcast_one_to_all(length))
    parts = []
    for index in range(blocks + (rest > 0)):
        size = BLOCK if index < blocks else rest
        room = max(LEAST, 1 << (size - 1).bit_length())  # few shapes, few programs
        block = np.zeros(room, np.uint8)
        if rank() == 0:
            block[:size] = np.frombuffer(data[index * BLOCK : index * BLOCK + size], np.uint8)
        parts.append(np.asarray(broadcast_one_to_all(block))[:size].tobytes())
    return b''.join(parts)


def wait_for_all() -> None:
    """Wait until every process is here, however long one has to write."""
    if count() > 1:
        client().wait_at_barrier(f'jaxdl/barrier/{next(_barriers)}', WEEK)


class Agreement:
    """What any process was asked to do, known to all at the same look.

    Each puts the greatest number of its `received` into a tiny sum of all (a maximum) that is
    dispatched at one look and read at the next, when the device has long done it: nothing waits,
    and all read the same. JAX's own preemption sync point would do that too, but for SIGTERM alone,
    with a handler of its own that a handler of Python's silently disables.
    """

    def __init__(self, received: list[int]) -> None:
        self._received = received
        self._pending: Any = None

    def look(self) -> int:
        """The number that all know of since the look before; 0 where none was asked."""
        if count() == 1:
            return self._received[0] if self._received else 0
        before, self._pending = self._pending, self._dispatch()
        return 0 if before is None else int(np.asarray(before.addressable_data(0)))

    def now(self) -> int:
        """The same, of this moment: waits for the others."""
        if count() == 1:
            return self.look()
        self._pending = None
        return int(np.asarray(self._dispatch().addressable_data(0)))

    def _dispatch(self) -> jax.Array:
        mine, (every, greatest) = np.full(1, max(self._received, default=0), np.int32), _program()
        asked = jax.make_array_from_callback((jax.device_count(),), every, lambda index: mine)
        return greatest(asked)


@functools.cache
def _program() -> tuple[NamedSharding, Any]:
    """A number on each device, how they lie, and the program of the greatest, known to each."""
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((jax.device_count(),), ('all',), auto, devices=jax.devices())
    known = NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, PartitionSpec('all')), jax.jit(jnp.max, out_shardings=known)
