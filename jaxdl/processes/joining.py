"""The moment in which a process becomes one of many, before jax looks for its devices."""

import ctypes
import functools
import os
import signal
from collections.abc import Callable
from typing import Any

import jax

from jaxdl.errors import LostPeerError, UsageError
from jaxdl.processes.address import NAMES, Address

# What jax's coordination knows: keys, barriers, heartbeats. jax has no public name for it.
from jax._src.distributed import global_state  # isort: skip


def join(address: Address) -> None:
    """Meet the other processes; from then on jax's devices are those of all.

    Raises UsageError where jax does not find out where they are, and LostPeerError where they do
    not all come.
    """
    # jax's own service installs a handler of SIGTERM below Python's, and heeds no other signal.
    jax.config.update('jax_enable_preemption_service', False)
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    explicit = address.coordinator is not None
    try:
        jax.distributed.initialize(
            coordinator_address=address.coordinator,
            num_processes=address.processes,
            process_id=address.process,
            cluster_detection_method='deactivate' if explicit else None,
            heartbeat_timeout_seconds=address.heartbeat,
            initialization_timeout=address.patience,
            shutdown_timeout_seconds=address.heartbeat,
        )
    except ValueError as error:
        if explicit:
            raise
        raise UsageError(
            f'--distributed: jax finds no SLURM, Open MPI, TPU pod or Kubernetes here ({error}); '
            f'without them set {", ".join(NAMES)}'
        ) from error
    except jax.errors.JaxRuntimeError as error:
        where = f'{address.coordinator}: ' if explicit else ''
        words = ' '.join(str(error).split())[:200]
        raise LostPeerError(f'{where}cannot meet the other processes ({words})') from error


def part() -> None:
    """Part from the others, once all are done: waits for them."""
    try:
        jax.distributed.shutdown()
    except jax.errors.JaxRuntimeError as error:
        raise LostPeerError(f'a process is lost at the very end ({error})') from error


def client() -> Any:
    """jax's client of the coordination service; None for a process that is alone."""
    return global_state.client


def rank() -> int:
    """Which of the processes this is, 0 where it is alone; asks no device."""
    return int(global_state.process_id)


def count() -> int:
    """How many processes there are; asks no device."""
    return int(global_state.num_processes)


@functools.cache
def on_abort(tell: Callable[[], None]) -> Any:
    """Have `tell` called, and the process end with 76, where jax's own threads give it up.

    They abort it when a peer is silent for a heartbeat, or the coordinator is gone, and that cannot
    be caught. A handler of Python's would wait for the main thread, which may wait for the peer.
    """

    def end(number: int) -> None:
        try:
            tell()
        finally:
            os._exit(LostPeerError.code)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    return handler  # kept: it must live as long as the process
