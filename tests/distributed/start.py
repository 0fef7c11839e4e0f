"""Processes of one run on this machine, as a launcher starts them."""

import os
import subprocess
import sys
from pathlib import Path

from as_users import QUICK

from launch.ports import free_ports

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def surroundings(*, devices=1, cache=None, **more):
    """The environment of a process that has so many devices."""
    flags = f'--xla_force_host_platform_device_count={devices} {QUICK}'
    paths = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
    known = {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu', 'NPROC': '8', 'PYTHONPATH': paths}
    if cache is not None:
        known |= {
            'JAX_COMPILATION_CACHE_DIR': str(cache),
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
        }
    return {**os.environ, **known, **more}


def start(folder, *words, environment):
    """`jaxdl run` on the toys, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, '-m', 'jaxdl.cli.main', 'run', str(HERE / 'toys.py'), *words]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def start_all(folder, *words, processes, devices=1, cache=None, **more):
    """The processes of one run, by rank."""
    (port,) = free_ports(1)
    address = {'JAXDL_COORDINATOR': f'127.0.0.1:{port}', 'JAXDL_PROCESSES': str(processes)}
    return [
        start(
            folder,
            *words,
            environment=surroundings(
                devices=devices, cache=cache, JAXDL_PROCESS=str(rank), **address, **more
            ),
        )
        for rank in range(processes)
    ]


def ended(processes, seconds=300):
    """The code and output of each, which end within some time."""
    try:
        found = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return [(p.returncode, out, err) for p, (out, err) in zip(processes, found, strict=True)]
