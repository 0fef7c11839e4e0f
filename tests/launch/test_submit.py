"""What is handed to SLURM, put together afterwards, put back into the queue; without a cluster."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jaxdl.errors import JaxdlError, UsageError
from launch.slurm import cluster_of_one, submit
from launch.slurm.gather import gather, part_of
from launch.slurm.requeue import requeue
from launch.slurm.submit import JOB, array_parameters, main, node_command, plan_tasks

ROOT = Path(__file__).parents[2]


def described(tuned=False, seeds=(0, 1, 2, 3, 4)):
    more = {'chosen': None} if tuned else {}
    return {'arms': {arm: {'seeds': list(seeds), **more} for arm in ('lenet', 'mlp')}}


def told(tasks):
    """(arm, first seed, how many, run folder) of each task, as jaxdl reads them."""
    words = [dict(zip(t.command, t.command[1:], strict=False)) for t in tasks]
    return [(w['--arm'], w['--first-seed'], w['--seeds'], w['--workdir']) for w in words]


def finished(folder, seeds):
    """A folder as jaxdl leaves it when an arm is done."""
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps({'seeds': list(seeds)}))
    (folder / 'DONE').touch()


def test_arms_and_lots_of_seeds_become_tasks_with_folders_of_their_own(tmp_path):
    tasks = plan_tasks(
        described(), name='digits', folder=tmp_path, seeds_each=2, more=['--lr', '1']
    )
    lots = [('0', '2', '0-1'), ('2', '2', '2-3'), ('4', '1', '4-4')]
    assert told(tasks) == [
        (arm, first, count, str(tmp_path / 'parts' / f'{arm}.{name}'))
        for arm in ('lenet', 'mlp')
        for first, count, name in lots
    ]
    assert all(task.command[-2:] == ('--lr', '1') for task in tasks)
    assert len({task.watch for task in tasks}) == 6
    whole = plan_tasks(described(), name='digits', folder=tmp_path)
    assert [each[1:3] for each in told(whole)] == [('0', '5'), ('0', '5')]


def test_seeds_that_are_done_are_not_asked_for_again(tmp_path):
    finished(tmp_path / 'lenet', [0, 1])
    finished(tmp_path / 'lenet' / 'seeds' / '3-3', [3])
    finished(tmp_path / 'mlp', range(5))
    tasks = plan_tasks(described(), name='digits', folder=tmp_path, seeds_each=3)
    assert [each[:3] for each in told(tasks)] == [('lenet', '2', '1'), ('lenet', '4', '1')]


def test_tuned_arms_are_not_tuned_once_for_each_lot(tmp_path):
    with pytest.raises(UsageError, match='lenet is tuned'):
        plan_tasks(described(tuned=True), name='digits', folder=tmp_path, seeds_each=2)
    assert len(plan_tasks(described(tuned=True), name='digits', folder=tmp_path)) == 2
    finished(tmp_path / 'lenet', [0, 1])
    with pytest.raises(UsageError, match='lenet is tuned there, which a task for more seeds'):
        plan_tasks(described(tuned=True), name='digits', folder=tmp_path)


def test_parts_come_together_as_one_command_would_have_left_them(tmp_path):
    parts = tmp_path / 'parts'
    for arm, seeds in (('a', [0, 1]), ('a', [2, 3]), ('b', [10, 11])):
        finished(parts / part_of(arm, seeds) / arm, seeds)
    (parts / 'a.0-1' / 'tuning' / 'a').mkdir(parents=True)
    (parts / 'a.4-5' / 'a').mkdir(parents=True)  # still runs
    assert gather(parts, tmp_path) == [parts / 'a.4-5']
    seeds = {
        str(path.parent.relative_to(tmp_path)): json.loads(path.read_text())['seeds']
        for path in tmp_path.glob('[ab]/**/config.json')
    }
    assert seeds == {'a': [0, 1], 'a/seeds/2-3': [2, 3], 'b': [10, 11]}
    assert (tmp_path / 'tuning' / 'a').is_dir()
    finished(parts / 'a.4-5' / 'late', [4, 5])
    (parts / 'a.4-5' / 'a' / 'DONE').touch()
    assert gather(parts, tmp_path) == []
    assert (tmp_path / 'a' / 'seeds' / '4-5' / 'DONE').exists()


def test_the_same_seeds_twice_are_refused_and_nothing_is_overwritten(tmp_path):
    finished(tmp_path / 'a', [0])
    finished(tmp_path / 'a' / 'seeds' / '1-1', [1])
    finished(tmp_path / 'parts' / 'a.1-1' / 'a', [1])
    with pytest.raises(UsageError, match='is there already'):
        gather(tmp_path / 'parts', tmp_path)
    assert (tmp_path / 'parts' / 'a.1-1' / 'a' / 'DONE').exists()


def saved(folder, step):
    digests = folder / 'arm' / 'checkpoints' / 'digests'
    digests.mkdir(parents=True, exist_ok=True)
    (digests / str(step)).touch()


def test_a_job_goes_back_as_often_as_it_makes_progress_and_three_times_else(tmp_path):
    asked, said = [], []

    def leave(code, *received, job='7_1'):
        return requeue(
            code,
            job=job,
            watch=tmp_path,
            received=received,
            say=said.append,
            again=lambda job: asked.append(job) or True,
        )

    for step in range(1, 8):
        saved(tmp_path, step)
        assert leave(75, 'SIGUSR2')
    assert asked == ['7_1'] * 7
    assert [leave(75, 'SIGUSR2') for _ in range(3)] == [True, True, False]
    assert '3 restarts made no progress' in said[-1]
    assert not list(tmp_path.glob('.requeued-*'))  # submitted again, it starts afresh
    assert not leave(2) and not leave(0) and not leave(78)
    # SLURM's own end of a job is not contradicted, whatever it left with.
    assert not leave(75, 'SIGUSR2', 'SIGTERM')
    assert 'for SLURM to say' in said[-1]


def test_jobs_of_several_nodes_are_the_template_with_options_in_front(capsys, monkeypatch):
    monkeypatch.setattr(submit, 'describe', lambda words: described())  # takes seconds
    script = JOB.read_text()
    assert '#SBATCH --signal=B:USR1@' in script and '#SBATCH --requeue' in script
    words = ['digits', '--nodes', '4', '--gpus', '8', '--mem', '32G', '--dry-run', '--']
    assert main([*words, '--no-tune']) == 0
    printed = capsys.readouterr().out.split()
    at = printed.index(str(JOB))
    assert printed[0] == 'sbatch' and {'--nodes=4', '--gpus-per-node=8', '--mem=32G'} <= {
        *printed[:at]
    }
    assert printed[at + 1 :] == [
        *(sys.executable, '-m', 'jaxdl.cli.main', 'run', 'digits'),
        *('--workdir', 'runs/digits', '--distributed', '--no-tune'),
    ]


def test_the_array_is_what_submitit_takes(tmp_path, monkeypatch):
    """The parameters go through submitit's own check of them, which writes the job file."""
    submitit = pytest.importorskip('submitit')
    from launch.slurm.submit import _parser

    monkeypatch.setattr(submitit.SlurmExecutor, 'affinity', classmethod(lambda cls: 2))
    options = _parser().parse_args(['digits', '--gpus', '2', '--mem', '8G', '--time', '90'])
    executor = submitit.SlurmExecutor(tmp_path, python='python')
    executor.update_parameters(**array_parameters(options))
    lines = executor._make_submission_file_text('python -m x', 'uid').splitlines()
    wanted = ['--requeue', '--signal=USR2@120', '--time=90', '--gpus-per-node=2', '--mem=8G']
    assert {f'#SBATCH {each}' for each in wanted} <= set(lines)
    assert node_command(options, [])[:3] == ['sbatch', '--parsable', '--job-name=digits']


