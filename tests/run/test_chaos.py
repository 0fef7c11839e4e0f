"""The soak `make chaos`: what it does to a run, how it judges, and a history of each kind."""

import random
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from chaos.__main__ import soak
from chaos.injections import DAMAGES, DISTURBANCES, is_early
from chaos.judge import difference, fault_of_end, seconds_of_training
from chaos.tally import Tally

from jaxdl.checkpoint.manager import Checkpoints
from jaxdl.files import write_arrays, write_json
from jaxdl.run.record import Record


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A folder of a finished run, as small as can be: runs/five with one arm."""
    run = tmp_path_factory.mktemp('whole') / 'five'
    arm = run / 'ragged'
    with Record(arm, title='', seeds=[0], steps=3, tensorboard=False) as record:
        for name in ('config.json', 'env.json', 'identity.json', 'numbers.json'):
            write_json(arm / name, {'a': 1})
        with Checkpoints(arm / 'checkpoints') as checkpoints:
            for step in (1, 2, 3):
                values = {'loss': [1 / step]}
                record.metrics(step, phase=0, seconds=2.0 * step, values=values, ends=step == 3)
                checkpoints.save({'w': np.arange(4.0) * step}, step=step, phase=0)
        write_arrays(arm / 'arrays.npz', {'a': np.arange(3)})
        record.done({'seconds': 6.0, 'metrics': {'loss': [1 / 3]}})
    write_json(run / 'result.json', {'study': 'five', 'seeds': [0], 'arms': {}, 'claims': []})
    return run


@pytest.mark.parametrize('name', DAMAGES)
def test_damages_change_files_and_depend_on_the_seed_alone(name, whole, tmp_path):
    assert DAMAGES[name](tmp_path / 'none', random.Random(0)) == ''
    found = []
    for case in range(2):
        run = tmp_path / str(case)
        shutil.copytree(whole, run)
        assert DAMAGES[name](run / 'ragged', random.Random(5))
        found.append(contents(run))
    assert found[0] == found[1] != contents(whole)


def test_signals_reach_a_process_and_come_early_before_it_heeds_them():
    words = [sys.executable, '-c', 'import sys; print(flush=True); sys.stdin.read()']
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
    for name, disturbance in DISTURBANCES.items():
        if name.startswith('SIG') and disturbance.codes:
            with subprocess.Popen(words, stderr=subprocess.DEVNULL, **pipes) as process:
                assert process.stdout.readline()
                assert is_early(process)
                disturbance.do(process, random.Random(0))
                assert process.wait(20)
                assert not is_early(process)


def test_limits_stand_for_good_or_are_lifted_again(monkeypatch):
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)
    words = [sys.executable, '-c', 'import sys; sys.stdin.read()']
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        for name, kind in (('full disk', 'FSIZE'), ('lost handles', 'NOFILE')):
            what = getattr(resource, f'RLIMIT_{kind}')
            before = resource.prlimit(process.pid, what)
            found = set()
            for seed in range(20):
                resource.prlimit(process.pid, what, before)
                DISTURBANCES[name].do(process, random.Random(seed))
                found.add(resource.prlimit(process.pid, what))
            assert before in found and min(found)[0] < 20_000


def test_a_start_ends_as_promised_or_wrong():
    def fault(code, output='', allowed=(), early=False, damaged=False):
        return fault_of_end(code, output, allowed=allowed, early=early, damaged=damaged)

    assert fault(0) is None
    assert fault(75, 'a\njaxdl: stopped and saved', allowed=[75]) is None
    assert fault(77, 'jaxdl: no valid checkpoint', damaged=True) is None
    assert fault(77, 'jaxdl: no valid checkpoint') == 'exit code 77'
    assert fault(2, 'jaxdl: use', allowed=[1]) == 'exit code 2'
    assert 'does not say why' in fault(1, 'jaxdl: a\nb', allowed=[1])
    trace = 'Traceback (most recent call last):\n  File "jaxdl/cli/main.py", line 9, in '
    assert fault(1, f'{trace}main\nOSError', allowed=[1]) == 'a traceback'
    assert fault(1, f'jaxdl: a\n{trace}<module>\nOSError', allowed=[1]) == 'a traceback'
    assert fault(1, f'{trace}<module>\nOSError', allowed=[1]) is None  # Python could not start
    assert fault(1, f'{trace}<module>\nOSError') == 'a traceback'
    assert fault(-15, early=True) is None
    assert fault(-15) == 'exit code -15'


def test_a_run_is_equal_but_for_its_seconds_and_nothing_else(whole, tmp_path):
    assert difference(whole, whole, said='') is None
    assert seconds_of_training(whole / 'ragged') == 6
    for case, name in enumerate(('metrics.jsonl', 'checkpoints/3', 'arrays.npz')):
        run = tmp_path / str(case)
        shutil.copytree(whole, run)
        arm = run / 'ragged'
        path = arm / name
        if path.is_dir():
            shutil.rmtree(path)
            assert 'the last checkpoint is of step 2' in difference(run, whole, said='')
            continue
        if name == 'arrays.npz':
            write_arrays(path, {'a': np.arange(3) + 1})
        else:
            path.write_bytes(b''.join(path.read_bytes().splitlines(keepends=True)[1:]))
        (arm / 'DONE').unlink()
        with Record(arm, title='', seeds=[0], steps=3, resume_at=3, tensorboard=False) as record:
            record.done({'seconds': 7.5, 'metrics': {'loss': [1 / 3]}})
        fault = difference(run, whole, said='')
        if name == 'arrays.npz':
            assert fault == 'arrays.npz is another'
        else:
            assert fault == 'metrics.jsonl lacks 1 of 3 lines, and nothing said so'
            assert difference(run, whole, said='metrics.jsonl: the curves are without it') is None


def test_the_table_counts_every_injection():
    tally = Tally()
    done = [('SIGKILL', False), ('damaged: DONE', True), ('SIGKILL', False)]
    tally.add(done, training=1, seconds=4)
    tally.add_wrong([('full disk', False)])
    rows = [[cell.strip() for cell in row.split('|')[1:-1]] for row in tally.table().splitlines()]
    assert ['SIGKILL', '2', '2', '0', '0'] in rows and ['full disk', '1', '0', '0', '1'] in rows
    assert rows[-1] == ['in all', '4', '2', '1', '1']
    assert '2 histories, 1 of them wrong; ' in tally.sentence() and '25%' in tally.sentence()


@pytest.mark.slow
def test_a_history_of_a_kind_ends_bit_equal(tmp_path, capsys):
    assert soak(tmp_path, minutes=0.01, seed=0, kinds=['ragged']), capsys.readouterr().out
    out = capsys.readouterr().out
    assert '1 histories, 0 of them wrong' in out
    assert not list(tmp_path.glob('history*'))
