"""The machine a run is on: what it is, how fast it can be, and how its memory is set up."""

import ctypes
import functools
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from rich.console import Group

PACKAGES = (
    *('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain'),
    *('tensorflow-datasets', 'numpy'),
)

# Of a checkout: what `jaxdl record` writes. It computes nothing.
RESULTS, RESULTS_TABLE = Path('experiments', 'results'), Path('experiments', 'README.md')

# mallopt's parameters (malloc.h), and the values that keep freed memory in the process.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
KEPT = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 256 * 2**20))


@functools.cache
def tune_memory() -> str | None:
    """Make the C library keep freed memory, once, and say so in one line; None where it does not.

    XLA:CPU takes its buffers from the system and returns them at every step, and the page faults
    cost up to a third of a small network's step. Call before jax starts its backend: its threads
    would have arenas of their own, and an arena asks the system for every block above 64 MB. Does
    nothing without glibc or with JAXDL_MALLOPT=0 in the environment, and on other backends nothing
    but keeping to one arena.
    """
    if os.environ.get('JAXDL_MALLOPT') == '0' or not _glibc():
        return None
    mallopt = ctypes.CDLL(None).mallopt
    one_arena = mallopt(M_ARENA_MAX, 1)
    if jax.default_backend() != 'cpu':  # asking starts it
        return None
    if not all([one_arena, *(mallopt(parameter, value) for parameter, value in KEPT)]):
        return 'memory: mallopt refused its settings, steps will be slower'
    return 'memory: freed memory stays in the process (JAXDL_MALLOPT=0 switches this off)'


def _glibc() -> bool:
    return platform.system() == 'Linux' and platform.libc_ver()[0] == 'glibc'


def versions() -> dict[str, str]:
    """Installed versions by package, 'python' first; nothing is imported."""
    found = {'python': platform.python_version()}
    for name in PACKAGES:
        version = installed(name)
        if version:
            found[name] = version
    return found


