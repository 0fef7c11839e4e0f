"""JobSets as they are printed: their schema, planted typos, and what exit codes come to."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from jobset_schema import JOBSET

from jaxdl.errors import UsageError
from launch.kubernetes.render import jobset, main
from launch.policy import Kind, kind_of

ROOT = Path(__file__).parents[2]
RUN = ['jaxdl', 'run', 'digits']
GPUS = {'hosts': 2, 'gpus': 8, 'gpu_kind': 'nvidia-h100-80gb', 'claim': 'runs', 'spot': True}
TPUS = {'tpu': 'tpu-v5-lite-podslice', 'topology': '4x4', 'claim': 'runs', 'spot': True}
KINDS = pytest.mark.parametrize('where', [GPUS, TPUS, {}], ids=['gpus', 'tpus', 'cpu'])
FREE_FORM = ('nodeSelector', 'limits', 'requests', 'annotations')  # keys of whoever reads them


def rendered(**where):
    return jobset(RUN, name='digits', image='registry.example/jaxdl:1', **where)


def valid(manifest):
    validator = jsonschema.Draft202012Validator(JOBSET)
    return not list(validator.iter_errors(manifest))


def job_of(manifest):
    return manifest['spec']['replicatedJobs'][0]['template']['spec']


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(JOBSET)


@KINDS
def test_manifests_are_valid_and_survive_yaml(where):
    manifest = rendered(**where)
    assert valid(manifest)
    assert yaml.safe_load(yaml.safe_dump(manifest)) == manifest


def places(tree, at=()):
    """Every place of a tree, from the outside in."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from places(value, (*at, key))


def changed(manifest, place, change):
    """A copy with `change(holder, key)` done at one place."""
    holder = planted = copy.deepcopy(manifest)
    for key in place[:-1]:
        holder = holder[key]
    change(holder, place[-1])
    return planted


@KINDS
def test_every_key_with_a_typo_in_it_is_refused(where):
    manifest = rendered(**where)

    def rename(holder, key):
        holder[f'{key}s'] = holder.pop(key)

    keys = [place for place in places(manifest) if isinstance(place[-1], str)]
    keys = [place for place in keys if not set(place[:-1]) & set(FREE_FORM)]
    assert len(keys) > 40
    kept = [place for place in keys if valid(changed(manifest, place, rename))]
    assert not kept


@KINDS
def test_every_value_of_another_type_is_refused(where):
    manifest = rendered(**where)

    def retype(holder, key):
        holder[key] = 7 if isinstance(holder[key], str | bool | dict | list) else 'seven'

    kept = [place for place in places(manifest) if valid(changed(manifest, place, retype))]
    assert not kept


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        (['apiVersion'], 'jobset.x-k8s.io/v1alpha1'),
        (['spec', 'failurePolicy', 'rules', 0, 'action'], 'RestartJobset'),
        (['spec', 'failurePolicy', 'rules', 0, 'onJobFailureReasons', 0], 'PodFailurePolicies'),
        (['spec', 'failurePolicy', 'maxRestarts'], -1),
    ],
)
def test_wrong_words_are_refused(place, value):
    def put(holder, key):
        holder[key] = value

    assert not valid(changed(rendered(**GPUS), place, put))


def test_what_the_api_server_demands_beyond_the_schema():
    """Exit codes in order, none twice, 0 not among those of In; as many pods as hosts."""
    job = job_of(rendered(**GPUS))
    for rule in job['podFailurePolicy']['rules']:
        values = rule.get('onExitCodes', {}).get('values', [1])
        assert values == sorted(set(values)) and 0 not in values
    assert job['completions'] == job['parallelism'] == 2
    names = {each['name'] for each in job['template']['spec']['containers']}
    assert {
        r['onExitCodes']['containerName'] for r in job['podFailurePolicy']['rules'][1:]
    } <= names


