"""Jobs on a real slurmctld with two real slurmd: warned, preempted, lost, cancelled, requeued.

What is printed by a job stands in its log; the time is SLURM's: a requeued job waits ten seconds.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxdl.checkpoint.manager import load_weights
from launch.progress import progress_of
from launch.slurm.cluster_of_one import asked, cluster, missing

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(missing() is not None, reason=f'no cluster here: {missing()}'),
]
ROOT = Path(__file__).parents[2]
RANK = ROOT / 'tests' / 'launch' / 'fake_rank.py'
JOB = ROOT / 'launch' / 'slurm' / 'job.sbatch'


@pytest.fixture(scope='module')
def slurm():
    """The environment of the cluster."""
    with cluster(cpus=8) as environment:
        paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
        environment['PYTHONPATH'] = os.pathsep.join(filter(None, paths))
        environment['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{environment["PATH"]}'
        # Tests simulate devices; jobs have those of the machine.
        environment.pop('XLA_FLAGS', None)
        yield environment


class Job:
    """A job of two nodes, with a rank on each that leaves as jaxdl does."""

    def __init__(self, slurm, folder, codes, options=()):
        folder.mkdir()
        self.slurm, self.folder = slurm, folder
        words = ['sbatch', '--parsable', '--nodes=2', f'--output={folder}/log']
        words += [*options, str(JOB)]
        words += [sys.executable, str(RANK), str(folder), *codes, '--workdir', str(folder)]
        self.id = asked(words, slurm).strip()
        assert self.id

    def started(self, times=1):
        """Wait until both ranks have started so many times."""
        ranks = [self.folder / f'starts-{rank}' for rank in (0, 1)]

        def there():
            return all(path.exists() and path.read_text() == str(times) for path in ranks)

        wait_until(there, lambda: f'{times} starts of {shown(self.id, self.slurm)}')
        time.sleep(0.3)  # what it prints comes behind that file

    def ended(self):
        """(state, exit code, restarts) once it has ended for good, and what it said."""
        found = {}

        def over():
            found.update(shown(self.id, self.slurm))
            return found['JobState'] in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT')

        wait_until(over, lambda: f'{found}\n{self.log()}')
        return found['JobState'], found['ExitCode'], int(found['Restarts'])

    def log(self):
        path = self.folder / 'log'
        return path.read_text() if path.exists() else 'no log'

    def told(self):
        return [(self.folder / f'told-{rank}').read_text() for rank in (0, 1)]


def shown(job, slurm):
    """What SLURM knows of a job."""
    return dict(re.findall(r'(\w+)=(\S*)', asked(['scontrol', 'show', 'job', '-o', job], slurm)))


def wait_until(there, what, seconds=120):
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until, what()
        time.sleep(0.1)


def test_two_nodes_warned_lost_preempted_cancelled_or_wrong(slurm, tmp_path):
    """All of it at a time, for a requeued job waits."""
    # SLURM looks at times now and then, and may warn earlier than it was asked to.
    timed = Job(slurm, tmp_path / 'timed', ['75+', '0'], ['--time=1', '--signal=B:USR1@30'])
    jobs = {
        name: Job(slurm, tmp_path / name, codes)
        for name, codes in {
            'warned': ['75+', '0'],
            'lost': ['1:-9', '0'],
            'wrong': ['2'],
            'preempted': ['75+', '0'],
            'cancelled': ['75+'],
            'stuck': ['=76'],
        }.items()
    }
    signals = {
        'warned': ['scancel', '--batch', '--signal=USR1'],  # as --signal=B:USR1@120 does
        'preempted': ['scontrol', 'requeue'],  # as another job's preemption does
        'cancelled': ['scancel'],
    }
    for name, words in signals.items():
        jobs[name].started()
        asked([*words, jobs[name].id], slurm)

    assert jobs['wrong'].ended() == ('FAILED', '2:0', 0)
    assert 'exit code 2: not started again' in jobs['wrong'].log()

    assert jobs['warned'].ended() == ('COMPLETED', '0:0', 1)
    assert jobs['warned'].told() == ['SIGUSR1', 'SIGUSR1']
    assert 'exit code 75, preempted and saved: started again at once' in jobs['warned'].log()
    assert {'0: start 1', '1: start 1'} <= {x[:10] for x in jobs['warned'].log().splitlines()}

    assert jobs['lost'].ended() == ('COMPLETED', '0:0', 1)
    assert 'exit code 137, a process was lost: started again in 1 s' in jobs['lost'].log()

    assert jobs['preempted'].ended() == ('COMPLETED', '0:0', 1)
    assert all(told.startswith('SIGTERM') for told in jobs['preempted'].told())
    assert 'whether it comes back is for SLURM to say' in jobs['preempted'].log()

    state, _, restarts = jobs['cancelled'].ended()
    assert (state, restarts) == ('CANCELLED', 0)
    assert (jobs['cancelled'].folder / 'starts-0').read_text() == '1'

    assert timed.ended() == ('COMPLETED', '0:0', 1)
    assert timed.told() == ['SIGUSR1', 'SIGUSR1']

    jobs['stuck'].started(4)
    assert jobs['stuck'].ended() == ('FAILED', '76:0', 3)
    assert '3 restarts made no progress' in jobs['stuck'].log()


def test_a_study_as_an_array_preempted_ends_as_undisturbed(slurm, tmp_path):
    """Two arms, two lots of seeds each; one task is warned, another is preempted by SLURM."""
    shutil.copy(Path(__file__).parent / 'study.py', tmp_path)
    submit = [sys.executable, '-m', 'launch.slurm.submit', 'study.py', '--seeds-each', '2']
    submit += ['--cpus', '1', '--time', '60', '--', '--no-tensorboard', '--layout', 'vmap']
    done = subprocess.run(submit, cwd=tmp_path, env=slurm, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    array, answer = re.search(r'array (\d+), .* then (\d+) answers', done.stdout).groups()
    parts = tmp_path / 'runs' / 'study' / 'parts'
    ways = {
        'narrow.0-1': ['scancel', '--signal=USR2', f'{array}_0'],  # as --signal=USR2@120 does
        'wide.2-3': ['scontrol', 'requeue', f'{array}_3'],
    }
    for part, words in ways.items():
        wait_until(
            lambda part=part: progress_of(parts / part).saved > 0,
            lambda: asked(['squeue'], slurm) + logs(tmp_path),
        )
        assert progress_of(parts / part).done == 0
        subprocess.run(words, env=slurm, check=True)
    wait_until(
        lambda: shown(answer, slurm)['JobState'] in ('COMPLETED', 'FAILED'),
        lambda: asked(['squeue'], slurm) + logs(tmp_path),
        seconds=400,
    )
    assert shown(answer, slurm)['JobState'] == 'COMPLETED', logs(tmp_path)
    assert shown(f'{array}_0', slurm)['Restarts'] == '1', logs(tmp_path)
    assert shown(f'{array}_3', slurm)['Restarts'] == '1', logs(tmp_path)

    # Undisturbed, the same lots: two seeds, then two more.
    jaxdl = [sys.executable, '-m', 'jaxdl.cli.main', 'run', 'study.py', '--no-tensorboard']
    jaxdl += ['--layout', 'vmap']
    for seeds in ('2', '4'):
        words = [*jaxdl, '--seeds', seeds, '--workdir', 'still']
        subprocess.run(words, cwd=tmp_path, env=slurm, check=True, capture_output=True)
    result = json.loads((tmp_path / 'runs' / 'study' / 'result.json').read_text())
    still = json.loads((tmp_path / 'still' / 'result.json').read_text())
    assert result['seeds'] == [0, 1, 2, 3]
    for arm in ('narrow', 'wide'):
        assert result['arms'][arm]['metrics'] == still['arms'][arm]['metrics']
        for lot in ('', 'seeds/2-3'):
            ours, its = (tmp_path / run / arm / lot for run in ('runs/study', 'still'))
            assert leaves(ours) == leaves(its)
    assert result['claims'] == still['claims']
    starts = json.loads((tmp_path / 'runs/study/narrow/env.json').read_text())['starts']
    assert len(starts) == 2

    # One command finds everything done, in the folder that was put together.
    words = [*jaxdl, '--seeds', '4']
    again = subprocess.run(words, cwd=tmp_path, env=slurm, capture_output=True, text=True)
    assert again.returncode == 0 and 'compiling' not in again.stdout + again.stderr


def test_one_run_over_two_nodes_finds_its_ranks_and_goes_on_after_a_warning(slurm, tmp_path):
    """jax asks SLURM who the ranks are; warned in the middle, it ends as another that was not."""
    pytest.importorskip('jaxdl.processes')
    shutil.copy(Path(__file__).parent / 'study.py', tmp_path)
    run = [sys.executable, '-m', 'jaxdl.cli.main', 'run', 'study.py', '--distributed']
    run += ['--arm', 'narrow', '--seeds', '1', '--layout', 'data=2', '--no-tensorboard']
    run += ['--steps', '1500']
    ids = {}
    for name in ('warned', 'still'):
        words = ['sbatch', '--parsable', '--nodes=2', f'--output={tmp_path}/{name}.log']
        words += [f'--chdir={tmp_path}', str(JOB), *run, '--workdir', str(tmp_path / name)]
        ids[name] = asked(words, {**slurm, 'JAX_PLATFORMS': 'cpu'}).strip()

    def said():
        return '\n'.join(path.read_text()[-3000:] for path in tmp_path.glob('*.log'))

    wait_until(lambda: progress_of(tmp_path / 'warned').saved > 0, said, seconds=200)
    assert progress_of(tmp_path / 'warned').done == 0
    asked(['scancel', '--batch', '--signal=USR1', ids['warned']], slurm)
    for name, restarts in (('warned', '1'), ('still', '0')):
        found = {}

        def over(name=name, found=found):
            found.update(shown(ids[name], slurm))
            return found['JobState'] in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT')

        wait_until(over, said, seconds=400)
        assert (found['JobState'], found['Restarts']) == ('COMPLETED', restarts), said()
    assert leaves(tmp_path / 'warned' / 'narrow') == leaves(tmp_path / 'still' / 'narrow')


def leaves(folder):
    """The bytes of every array of an arm's last checkpoint, and its step."""
    saved = load_weights(folder / 'checkpoints', say=lambda line: None)
    return saved.step, [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(saved.state)]


def logs(folder):
    """What tasks of an array printed."""
    paths = sorted((folder / 'runs' / 'study' / 'slurm').glob('*.out'))
    return '\n'.join(f'{path.name}: {path.read_text()[-3000:]}' for path in paths)