@pytest.mark.parametrize(
    ('words', 'code', 'said'),
    [
        (['digitz'], 2, "unknown experiment 'digitz'; did you mean 'digits'"),
        pytest.param(
            *(['digits', '--seeds-each', '2'], 2, 'lenet is tuned, which each task would do again'),
            marks=pytest.mark.slow,  # loads the study
        ),
        (['digits', '--nodes', '2', '--seeds-each', '2'], 2, '--seeds-each shares seeds'),
        (['digits', '--gpu', '2'], 2, "--gpu; did you mean '--gpus'"),
    ],
)
def test_mistakes_are_found_before_anything_waits(words, code, said):
    command = [sys.executable, '-m', 'launch.slurm.submit', *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code and done.stdout == ''
    assert said in done.stderr and done.stderr.count('\n') == 1


def test_a_machine_that_cannot_be_a_cluster_says_what_it_lacks(monkeypatch):
    monkeypatch.setattr(cluster_of_one.shutil, 'which', lambda name, path=None: f'/x/{name}')
    monkeypatch.setattr(cluster_of_one.os, 'geteuid', lambda: 1000)
    with pytest.raises(UsageError, match='no cluster here: slurmd starts jobs as root only'):
        cluster_of_one.main(['--', 'sinfo'])
    monkeypatch.setattr(
        cluster_of_one.shutil, 'which', lambda name, path=None: None if 'd' in name else name
    )
    with pytest.raises(UsageError, match='munged, slurmctld, slurmd not found; on Debian: apt-get'):
        cluster_of_one.main(['--', 'sinfo'])


def test_an_array_needs_a_cluster_and_what_slurm_refuses_is_one_line(tmp_path, monkeypatch):
    options = submit._parser().parse_args(['far/digits.py'])
    tasks = plan_tasks(described(), name='digits', folder=tmp_path)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UsageError, match='srun not found'):
        submit.submit_array(tasks, tmp_path, options)
    for name, said in {
        'srun': '',
        'sbatch': 'sbatch: error: invalid partition specified: x',
    }.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
        (tmp_path / name).chmod(0o755)
    with pytest.raises(JaxdlError) as refused:
        submit.submit_array(tasks, tmp_path, options)
    assert str(refused.value) == (
        'SLURM refuses the job: sbatch: error: invalid partition specified: x'
    )
    assert refused.value.code == 1 and array_parameters(options)['job_name'] == 'digits'
