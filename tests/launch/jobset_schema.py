"""The part of a JobSet that manifests here use, as a strict schema: what is not in it is a typo.

Written from the definition in kubernetes-sigs/jobset (v1alpha2; `onJobFailureMessagePatterns` is
there since v0.10) and the API reference of Kubernetes. The fields of JobSet, of its failure policy
and of a job and its podFailurePolicy were compared with that definition, name by name; those of
pods are core/v1's. Kubernetes drops or refuses unknown fields according to how it is asked; here
they are refused. Enumerations and limits that the API server checks, and the definition does not
have, are in it too.
"""

from typing import Any

TEXT = {'type': 'string'}
WORDS = {'type': 'array', 'items': TEXT}
COUNT = {'type': 'integer', 'minimum': 0, 'maximum': 2**31 - 1}
FLAG = {'type': 'boolean'}
NAME = {'type': 'string', 'pattern': '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$', 'maxLength': 63}
# Labels and annotations: keys with a domain before them, values that are texts.
KEY = '^([a-z0-9.-]+/)?[A-Za-z0-9._-]+$'
LABELS = {'type': 'object', 'patternProperties': {KEY: TEXT}, 'additionalProperties': False}
QUANTITY = {'type': 'string', 'pattern': '^[0-9]+(m|k|Ki|M|Mi|G|Gi|T|Ti)?$'}
QUANTITIES = {'type': 'object', 'patternProperties': {KEY: QUANTITY}, 'additionalProperties': False}


def one_of(*values: str) -> dict[str, Any]:
    return {'enum': list(values)}


def record(*needed: str, **fields: Any) -> dict[str, Any]:
    """An object that has `needed` and of `fields` what it likes, and nothing else."""
    assert set(needed) <= set(fields)
    return {
        'type': 'object',
        'properties': fields,
        'required': list(needed),
        'additionalProperties': False,
    }


def several(items: Any, least: int = 1, most: int = 100) -> dict[str, Any]:
    return {'type': 'array', 'items': items, 'minItems': least, 'maxItems': most}


ENV = {
    'oneOf': [
        record('name', 'value', name=TEXT, value=TEXT),
        record(
            'name',
            'valueFrom',
            name=TEXT,
            valueFrom=record('fieldRef', fieldRef=record('fieldPath', fieldPath=TEXT)),
        ),
    ]
}
CONTAINER = record(
    'name',
    'image',
    name=NAME,
    image=TEXT,
    command=WORDS,
    args=WORDS,
    workingDir={'type': 'string', 'pattern': '^/'},
    env=several(ENV),
    resources=record(limits=QUANTITIES, requests=QUANTITIES),
    volumeMounts=several(record('name', 'mountPath', name=NAME, mountPath=TEXT, readOnly=FLAG)),
)
TOLERATION = record(
    key=TEXT,
    operator=one_of('Exists', 'Equal'),
    value=TEXT,
    effect=one_of('NoSchedule', 'PreferNoSchedule', 'NoExecute'),
)
POD = record(
    'containers',
    'restartPolicy',
    restartPolicy=one_of('Never'),  # of OnFailure a podFailurePolicy is refused
    terminationGracePeriodSeconds=COUNT,
    nodeSelector=LABELS,
    tolerations={'type': 'array', 'items': TOLERATION},
    containers=several(CONTAINER),
    volumes=several(
        record(
            'name',
            'persistentVolumeClaim',
            name=NAME,
            persistentVolumeClaim=record('claimName', claimName=NAME),
        )
    ),
)
ACTION = one_of('FailJob', 'FailIndex', 'Ignore', 'Count')
POD_RULE = {
    'oneOf': [
        record(
            'action',
            'onExitCodes',
            action=ACTION,
            onExitCodes=record(
                'operator',
                'values',
                containerName=NAME,
                operator=one_of('In', 'NotIn'),
                values={
                    'type': 'array',
                    'items': {'type': 'integer', 'minimum': 0, 'maximum': 255},
                    'uniqueItems': True,
                    'minItems': 1,
                    'maxItems': 255,
                },
            ),
        ),
        record(
            'action',
            'onPodConditions',
            action=ACTION,
            onPodConditions=several(
                record('type', 'status', type=TEXT, status=one_of('True', 'False', 'Unknown')),
                most=20,
            ),
        ),
    ]
}
JOB = record(
    'template',
    completionMode=one_of('Indexed', 'NonIndexed'),
    completions=COUNT,
    parallelism=COUNT,
    backoffLimit=COUNT,
    backoffLimitPerIndex=COUNT,
    maxFailedIndexes=COUNT,
    activeDeadlineSeconds=COUNT,
    ttlSecondsAfterFinished=COUNT,
    podFailurePolicy=record('rules', rules=several(POD_RULE, most=20)),
    template=record('spec', metadata=record(labels=LABELS, annotations=LABELS), spec=POD),
)
FAILURE_RULE = record(
    'name',
    'action',
    name={'type': 'string', 'pattern': '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$'},
    action=one_of('FailJobSet', 'RestartJobSet', 'RestartJobSetAndIgnoreMaxRestarts'),
    onJobFailureReasons={
        'type': 'array',
        'items': one_of(
            'BackoffLimitExceeded',
            'DeadlineExceeded',
            'FailedIndexes',
            'MaxFailedIndexesExceeded',
            'PodFailurePolicy',
        ),
    },
    onJobFailureMessagePatterns=WORDS,
    targetReplicatedJobs=WORDS,
)
JOBSET = record(
    'apiVersion',
    'kind',
    'metadata',
    'spec',
    apiVersion=one_of('jobset.x-k8s.io/v1alpha2'),
    kind=one_of('JobSet'),
    metadata=record('name', name=NAME, namespace=NAME, labels=LABELS, annotations=LABELS),
    spec=record(
        'replicatedJobs',
        network=record(enableDNSHostnames=FLAG, publishNotReadyAddresses=FLAG, subdomain=NAME),
        failurePolicy=record(
            maxRestarts=COUNT,
            restartStrategy=one_of('Recreate', 'BlockingRecreate'),
            rules=several(FAILURE_RULE, least=0, most=20),
        ),
        successPolicy=record('operator', operator=one_of('All', 'Any'), targetReplicatedJobs=WORDS),
        suspend=FLAG,
        ttlSecondsAfterFinished=COUNT,
        replicatedJobs=several(
            record(
                'name',
                'template',
                name=NAME,
                groupName=NAME,
                replicas=COUNT,
                template=record(
                    'spec', metadata=record(labels=LABELS, annotations=LABELS), spec=JOB
                ),
            )
        ),
    ),
)
