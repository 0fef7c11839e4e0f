"""A SLURM cluster of two nodes on this machine, for as long as one command runs.

    python -m launch.slurm.cluster_of_one -- sinfo

A real slurmctld and two real slurmd, on ports of their own, with a munged of their own, all in a
temporary folder: for trying job files, and for the tests. Needs Debian's `slurm-wlm` and `munge`
(or their like), and root, which slurmd wants to start jobs.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.errors import JaxdlError, UsageError
from launch.ports import free_ports
from launch.ranks import die_with_parent
from launch.words import Parser, natural, run_as_command, split_command

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'scontrol', 'squeue')
PLACES = ('/usr/sbin', '/sbin', '/usr/local/sbin')  # where daemons are, and PATH is often without
PATIENCE = 60.0  # seconds for the nodes to come up

CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# How long a requeued job waits, too; two minutes if it is not said.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=2,sched_interval=2,requeue_delay=0
SlurmdParameters=config_overrides
JobRequeue=1
# As clusters have it: so long has a process from SIGTERM to SIGKILL.
KillWait=30
ReturnToService=2
{lines}
PartitionName=all Nodes={names[0]},{names[1]} Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    'NodeName={name} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs={cpus} State=UNKNOWN'
)
# Addresses, for jax looks up the first node of a job, whose rank 0 coordinates the others.
NAMES = ('127.0.0.1', '127.0.0.2')


def missing() -> str | None:
    """What this machine lacks to be a cluster, in words; None where nothing is missing."""
    lacking = [name for name in PROGRAMS if _find(name) is None]
    if lacking:
        return f'{", ".join(lacking)} not found; on Debian: apt-get install slurm-wlm munge'
    if os.geteuid() != 0:
        return 'slurmd starts jobs as root only; run this as root, in a container for example'
    return None


@contextlib.contextmanager
def cluster(*, cpus: int = 4) -> Iterator[dict[str, str]]:
    """The cluster while the context is open: the environment in which sbatch and others find it.

    cpus: of each node; as they are not really there, jobs share those that are.
    Jobs that still run when it closes are killed.
    Raises UsageError where programs or rights are missing, JaxdlError where it does not come up.
    """
    if lacking := missing():
        raise UsageError(f'no cluster here: {lacking}')
    with tempfile.TemporaryDirectory(prefix='slurm-') as name, contextlib.ExitStack() as daemons:
        folder = Path(name)
        _configure(folder, cpus)
        environment = {**os.environ, 'SLURM_CONF': str(folder / 'slurm.conf')}
        for each in [name for name in environment if name.startswith(('SLURM_JOB', 'SBATCH_'))]:
            del environment[each]
        for words in _daemons(folder):
            daemons.enter_context(_running(words, environment, folder))
        try:
            _wait_for_nodes(environment, folder)
            yield environment
        finally:
            _kill_jobs(environment)


def _configure(folder: Path, cpus: int) -> None:
    """Write slurm.conf and munge's key, and make the folders they name."""
    folder.chmod(0o755)
    host, ports = socket.gethostname(), free_ports(3)
    text = CONFIGURATION.format(
        host=host,
        ports=ports,
        folder=folder,
        names=NAMES,
        lines='\n'.join(
            NODE.format(name=name, host=host, port=port, cpus=cpus)
            for name, port in zip(NAMES, ports[1:], strict=True)
        ),
    )
    for name in NAMES:
        (folder / f'spool-{name}').mkdir()
    (folder / 'state').mkdir()
    (folder / 'slurm.conf').write_text(text)
    key = folder / 'munge.key'
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)


def _daemons(folder: Path) -> list[list[str]]:
    """The command of each daemon, in the foreground, in the order in which they start."""
    munge = ['munged', '--foreground', '--force', '--num-threads=2']
    munge += [f'--key-file={folder}/munge.key', f'--socket={folder}/munge.socket']
    munge += [f'--{name}-file={folder}/munge.{name}' for name in ('log', 'pid', 'seed')]
    return [munge, ['slurmctld', '-D', '-c'], *(['slurmd', '-D', '-N', name] for name in NAMES)]


@contextlib.contextmanager
def _running(words: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    """A daemon while the context is open."""
    with (folder / f'{words[0]}.out').open('ab') as out:
        process = subprocess.Popen(
            [_find(words[0]) or words[0], *words[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=die_with_parent if sys.platform == 'linux' else None,
        )
    try:
        if words[0] == 'munged':
            _wait_for(lambda: (folder / 'munge.socket').exists(), 'munged', folder)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_nodes(environment: Mapping[str, str], folder: Path) -> None:
    def idle() -> bool:
        words = ['sinfo', '--noheader', '--Node', '--format=%T']
        return asked(words, environment).split() == ['idle', 'idle']

    _wait_for(idle, 'the nodes', folder)


def _wait_for(there: Any, what: str, folder: Path) -> None:
    """Wait until `there()` is true. Raises JaxdlError with what the daemons logged."""
    until = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > until:
            logs = [path for path in sorted(folder.iterdir()) if path.suffix in ('.out', '.log')]
            said = '\n'.join(f'{p.name}: {p.read_text(errors="replace")[-2000:]}' for p in logs)
            raise JaxdlError(f'{what} did not come up within {PATIENCE:g} s\n{said}')
        time.sleep(0.2)


def _kill_jobs(environment: Mapping[str, str]) -> None:
    """Kill what still runs, and wait until it is gone: slurmd would leave it behind."""
    until = time.monotonic() + 30
    asked(['scancel', '--user=root'], environment)
    while time.monotonic() < until and asked(['squeue', '--noheader'], environment).strip():
        asked(['scancel', '--signal=KILL', '--full', '--user=root'], environment)
        time.sleep(0.3)


def asked(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a command of SLURM prints; '' where it fails."""
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else ''


def _find(name: str) -> str | None:
    """The path of a program, in the places of daemons too."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(PLACES))


def main(words: list[str]) -> int:
    """The command line; returns the exit code of the command that was run in the cluster."""
    own, command = split_command(words)
    parser = Parser(
        prog='python -m launch.slurm.cluster_of_one',
        description='Run a command in a SLURM cluster of this machine: OPTIONS -- COMMAND',
    )
    parser.add_argument('--cpus', type=natural, default=4, help='of each of the two nodes')
    options = parser.parse_args(own)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # and clean up
    with cluster(cpus=options.cpus) as environment:
        return subprocess.run(command, env=environment).returncode


if __name__ == '__main__':
    run_as_command('launch.slurm.cluster_of_one', main)
