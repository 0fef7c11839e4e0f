"""TPU pods: the commands of gcloud, in their order, by one that writes down what it is asked."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from jobset_schema import record

from jaxdl.errors import JaxdlError, UsageError
from launch.policy import PEER_LOST, PREEMPTED
from launch.tpu import gcloud, pod, queue
from launch.tpu.gcloud import Pod

ROOT = Path(__file__).parents[2]
POD = Pod('mine', 'us-x1-a', 'v5litepod-16', spot=True, share='10.0.0.2:/runs')
RUN = ['jaxdl', 'run', 'digits', '--distributed']

# Answers of `describe` and of runs are taken from files, a line for each time it is asked.
FAKE = r"""#!/bin/bash
echo "$(basename "$0") $*" >> "$FAKE/calls"
answer() { head -n 1 "$FAKE/$1"; sed -i 1d "$FAKE/$1"; }
case "$*" in
    *describe*) answer states ;;
    *'left with'*)
        told=$(answer codes)
        for code in $told; do
            case $code in lost) exit 255 ;; *) echo "hello"; echo "launch: left with $code" ;; esac
        done ;;
    *scp*) exit "${SCP:-0}" ;;
esac
"""


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """The folder of the fake: what it is to answer, and what it was asked."""
    places = tmp_path / 'bin'
    places.mkdir()
    for name in ('gcloud', 'git', 'tar'):
        (places / name).write_text(FAKE)
        (places / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{places}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('FAKE', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(folder):
    """What was done, in words: the last part of each gcloud command before its options."""
    steps = []
    for line in (folder / 'calls').read_text().splitlines():
        found = re.search(r'(queued-resources|tpu-vm) (\w+)', line)
        step = f'{found[1]} {found[2]}' if found else line.split()[0]
        steps.append('run' if 'left with' in line else 'install' if '.[tpu]' in line else step)
    return steps


INSTALL = ['git', 'tpu-vm scp', 'install']
FETCH = ['tpu-vm ssh', 'tpu-vm scp', 'tar']


def test_a_pod_that_is_taken_away_is_asked_for_again_until_the_run_is_done(cloud):
    (cloud / 'states').write_text(
        'WAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE\nSUSPENDED\nSUSPENDED\nACTIVE\nACTIVE\n'
    )
    (cloud / 'codes').write_text('75 75 lost\n0 0 0\n')
    assert queue.run_queued(POD, RUN, to=str(cloud / 'here'), look=0) == 0
    describe, once = 'queued-resources describe', ['queued-resources create']
    assert [step for step in asked(cloud) if step != describe] == [
        *once, *INSTALL, 'run', 'queued-resources delete',
        *once, *INSTALL, 'run', *FETCH, 'queued-resources delete',
    ]  # fmt: skip
    assert (cloud / 'here').is_dir()


def test_on_a_pod_that_stands_a_run_is_started_again_three_times(cloud):
    (cloud / 'states').write_text('ACTIVE\n' * 9)
    (cloud / 'codes').write_text('75 75\n' * 9)
    assert queue.run_queued(POD, RUN, to='.', look=0) == 75
    assert asked(cloud).count('run') == 4 and asked(cloud)[-1] == 'queued-resources delete'
    assert 'tpu-vm ssh' not in asked(cloud)  # nothing is fetched of what is not done


def test_an_error_ends_it_and_the_pod_is_removed(cloud):
    (cloud / 'states').write_text('ACTIVE\n')
    (cloud / 'codes').write_text('76 2 76\n')
    assert queue.run_queued(POD, RUN, to='.', look=0) == 2
    assert asked(cloud).count('run') == 1 and asked(cloud)[-1] == 'queued-resources delete'


def test_what_never_becomes_active_is_said(cloud):
    (cloud / 'states').write_text('FAILED\n')
    with pytest.raises(UsageError, match='mine: FAILED, and never active; see gcloud compute'):
        queue.run_queued(POD, RUN, to='.', look=0)


@pytest.mark.parametrize(
    ('codes', 'one'), [('0 0', 0), ('75 75', PREEMPTED), ('0 lost', PEER_LOST), ('lost', PEER_LOST)]
)
def test_hosts_say_their_codes_and_a_lost_connection_is_a_lost_peer(cloud, capfd, codes, one):
    (cloud / 'codes').write_text(f'{codes}\n')
    assert pod.run_on_all(gcloud.run(POD, RUN)) == one
    assert capfd.readouterr().out.count('hello') == codes.count('0') + codes.count('75')


def test_a_command_that_fails_ends_it(cloud, monkeypatch):
    monkeypatch.setenv('SCP', '3')
    with pytest.raises(JaxdlError, match='scp .* failed with 3'):
        pod.main(['create', 'mine', '--zone=z', '--type=v6e-8'])
    assert asked(cloud) == ['tpu-vm create', 'git', 'tpu-vm scp']


def test_what_runs_on_hosts_is_a_line_of_shell(tmp_path):
    """The host's line is run here, in a home of its own, with a jaxdl that leaves with 76."""
    bin_ = tmp_path / gcloud.TREE / '.venv' / 'bin'
    bin_.mkdir(parents=True)
    (bin_ / 'jaxdl').write_text('#!/bin/bash\nprintf "%s|" "$@"\nexit 76\n')
    (bin_ / 'jaxdl').chmod(0o755)
    line = gcloud.run(POD, ['jaxdl', 'run', "it's", '--workdir', 'a b'])[-1]
    done = subprocess.run(
        ['bash', '-c', line.removeprefix('--command=')],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "run|it's|--workdir|a b|launch: left with 76\n", done.stderr
    for words in gcloud.install(POD) + gcloud.fetch(POD, 'runs/x', '.'):
        lines = [word.removeprefix('--command=') for word in words if 'command=' in word]
        for line in lines:
            subprocess.run(['bash', '-n', '-c', line], check=True)


def test_an_installation_that_fails_is_not_taken_for_done(tmp_path):
    line = gcloud.install(POD)[-1][-1].removeprefix('--command=')
    # No archive is there: nothing after that may be tried, and the line fails.
    done = subprocess.run(['bash', '-c', line], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and 'pip' not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [gcloud.TREE]


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['rn'], "unknown step 'rn'; did you mean 'run'"),
        (['create', 'x', '--zone=z', '--type=v5litpod-16'], "did you mean 'v5litepod-16'"),
        (['create', 'x', '--zone=z'], "unknown type ''"),
        (['run', 'x', '--zone=z'], 'no command; it stands behind --'),
        (['fetch', 'x', '--zone=z', '--', 'ls'], 'ls: no run folder'),
        (['delete', 'x'], 'the following arguments are required: --zone'),
    ],
)
def test_mistakes_are_said(cloud, words, said):
    with pytest.raises(UsageError) as error:
        pod.main(words)
    assert said in str(error.value) and '\n' not in str(error.value)
    assert not (cloud / 'calls').exists()


