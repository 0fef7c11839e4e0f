"""Four simulated devices, rank promotion an error, no network."""

import os
from importlib.metadata import version
from pathlib import Path

# Before jax is imported: simulated devices deadlock on few cores without a larger thread pool.
os.environ.setdefault('NPROC', '8')
os.environ['JAX_PLATFORMS'] = 'cpu'
# Tests compile much and compute little: code that is not optimised compiles twice as fast.
FLAGS = ['--xla_force_host_platform_device_count=4', '--xla_backend_optimization_level=0']
if version('jax').startswith('0.10.'):  # later ones have no other way to emit code
    FLAGS += ['--xla_cpu_use_fusion_emitters=false']  # and this once more
os.environ['XLA_FLAGS'] = ' '.join(FLAGS)

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update('jax_numpy_rank_promotion', 'raise')


def forget_programs() -> None:
    """Drop compiled programs before there are too many: Linux lets a process have 65,530 maps."""
    maps = Path('/proc/self/maps')
    if maps.exists() and len(maps.read_text().splitlines()) > 15_000:
        jax.clear_caches()


@pytest.fixture(scope='module', autouse=True)
def _after_each_file():
    yield
    forget_programs()