def action_of(manifest, code, *, disrupted=False):
    """What becomes of the set when one pod fails, as the two controllers are documented."""
    reason, message = 'BackoffLimitExceeded', 'Job has reached the specified backoff limit'
    for place, rule in enumerate(job_of(manifest)['podFailurePolicy']['rules']):
        codes = rule.get('onExitCodes')
        inside = codes and code in codes['values']
        fits = disrupted if codes is None else inside == (codes['operator'] == 'In')
        if fits:
            assert rule['action'] == 'FailJob'
            reason = 'PodFailurePolicy'
            what = f'failed with exit code {code}' if codes else 'has condition DisruptionTarget'
            message = (
                f'Container jaxdl for pod default/x {what} matching FailJob rule at index {place}'
            )
            break
    for rule in manifest['spec']['failurePolicy']['rules']:
        patterns = rule['onJobFailureMessagePatterns']
        if reason in rule['onJobFailureReasons'] and any(re.search(p, message) for p in patterns):
            return rule['action']
    return 'RestartJobSet'


@KINDS
def test_exit_codes_come_to_what_the_policy_says(where):
    manifest = rendered(**where)
    wanted = {
        Kind.PREEMPTED: 'RestartJobSetAndIgnoreMaxRestarts',
        Kind.LOST: 'RestartJobSet',
        Kind.FINAL: 'FailJobSet',
    }
    for code in range(1, 256):
        assert action_of(manifest, code) == wanted[kind_of(code)], code
        # The machine was taken away, in whatever the pod was doing.
        assert action_of(manifest, code, disrupted=True) == 'RestartJobSetAndIgnoreMaxRestarts'


def test_ranks_find_each_other_by_the_name_of_the_first_pod():
    container = job_of(rendered(**GPUS))['template']['spec']['containers'][0]
    told = {each['name']: each.get('value', each.get('valueFrom')) for each in container['env']}
    assert told['JAXDL_COORDINATOR'] == 'digits-rank-0-0.digits:8476'
    assert told['JAXDL_PROCESSES'] == '2'
    path = told['JAXDL_PROCESS']['fieldRef']['fieldPath']
    assert path == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    alone = job_of(rendered(gpus=1))['template']['spec']['containers'][0]['env']
    assert [each['name'] for each in alone] == ['PYTHONUNBUFFERED']


@pytest.mark.parametrize(
    ('tpu', 'topology', 'hosts', 'each'),
    [
        ('tpu-v5-lite-podslice', '1x1', 1, '1'),
        ('tpu-v5-lite-podslice', '2x2', 1, '4'),
        ('tpu-v5-lite-podslice', '16x16', 64, '4'),
        ('tpu-v4-podslice', '2x2x2', 2, '4'),
        ('tpu-v6e-slice', '4x8', 8, '4'),
    ],
)
def test_a_topology_has_its_hosts_and_each_its_chips(tpu, topology, hosts, each):
    job = job_of(rendered(tpu=tpu, topology=topology))
    pod = job['template']['spec']
    assert job['completions'] == hosts
    assert pod['containers'][0]['resources']['limits'] == {'google.com/tpu': each}
    selector = pod['nodeSelector']
    assert selector['cloud.google.com/gke-tpu-accelerator'] == tpu
    assert selector['cloud.google.com/gke-tpu-topology'] == topology


@pytest.mark.parametrize(
    ('where', 'said'),
    [
        ({'tpu': 'tpu-v5-lite-podslic', 'topology': '4x4'}, "mean 'tpu-v5-lite-podslice'"),
        ({'tpu': 'tpu-v5p-slice', 'topology': '4x4'}, 'tpu-v5p-slice has 3 axes, as in 4x4x4'),
        ({'tpu': 'tpu-v6e-slice', 'topology': '3x3'}, '9 chips are no hosts of 4'),
        ({'tpu': 'tpu-v6e-slice'}, '--tpu and --topology belong together'),
        ({**TPUS, 'gpus': 8}, 'and GPUs: one or the other'),
    ],
)
def test_what_cannot_be_is_refused(where, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        rendered(**where)
    with pytest.raises(UsageError, match="--name 'Digits'"):
        jobset(RUN, name='Digits', image='x')


def test_the_command_line_prints_it(capsys):
    words = ['--name', 'digits', '--image', 'x', '--hosts', '2', '--gpus', '8', '--', *RUN]
    assert main(words) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert valid(printed) and printed == jobset(RUN, name='digits', image='x', hosts=2, gpus=8)
    words = [sys.executable, '-m', 'launch.kubernetes.render', '--image', 'x', '--', *RUN]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'launch.kubernetes.render: the following arguments are required: --name\n'
