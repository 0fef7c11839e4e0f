"""The commands of gcloud that make a TPU pod, run on all of its hosts, and fetch what they made.

Pure functions: each returns the words of a command, which `--dry-run` prints.
"""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from jaxdl.errors import UsageError, nearest

TREE = 'jaxdl'  # the folder of the project on each host, in the home of whoever logs in
ARCHIVE = 'jaxdl.tar.gz'
LEFT = 'launch: left with'  # how each host says its exit code: gcloud tells one for all of them
# What TPU VMs boot, by the beginning of the accelerator's type.
RUNTIMES = {
    'v2': 'tpu-ubuntu2204-base',
    'v3': 'tpu-ubuntu2204-base',
    'v4': 'tpu-ubuntu2204-base',
    'v5litepod': 'v2-alpha-tpuv5-lite',
    'v5p': 'v2-alpha-tpuv5',
    'v6e': 'v2-alpha-tpuv6e',
}
Words = list[str]


class Pod(NamedTuple):
    """A TPU pod: its name, where it is, what it is.

    kind: Google's type of accelerator, v5litepod-16. spot: it may be taken away at any time.
    share: an NFS folder, HOST:/PATH, mounted as the runs of all hosts; it outlives the pod.
    """

    name: str
    zone: str
    kind: str = ''
    project: str | None = None
    spot: bool = False
    share: str | None = None

    @property
    def where(self) -> Words:
        """The zone, and the project where one is said."""
        return [f'--zone={self.zone}', *([f'--project={self.project}'] if self.project else [])]

    @property
    def runtime(self) -> str:
        """What it boots. Raises UsageError for a kind that is not known."""
        family, _, size = self.kind.partition('-')
        if family not in RUNTIMES or not size.isdigit():
            kinds = [f'{each}-16' for each in RUNTIMES]
            raise UsageError(f'--type: unknown type {self.kind!r}{nearest(self.kind, kinds)}')
        return RUNTIMES[family]


def create(pod: Pod) -> Words:
    """Make it now, or fail where there is no capacity."""
    words = ['gcloud', 'compute', 'tpus', 'tpu-vm', 'create', pod.name, *pod.where]
    words += [f'--accelerator-type={pod.kind}', f'--version={pod.runtime}']
    return words + ['--spot'] * pod.spot


def delete(pod: Pod) -> Words:
    """Remove it, and stop paying."""
    words = ['gcloud', 'compute', 'tpus', 'tpu-vm', 'delete', pod.name, *pod.where]
    return [*words, '--quiet']


def enqueue(pod: Pod) -> Words:
    """Ask for it, and wait in the queue until there is capacity; of the same name as the pod."""
    words = ['gcloud', 'compute', 'tpus', 'queued-resources', 'create', pod.name, *pod.where]
    words += [f'--node-id={pod.name}', f'--accelerator-type={pod.kind}']
    return [*words, f'--runtime-version={pod.runtime}', *(['--spot'] * pod.spot)]


def state(pod: Pod) -> Words:
    """Print the state of what was asked for: WAITING_FOR_RESOURCES, ..., ACTIVE, SUSPENDED."""
    words = ['gcloud', 'compute', 'tpus', 'queued-resources', 'describe', pod.name, *pod.where]
    return [*words, '--format=value(state.state)']


def dequeue(pod: Pod) -> Words:
    """Remove what was asked for, and the pod if it is there."""
    words = ['gcloud', 'compute', 'tpus', 'queued-resources', 'delete', pod.name, *pod.where]
    return [*words, '--force', '--quiet']


def on_hosts(pod: Pod, script: str, *, worker: str = 'all') -> Words:
    """Run a line of shell on all hosts, or on one."""
    words = ['gcloud', 'compute', 'tpus', 'tpu-vm', 'ssh', pod.name, *pod.where]
    return [*words, f'--worker={worker}', f'--command={script}']


def install(pod: Pod) -> list[Words]:
    """Bring what is committed here to all hosts, with its environment.

    TPU VMs have an older Python than jaxdl needs: uv fetches one.
    """
    copy = ['gcloud', 'compute', 'tpus', 'tpu-vm', 'scp', ARCHIVE, f'{pod.name}:{ARCHIVE}']
    steps = [
        'set -e',
        f'mkdir -p {TREE}',
        f'tar -xzf {ARCHIVE} -C {TREE}',
        f'cd {TREE}',
        'python3 -m pip install --user --quiet uv',
        'test -d .venv || python3 -m uv venv --quiet --python 3.11',
        "python3 -m uv pip install --quiet -c .ci/constraints.txt --editable '.[tpu]'",
    ]
    if pod.share:
        steps += [
            'mkdir -p runs',
            'sudo apt-get install --yes --quiet nfs-common',
            f'mountpoint -q runs || sudo mount -t nfs {shlex.quote(pod.share)} runs',
            'sudo chown "$USER" runs',
        ]
    return [
        ['git', 'archive', '--format=tar.gz', f'--output={ARCHIVE}', 'HEAD'],
        [*copy, *pod.where, '--worker=all'],
        on_hosts(pod, '; '.join(steps)),
    ]


def run(pod: Pod, command: Sequence[str]) -> Words:
    """Run a command of jaxdl on all hosts at a time; each says what it left with."""
    words = ['env', 'PYTHONUNBUFFERED=1', 'PATH="$PWD/.venv/bin:$PATH"', shlex.join(command)]
    return on_hosts(pod, f'cd {TREE} && {{ {" ".join(words)}; echo "{LEFT} $?"; }}')


def fetch(pod: Pod, folder: str, to: str) -> list[Words]:
    """Copy a run folder, but for its checkpoints, from the first host to `to` here."""
    archive = f'{pod.name}-report.tar.gz'
    pack = f'cd {TREE} && tar -czf ~/{archive} --exclude=checkpoints {shlex.quote(folder)}'
    copy = ['gcloud', 'compute', 'tpus', 'tpu-vm', 'scp', f'{pod.name}:{archive}', archive]
    return [
        on_hosts(pod, pack, worker='0'),
        [*copy, *pod.where, '--worker=0'],
        ['mkdir', '-p', to],
        ['tar', '-xzf', archive, '-C', to],
    ]
