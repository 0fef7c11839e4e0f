"""Several processes of one run on this machine.

    python -m launch.local --processes 4 --devices 2 -- jaxdl run digits

One Ctrl-C, or SIGTERM, reaches all of them; then they are not started again. Else what is done
with their exit code is in `launch.policy`.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxdl.errors import UsageError
from launch.policy import PREEMPTED, History, Kind, decide, exit_code, kind_of
from launch.ports import free_ports
from launch.progress import progress_of, watched_folder
from launch.ranks import LOOK, noted, run_ranks
from launch.words import Parser, natural, run_as_command, split_command

INTERRUPTED = 130
GRACE = (
    120.0  # seconds; longer than a heartbeat of jax.distributed, by which ranks leave themselves
)


def supervise(
    command: Sequence[str],
    *,
    processes: int,
    received: list[int],
    watch: Path | None = None,
    devices: int | None = None,
    grace: float = GRACE,
    say: Callable[[str], None] | None = None,
) -> int:
    """Run `processes` ranks of `command`, again where the policy says so; returns the exit code.

    received: signals for all ranks, added to while this runs; after one nothing is started again.
    watch: the run folder in which progress is seen; without one no restart makes any.
    devices: so many simulated CPU devices for each rank.
    grace: seconds that ranks have to leave by themselves after one of them failed.
    Raises OSError where the command cannot be started.
    """
    say = say or _say
    history = History(best=progress_of(watch)) if watch else History()
    while True:
        environments = environments_of(processes, dict(os.environ), devices=devices)
        codes = run_ranks(command, environments, received=received, grace=grace, say=say)
        code = exit_code(codes)
        if received:
            return _asked(code, received)
        now = progress_of(watch) if watch else history.best
        decision = decide(code, now, history)
        if code:
            say(f'{decision.why}; ranks left with {codes}')
        if not decision.again:
            return code
        history = decision.history
        until = time.monotonic() + decision.wait
        while time.monotonic() < until and not received:
            time.sleep(LOOK)
        if received:
            return INTERRUPTED if received[-1] == signal.SIGINT else PREEMPTED


def _asked(code: int, received: Sequence[int]) -> int:
    """The exit code of ranks that were told to stop: 75 wherever the same command goes on.

    A rank may have been told before it could heed it, and then it dies of the signal.
    """
    if kind_of(code) is Kind.LOST and received[-1] != signal.SIGINT:
        return PREEMPTED
    return code


def environments_of(
    processes: int, environment: Mapping[str, str], *, devices: int | None = None
) -> list[dict[str, str]]:
    """The environment of each rank: who coordinates, how many they are, which one it is.

    One process alone is told nothing of that. `devices` simulates so many on a CPU.
    The folder of this Python comes first in PATH, so that its `jaxdl` is the one that runs.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get('PATH', os.defpath)])
    common = {**environment, 'PATH': path, 'PYTHONUNBUFFERED': '1'}
    if devices:
        flags = environment.get('XLA_FLAGS', '').split()
        flags = [each for each in flags if 'host_platform_device_count' not in each]
        flags.append(f'--xla_force_host_platform_device_count={devices}')
        common |= {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ' '.join(flags)}
        # Simulated devices wait for each other in threads: fewer than they are is a deadlock.
        common.setdefault('NPROC', str(max(8, devices)))
    if processes == 1:
        return [common]
    (port,) = free_ports(1)
    common |= {'JAXDL_COORDINATOR': f'127.0.0.1:{port}', 'JAXDL_PROCESSES': str(processes)}
    return [{**common, 'JAXDL_PROCESS': str(rank)} for rank in range(processes)]


def _say(text: str) -> None:
    print(f'launch: {text}', file=sys.stderr, flush=True)


def main(words: list[str]) -> int:
    """The command line; returns the exit code of the ranks."""
    own, command = split_command(words)
    parser = Parser(
        prog='python -m launch.local',
        description='Several processes of one run on this machine: OPTIONS -- jaxdl run NAME ...',
    )
    parser.add_argument('--processes', type=natural, default=1, help='how many')
    parser.add_argument('--devices', type=natural, help='simulated CPU devices of each process')
    parser.add_argument(
        '--watch', type=Path, help='the run folder; that of the command if not said'
    )
    parser.add_argument('--grace', type=float, default=GRACE, help='seconds to leave by itself')
    options = parser.parse_args(own)
    watch = options.watch or watched_folder(command)
    if watch is None:
        _say('the run folder is not known (--watch): every restart counts as one without progress')
    with noted() as received:
        try:
            return supervise(
                command,
                processes=options.processes,
                received=received,
                watch=watch,
                devices=options.devices,
                grace=options.grace,
            )
        except OSError as error:
            raise UsageError(f'{command[0]}: {error.strerror}') from None


if __name__ == '__main__':
    run_as_command('launch.local', main)
