"""What the soak does to a run: to its process while it lives, and to its files between two starts.

Linux only: limits of a living process are set by prlimit, which needs no root. A disk is full by
RLIMIT_FSIZE: whatever would make a file longer than so many bytes fails, in Python as in the C++
of orbax, in the middle of a file too. The error is EFBIG there, where a full disk gives ENOSPC;
jaxdl treats the two alike.
"""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

Process = subprocess.Popen[bytes]


class Disturbance(NamedTuple):
    """Something done to a living process. Calling it returns whether the process may end of it.

    codes: those with which the process may then end, beside 0.
    """

    do: Callable[[Process, Random], object]
    codes: tuple[int, ...]


def _send(number: signal.Signals) -> Callable[[Process, Random], None]:
    return lambda process, rng: process.send_signal(number)


def _stop(process: Process, rng: Random) -> None:
    process.send_signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.2, 4))
    process.send_signal(signal.SIGCONT)


def _limit(process: Process, what: int, soft: int, seconds: float | None) -> None:
    """A limit for the process, for so many seconds or for good."""
    before, hard = resource.prlimit(process.pid, what)
    resource.prlimit(process.pid, what, (soft, hard))
    if seconds is not None:
        time.sleep(seconds)
        if process.poll() is None:
            resource.prlimit(process.pid, what, (before, hard))


def _how_long(rng: Random) -> float | None:
    return rng.uniform(0.1, 2) if rng.random() < 0.5 else None


def _full_disk(process: Process, rng: Random) -> None:
    size = rng.choice([0, rng.randrange(2_000), rng.randrange(20_000)])
    _limit(process, resource.RLIMIT_FSIZE, size, _how_long(rng))


def _lost_handles(process: Process, rng: Random) -> None:
    opened = len(os.listdir(f'/proc/{process.pid}/fd'))
    _limit(process, resource.RLIMIT_NOFILE, max(0, opened + rng.randint(-4, 3)), _how_long(rng))


DISTURBANCES = {
    'SIGKILL': Disturbance(_send(signal.SIGKILL), (-signal.SIGKILL,)),
    'SIGTERM': Disturbance(_send(signal.SIGTERM), (75,)),
    'SIGINT': Disturbance(_send(signal.SIGINT), (130,)),
    'SIGHUP': Disturbance(_send(signal.SIGHUP), (75,)),
    'SIGSTOP, SIGCONT': Disturbance(_stop, ()),
    'full disk': Disturbance(_full_disk, (1,)),
    'lost handles': Disturbance(_lost_handles, (1,)),
}


def is_early(process: Process) -> bool:
    """Whether jaxdl's handlers do not stand yet: a signal now takes Python's own way."""
    try:
        status = Path(f'/proc/{process.pid}/status').read_text()
    except OSError:
        return False
    (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith('SigCgt')]
    return not int(caught, 16) >> (signal.SIGTERM - 1) & 1


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob('*') if path.is_file())


def _steps(arm: Path) -> list[Path]:
    """The step folders of an arm, the newest first."""
    found = [p for p in arm.glob('checkpoints/*') if p.name.isdigit() and p.is_dir()]
    return sorted(found, key=lambda path: -int(path.name))


def _newest(arm: Path) -> list[Path]:
    return [path for step in _steps(arm)[:1] for path in _files(step)]


def _every(arm: Path) -> list[Path]:
    """One file of each step, so that no checkpoint is good."""
    return [max(_files(step), key=lambda path: path.stat().st_size) for step in _steps(arm)]


def _named(name: str) -> Callable[[Path], list[Path]]:
    return lambda arm: sorted(path for path in [arm / name] if path.is_file())


# What is damaged: the files of an arm among which one is taken.
TARGETS: dict[str, Callable[[Path], list[Path]]] = {
    'newest checkpoint': _newest,
    'digest of a checkpoint': lambda arm: sorted(p for p in arm.glob('checkpoints/digests/*')),
    **{
        name: _named(name)
        for name in (
            'checkpoints.json',
            'metrics.jsonl',
            'arrays.npz',
            'numbers.json',
            'config.json',
            'env.json',
            'identity.json',
            'DONE',
        )
    },
}


def _flip(path: Path, rng: Random) -> str:
    content = bytearray(path.read_bytes())
    if not content:
        return _remove(path, rng)
    at = rng.randrange(len(content))
    content[at] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f'bit flipped in byte {at} of {path.name}'


def _cut(path: Path, rng: Random) -> str:
    size = rng.randrange(max(1, path.stat().st_size))
    os.truncate(path, size)
    return f'{path.name} cut to {size} bytes'


def _remove(path: Path, rng: Random) -> str:
    path.unlink()
    return f'{path.name} removed'


def _one_file(target: str) -> Callable[[Path, Random], str]:
    def damage(arm: Path, rng: Random) -> str:
        files = TARGETS[target](arm)
        return rng.choice([_flip, _flip, _cut, _remove])(rng.choice(files), rng) if files else ''

    return damage


def _each_checkpoint(arm: Path, rng: Random) -> str:
    return '; '.join(_flip(path, rng) for path in _every(arm))


def _gone(arm: Path, rng: Random) -> str:
    """The newest step folder, or all checkpoints."""
    steps = _steps(arm)
    if not steps:
        return ''
    lost = rng.choice([steps[0], arm / 'checkpoints'])
    shutil.rmtree(lost)
    return f'{lost.name} removed'


def _leftovers(arm: Path, rng: Random) -> str:
    """What writers leave behind that died in the middle."""
    if not arm.is_dir():
        return ''
    name = f'.{rng.randrange(2, 99999)}-{rng.randbytes(4).hex()}.tmp'
    for folder in (arm, arm / 'samples', arm / 'checkpoints' / 'digests'):
        if folder.is_dir():
            (folder / name).write_bytes(rng.randbytes(100))
    if (arm / 'checkpoints').is_dir():
        torn = arm / 'checkpoints' / f'77.orbax-checkpoint-tmp-{rng.randrange(99)}'
        (torn / 'state').mkdir(parents=True, exist_ok=True)
        (torn / 'state' / 'part').write_bytes(b'torn')
    return f'{name} and a torn step'


DAMAGES: dict[str, Callable[[Path, Random], str]] = {
    **{f'damaged: {target}': _one_file(target) for target in TARGETS},
    'damaged: every checkpoint': _each_checkpoint,
    'gone: a step, or all': _gone,
    'leftovers of the dead': _leftovers,
}
OF_CHECKPOINTS = [name for name in DAMAGES if 'checkpoint' in name or name.startswith('gone')]