def installed(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def devices() -> dict[str, Any]:
    """What jax computes on: {'platform', 'kind', 'count', 'processes'}."""
    first = jax.devices()[0]
    return {
        'platform': first.platform,
        'kind': first.device_kind,
        'count': jax.device_count(),
        'processes': jax.process_count(),
    }


def cpu() -> dict[str, Any]:
    """The processor: {'model', 'cores' this process may use}."""
    model = platform.processor() or platform.machine()
    if platform.system() == 'Linux':
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
        model = names[0] if names else model
    count = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return {'model': model, 'cores': count}


def memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def system() -> str:
    """The operating system with its processor family and C library, 'Linux x86_64, glibc 2.36'."""
    libc = ' '.join(part for part in platform.libc_ver() if part)
    return f'{platform.system()} {platform.machine()}' + (f', {libc}' if libc else '')


def commit() -> dict[str, Any] | None:
    """The git commit of the working tree jaxdl is in: {'commit', 'dirty'}; None if in none.

    dirty: whether anything in it differs but what `jaxdl record` writes, which lies there while
    other studies run.
    """
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(['git', *words], cwd=here, capture_output=True, text=True)
        except FileNotFoundError:  # no git on this machine
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # Installed below another project's working tree, that commit would say nothing of jaxdl.
    if git('ls-files', '--error-unmatch', '__init__.py') is None:
        return None
    head = git('rev-parse', 'HEAD')
    others = [f':(top,exclude){path.as_posix()}' for path in (RESULTS, RESULTS_TABLE)]
    changed = git('status', '--porcelain', '--', ':/', *others)
    return {'commit': head, 'dirty': bool(changed)} if head else None


def describe() -> dict[str, Any]:
    """Everything about a run's surroundings that its numbers may depend on, for env.json.

    Holds no host name and no path.
    """
    return {
        'versions': versions(),
        'devices': devices(),
        'cpu': cpu(),
        'memory': memory(),
        'os': system(),
        'git': commit(),
    }


@functools.cache
def peak_flops(dtype: Any = jnp.float32) -> float:
    """FLOP/s of the best of a few large matrix products on one device; takes under 3 s.

    At jax's default precision, as models run.
    """
    start, best = time.perf_counter(), 0.0
    product = jax.jit(jnp.matmul)
    for n in (512, 1024, 2048, 4096, 8192, 16384):
        x = jnp.ones((n, n), dtype)
        product(x, x).block_until_ready()  # compiles, and warms the caches
        for _ in range(4):
            begin = time.perf_counter()
            product(x, x).block_until_ready()
            seconds = time.perf_counter() - begin
            best = max(best, 2 * n**3 / seconds)
        # The next size takes eight times as long, five times over.
        if time.perf_counter() - start + 5 * 8 * seconds > 2.5:
            break
    return best


def peak_memory() -> int:
    """The most bytes this process has held so far: on the devices, or in all on CPU."""
    if jax.default_backend() == 'cpu':
        if platform.system() == 'Linux':
            # Not getrusage: its figure starts with the peak of the process that started this one.
            status = Path('/proc/self/status').read_text()
            return int(status.partition('VmHWM:')[2].split()[0]) * 1024
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == 'darwin' else used * 1024
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return sum(s.get('peak_bytes_in_use', 0) for s in stats)


def doctor() -> 'Group':
    """A report for a person: versions, devices, data folders, extras, and what is wrong."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(title: str, rows: Iterator[tuple[str, str]]) -> Table:
        grid = Table(title=title, show_header=False, title_justify='left', min_width=40)
        for row in rows:
            grid.add_row(*(Text(cell) for cell in row))
        return grid

    problems = [Text(f'warning: {line}', style='yellow') for line in warnings()]
    return Group(
        table('versions', iter(versions().items())),
        table('machine', _machine_rows()),
        table('data', _data_rows()),
        table('extras', _extra_rows()),
        *(problems or [Text('no problem found', style='green')]),
    )


def warnings() -> list[str]:
    """One line for each thing that is wrong with this installation."""
    found = []
    for requirement in requirements():
        if requirement.marker and not requirement.marker.evaluate({'extra': ''}):
            continue
        version = installed(requirement.name)
        if version is None:
            found.append(f'{requirement.name} is not installed (needed: {requirement})')
        elif not requirement.specifier.contains(version, prereleases=True):
            found.append(f'{requirement.name} {version} is outside {requirement.specifier}')
    if not requirements():
        found.append('jaxdl is not installed: pip install -e . (its requirements are not checked)')
    for name in ('TFDS_DATA_DIR', 'JAXDL_DATA_DIR'):
        folder = os.environ.get(name)
        if folder and not Path(folder).is_dir():
            found.append(f'{name} is set to {folder}, which is no folder')
    return found


def requirements() -> list[Requirement]:
    """What jaxdl says it needs, its extras included; empty if it is not installed."""
    if installed('jaxdl') is None:
        return []
    return [Requirement(line) for line in importlib.metadata.requires('jaxdl') or []]


def extras() -> dict[str, list[str]]:
    """For each optional extra of jaxdl, the distributions it needs that are not installed."""
    missing: dict[str, list[str]] = {}
    if installed('jaxdl') is not None:
        for extra in importlib.metadata.metadata('jaxdl').get_all('Provides-Extra') or []:
            missing[extra] = _missing(importlib.metadata.requires('jaxdl') or [], extra)
    return missing


def _missing(lines: list[str], extra: str) -> list[str]:
    absent = []
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if not marker or not marker.evaluate({'extra': extra}) or marker.evaluate({'extra': ''}):
            continue
        if installed(requirement.name) is None:
            absent.append(requirement.name)
            continue
        # jax[cuda13] is there only if what jax's own extra names is there.
        for inner in requirement.extras:
            absent += _missing(importlib.metadata.requires(requirement.name) or [], inner)
    return absent


def datasets(folder: Path) -> list[str]:
    """The prepared TFDS data sets in a folder, 'mnist 3.0.1'."""
    found = []
    for depth in ('*/*', '*/*/*'):
        for info in folder.glob(f'{depth}/dataset_info.json'):
            *name, version = info.parent.relative_to(folder).parts
            found.append(f'{"/".join(name)} {version}')
    return sorted(found)


def _machine_rows() -> Iterator[tuple[str, str]]:
    found, processor, tree = devices(), cpu(), commit()
    yield 'devices', f'{found["count"]} x {found["kind"]} ({found["platform"]})'
    yield 'processor', f'{processor["model"]}, {processor["cores"]} cores'
    yield 'memory', f'{memory() / 2**30:.1f} GiB'
    yield 'system', system()
    if tree:
        yield 'commit', tree['commit'][:12] + (' (with changes)' if tree['dirty'] else '')


def _data_rows() -> Iterator[tuple[str, str]]:
    for name in ('TFDS_DATA_DIR', 'JAXDL_DATA_DIR'):
        value = os.environ.get(name)
        if not value:
            yield name, 'not set'
        elif not Path(value).is_dir():
            yield name, f'{value}: no such folder'
        else:
            folder = Path(value)
            tfds = name == 'TFDS_DATA_DIR'
            inside = datasets(folder) if tfds else sorted(path.name for path in folder.iterdir())
            yield name, f'{value}: ' + (', '.join(inside) or 'nothing there')


def _extra_rows() -> Iterator[tuple[str, str]]:
    for extra, absent in extras().items():
        yield extra, f'not installed: {", ".join(absent)}' if absent else 'installed'
