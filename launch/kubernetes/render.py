"""A JobSet that runs one command on several hosts with GPUs or TPUs, as YAML.

    python -m launch.kubernetes.render --name digits --image REGISTRY/jaxdl --hosts 2 --gpus 8 \\
        -- jaxdl run digits | kubectl apply -f -

JobSet is https://jobset.sigs.k8s.io, v0.10 or later: the first whose failure policy looks at
messages, by which it tells exit codes apart.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from jaxdl.errors import UsageError, nearest
from launch.policy import PREEMPTED, restartable
from launch.words import Parser, natural, run_as_command, split_command

PORT = 8476  # where rank 0 listens, inside of the pods' own network
VOLUME = 'runs'
FREE, FINAL = 1, 2  # the places of rules in the podFailurePolicy, by which messages tell them apart
CHIPS = 4  # of a TPU host, of every kind that GKE has in slices of several hosts
# The kinds of TPU that GKE knows, and how many axes their topologies have.
TPUS = {
    'tpu-v4-podslice': 3,
    'tpu-v5-lite-podslice': 2,
    'tpu-v5p-slice': 3,
    'tpu-v6e-slice': 2,
    'tpu7x': 3,
}


def jobset(
    command: Sequence[str],
    *,
    name: str,
    image: str,
    hosts: int = 1,
    gpus: int | None = None,
    gpu_kind: str | None = None,
    tpu: str | None = None,
    topology: str | None = None,
    spot: bool = False,
    claim: str | None = None,
    folder: str = '/runs',
    grace: int = 120,
    restarts: int = 10,
) -> dict[str, Any]:
    """The manifest: one pod for each host, all of them started again together.

    command: of every pod; ranks are told by the environment who coordinates and who they are.
    hosts: how many; of TPUs the topology says. gpus: of each host. gpu_kind: GKE's name of an
    accelerator, nvidia-h100-80gb. tpu, topology: GKE's names, tpu-v5-lite-podslice and 4x4.
    spot: on machines that may be taken away. claim: the PersistentVolumeClaim mounted at `folder`,
    where runs are; it outlives the pods. grace: seconds from SIGTERM to SIGKILL.
    restarts: after lost peers and kills; Kubernetes sees no progress, and counts all of them.
    Raises UsageError for names and shapes that cannot be.
    """
    if not re.fullmatch(r'[a-z]([-a-z0-9]{0,38}[a-z0-9])?', name):
        raise UsageError(
            f'--name {name!r}: small letters, digits and -, 40 at most, a letter first'
        )
    if bool(tpu) != bool(topology):
        raise UsageError('--tpu and --topology belong together')
    if tpu and (gpus or gpu_kind):
        raise UsageError(f'--tpu {tpu} and GPUs: one or the other')
    selector: dict[str, str] = {}
    resources: dict[str, str] = {}
    if tpu and topology:
        chips = _chips(tpu, topology)
        hosts, each = math.ceil(chips / CHIPS), min(chips, CHIPS)
        selector['cloud.google.com/gke-tpu-accelerator'] = tpu
        selector['cloud.google.com/gke-tpu-topology'] = topology
        resources['google.com/tpu'] = str(each)
    if gpus:
        resources['nvidia.com/gpu'] = str(gpus)
    if gpu_kind:
        selector['cloud.google.com/gke-accelerator'] = gpu_kind
    if spot:
        selector['cloud.google.com/gke-spot'] = 'true'
    container: dict[str, Any] = {
        'name': 'jaxdl',
        'image': image,
        'command': list(command),
        'env': _environment(name, hosts),
        'resources': {'limits': resources, 'requests': dict(resources)},
    }
    pod: dict[str, Any] = {
        'restartPolicy': 'Never',
        'terminationGracePeriodSeconds': grace,
        'nodeSelector': selector,
        'tolerations': _tolerations(bool(gpus), bool(tpu), spot),
        'containers': [container],
    }
    if claim:
        container['volumeMounts'] = [{'name': VOLUME, 'mountPath': folder}]
        container['workingDir'] = folder
        pod['volumes'] = [{'name': VOLUME, 'persistentVolumeClaim': {'claimName': claim}}]
    # The headless service gives each pod the name by which ranks find the first of them.
    job = {
        'completionMode': 'Indexed',
        'completions': hosts,
        'parallelism': hosts,
        'backoffLimit': 0,  # one pod alone is never replaced: the others have lost it
        'podFailurePolicy': {'rules': _pod_rules()},
        'template': {'spec': pod},
    }
    metadata: dict[str, Any] = {'name': name}
    if tpu:  # all pods of a slice, and none of anybody else's
        metadata['annotations'] = {
            'alpha.jobset.sigs.k8s.io/exclusive-topology': 'cloud.google.com/gke-nodepool'
        }
    return {
        'apiVersion': 'jobset.x-k8s.io/v1alpha2',
        'kind': 'JobSet',
        'metadata': metadata,
        'spec': {
            'network': {'enableDNSHostnames': True, 'publishNotReadyAddresses': True},
            'failurePolicy': _failure_policy(restarts),
            'replicatedJobs': [{'name': 'rank', 'replicas': 1, 'template': {'spec': job}}],
        },
    }


def _pod_rules() -> list[dict[str, Any]]:
    """What a failed pod means to its job; the first rule that fits wins.

    All of them fail the job, with a message that names the rule: 0, the machine was taken away;
    FREE, preempted and saved; FINAL, an error that would come again. What fits none, a lost peer or
    a kill, fails it by its backoffLimit.
    """

    def on_exit(operator: str, values: Sequence[int]) -> dict[str, Any]:
        codes = {'containerName': 'jaxdl', 'operator': operator, 'values': list(values)}
        return {'action': 'FailJob', 'onExitCodes': codes}

    taken = [{'type': 'DisruptionTarget', 'status': 'True'}]
    return [
        {'action': 'FailJob', 'onPodConditions': taken},
        on_exit('In', [PREEMPTED]),
        on_exit('NotIn', restartable()),
    ]


def _failure_policy(restarts: int) -> dict[str, Any]:
    """What a failed job means to the set: all pods again, or the end.

    Preemption costs nothing of maxRestarts, lost peers and kills do, errors end it.
    """

    def rule(name: str, action: str, *places: int) -> dict[str, Any]:
        patterns = [f'matching FailJob rule at index {place}$' for place in places]
        return {
            'name': name,
            'action': action,
            'onJobFailureReasons': ['PodFailurePolicy'],
            'onJobFailureMessagePatterns': patterns,
        }

    return {
        'maxRestarts': restarts,
        'rules': [
            rule('preempted', 'RestartJobSetAndIgnoreMaxRestarts', 0, FREE),
            rule('error', 'FailJobSet', FINAL),
        ],
    }


def _environment(name: str, hosts: int) -> list[dict[str, Any]]:
    """Who coordinates, how many there are, and which rank a pod is; nothing for one alone."""
    told: list[dict[str, Any]] = [{'name': 'PYTHONUNBUFFERED', 'value': '1'}]
    if hosts > 1:
        index = {'fieldPath': "metadata.annotations['batch.kubernetes.io/job-completion-index']"}
        told += [
            {'name': 'JAXDL_COORDINATOR', 'value': f'{name}-rank-0-0.{name}:{PORT}'},
            {'name': 'JAXDL_PROCESSES', 'value': str(hosts)},
            {'name': 'JAXDL_PROCESS', 'valueFrom': {'fieldRef': index}},
        ]
    return told


def _tolerations(gpu: bool, tpu: bool, spot: bool) -> list[dict[str, str]]:
    """The taints of nodes with accelerators, and of those that may be taken away."""
    taints = ['nvidia.com/gpu'] * gpu + ['google.com/tpu'] * tpu
    taints += ['cloud.google.com/gke-spot'] * spot
    return [{'key': key, 'operator': 'Exists', 'effect': 'NoSchedule'} for key in taints]


def _chips(tpu: str, topology: str) -> int:
    """How many chips a slice has. Raises UsageError for one that GKE has not."""
    if tpu not in TPUS:
        raise UsageError(f'--tpu: unknown kind {tpu!r}{nearest(tpu, TPUS)}')
    axes = TPUS[tpu]
    shape = 'x'.join(['4'] * axes)
    if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*)*', topology) or topology.count('x') != axes - 1:
        raise UsageError(f'--topology {topology!r}: {tpu} has {axes} axes, as in {shape}')
    chips = math.prod(map(int, topology.split('x')))
    if chips > CHIPS and chips % CHIPS:
        raise UsageError(f'--topology {topology!r}: {chips} chips are no hosts of {CHIPS}')
    return chips


def main(words: list[str]) -> int:
    """The command line: print the manifest."""
    own, command = split_command(words)
    parser = Parser(
        prog='python -m launch.kubernetes.render',
        description='A JobSet as YAML: OPTIONS -- jaxdl run NAME ...',
    )
    add = parser.add_argument
    add('--name', required=True, help='of the JobSet')
    add('--image', required=True, help='of the container, with jaxdl in it')
    add('--hosts', type=natural, default=1, help='how many; of TPUs the topology says')
    add('--gpus', type=natural, help='of each host')
    add('--gpu-kind', help="GKE's name of an accelerator, nvidia-h100-80gb")
    add('--tpu', help=f'kind of TPU: {", ".join(TPUS)}')
    add('--topology', help='of the TPU slice, 4x4')
    add('--spot', action='store_true', help='on machines that may be taken away')
    add('--claim', help='PersistentVolumeClaim where runs are kept')
    add('--folder', default='/runs', help='where it is mounted, and commands start')
    add('--grace', type=natural, default=120, help='seconds from SIGTERM to SIGKILL')
    add('--restarts', type=natural, default=10, help='after lost peers and kills, in all')
    options = parser.parse_args(own)
    manifest = jobset(command, **vars(options))
    try:
        import yaml
    except ImportError:
        raise UsageError("PyYAML is not installed: pip install 'jaxdl[kubernetes]'") from None
    print(yaml.safe_dump(manifest, sort_keys=False), end='')
    return 0


if __name__ == '__main__':
    run_as_command('launch.kubernetes.render', main)