def test_dry_runs_print_the_commands_and_run_none(cloud, capsys):
    words = ['mine', '--zone=z', '--type=v4-16', '--share=h:/p', '--dry-run', '--', *RUN]
    assert queue.main(words) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    tools = [line[0] for line in lines]
    assert tools == [*['gcloud'] * 2, 'git', *['gcloud'] * 5, 'mkdir', 'tar', 'gcloud']
    assert '--runtime-version=tpu-ubuntu2204-base' in lines[0]
    with pytest.raises(UsageError, match='--share: without a folder'):
        queue.main(['mine', '--zone=z', '--type=v4-16', '--', *RUN])
    assert not (cloud / 'calls').exists()


def test_without_gcloud_it_is_one_line(tmp_path):
    words = [sys.executable, '-m', 'launch.tpu.pod', 'delete', 'x', '--zone=z']
    environment = {**os.environ, 'PATH': str(tmp_path)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'launch.tpu.pod: gcloud not found: cloud.google.com/sdk has gcloud\n'


# --- SkyPilot ---

TEXT, NUMBER = {'type': 'string'}, {'type': 'integer', 'minimum': 0}
SKY = record(
    'resources',
    'run',
    name=TEXT,
    workdir=TEXT,
    num_nodes=NUMBER,
    setup=TEXT,
    run=TEXT,
    envs={'type': 'object', 'additionalProperties': TEXT},
    file_mounts={
        'type': 'object',
        'additionalProperties': record(
            'source', source=TEXT, mode={'enum': ['MOUNT', 'COPY', 'MOUNT_CACHED']}
        ),
    },
    resources=record(
        'accelerators',
        accelerators=TEXT,
        use_spot={'type': 'boolean'},
        job_recovery=record(
            strategy={'enum': ['FAILOVER', 'EAGER_NEXT_REGION']},
            max_restarts_on_errors=NUMBER,
            recover_on_exit_codes={'type': 'array', 'items': NUMBER},
        ),
    ),
)


@pytest.fixture(scope='module')
def sky():
    return yaml.safe_load((ROOT / 'launch' / 'tpu' / 'sky.yaml').read_text())


def test_the_skypilot_task_has_only_keys_that_are_known(sky):
    jsonschema.validate(sky, SKY)
    assert sky['resources']['job_recovery']['recover_on_exit_codes'] == [PREEMPTED, PEER_LOST]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**sky, 'num_node': 1}, SKY)
    for part in ('setup', 'run'):
        subprocess.run(['bash', '-n', '-c', sky[part]], check=True)


@pytest.mark.parametrize('hosts', [1, 2])
def test_skypilots_hosts_become_ranks(sky, tmp_path, hosts):
    ips = '\n'.join(f'10.0.0.{i + 1}' for i in range(hosts))
    environment = {'PATH': os.environ['PATH'], 'SKYPILOT_NODE_IPS': ips, 'SKYPILOT_NODE_RANK': '1'}
    done = subprocess.run(
        ['bash', '-c', sky['run']],
        env={**environment, 'COMMAND': 'env'},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    told = dict(re.findall(r'^(JAXDL_\w+)=(.*)$', done.stdout, re.MULTILINE))
    two = {'COORDINATOR': '10.0.0.1:8476', 'PROCESSES': '2', 'PROCESS': '1'}
    assert told == ({f'JAXDL_{name}': value for name, value in two.items()} if hosts > 1 else {})


@pytest.mark.parametrize('path', sorted((ROOT / 'launch').rglob('*.s[bh]*')), ids=lambda p: p.name)
def test_shell_scripts_are_shell(path):
    subprocess.run(['bash', '-n', str(path)], check=True)
    if shutil.which('shellcheck'):
        done = subprocess.run(['shellcheck', str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
