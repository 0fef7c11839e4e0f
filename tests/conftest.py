"""Four simulated devices, a core for each worker, rank promotion an error, no network."""

import atexit
import functools
import gc
import os
import signal
import tempfile
from pathlib import Path

from as_users import QUICK

# A core for each worker: the thread pools of two processes on two cores wait for each other.
if hasattr(os, 'sched_setaffinity') and (worker := os.environ.get('PYTEST_XDIST_WORKER')):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix('gw')) % len(cores)]})

# Before jax is imported: simulated devices deadlock on few cores without a larger thread pool.
os.environ.setdefault('NPROC', '8')
os.environ['JAX_PLATFORMS'] = 'cpu'
# Tests compile much and compute little. What doubts the compiler asks for the users' way.
os.environ['XLA_FLAGS'] = f'--xla_force_host_platform_device_count=4 {QUICK}'

import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402

jax.config.update('jax_numpy_rank_promotion', 'raise')

# What programs are lowered in knows every dialect of MLIR, and jax makes one for each program: a
# third of what a small program costs. One serves all of a worker.
mlir.make_ir_context = functools.cache(mlir.make_ir_context)

# A worker keeps what it compiles on disk while it runs: those in memory have to go now and then,
# below, and a third of what the laws compile was compiled before. The smallest programs are made
# again as fast as they are written. One folder for all workers would need locks; and the
# environment stays as it is, for the commands that tests start.
programs = tempfile.TemporaryDirectory(prefix='jaxdl-tests-')
atexit.register(programs.cleanup)
jax.config.update('jax_compilation_cache_dir', programs.name)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.03)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def pytest_collection_finish() -> None:
    """Look for garbage seldom, and not among what was imported: tracing makes a lot that lives."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope='module', autouse=True)
def _forget_programs():
    """Drop compiled programs before there are too many: Linux lets a process have 65,530 maps."""
    yield
    maps = Path('/proc/self/maps')
    if maps.exists() and len(maps.read_text().splitlines()) > 25_000:
        jax.clear_caches()
        mlir.make_ir_context.cache_clear()


@pytest.fixture(autouse=True)
def _heed_hangups():
    """Tests ask what SIGHUP does; under nohup it does nothing, and children inherit that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
