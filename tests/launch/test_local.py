"""Local processes as a user starts them, with ranks that leave as jaxdl does."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RANK = [sys.executable, str(Path(__file__).parent / 'fake_rank.py')]


def start(folder, codes, *options):
    """The launcher, over ranks that leave with `codes`, one after another."""
    command = [sys.executable, '-m', 'launch.local', '--watch', str(folder), *options]
    return subprocess.Popen(
        [*command, '--', *RANK, str(folder), *codes],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # what a terminal sends to a group does not reach the tests
    )


def run(folder, codes, *options):
    """(exit code, standard output, standard error, how often rank 0 was started)."""
    out, err = (launcher := start(folder, codes, *options)).communicate(timeout=60)
    return launcher.returncode, out, err, int((folder / 'starts-0').read_text())


def wait_for_start(folder, ranks):
    deadline = time.monotonic() + 20
    while not all((folder / f'starts-{rank}').exists() for rank in range(ranks)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)  # their handlers stand before that file; what they print comes behind it


def test_ranks_know_each_other_and_print_behind_their_number(tmp_path):
    code, out, err, starts = run(tmp_path, ['0'], '--processes', '2', '--devices', '3')
    assert (code, starts, err) == (0, 1, '')
    lines = sorted(out.splitlines())
    assert [line for line in lines if 'half' in line] == ['[0] half a line', '[1] half a line']
    told = [dict(re.findall(r'(\w+)=(\S+)', line)) for line in lines if 'start 0' in line]
    assert [each['JAXDL_PROCESS'] for each in told] == ['0', '1']
    assert {each['JAXDL_PROCESSES'] for each in told} == {'2'}
    (coordinator,) = {each['JAXDL_COORDINATOR'] for each in told}
    assert re.fullmatch(r'127\.0\.0\.1:\d+', coordinator)
    assert 'device_count=3' in out


def test_one_process_is_told_of_no_coordinator(tmp_path):
    code, out, _, _ = run(tmp_path, ['0'])
    assert code == 0 and 'JAXDL_COORDINATOR=None' in out


def test_preempted_again_at_once_lost_again_later_done_at_last(tmp_path):
    began = time.monotonic()
    code, out, err, starts = run(tmp_path, ['75', '1:-9', '0'], '--processes', '2')
    assert (code, starts) == (0, 3)
    assert 'exit code 75, preempted and saved: started again at once' in err
    assert 'exit code 137, a process was lost: started again in 1 s' in err
    assert time.monotonic() - began > 1
    ports = set(re.findall(r'127\.0\.0\.1:(\d+)', out))
    assert len(ports) == 3  # nobody waits for a port of the dead


@pytest.mark.parametrize(('code', 'shown'), [('2', 2), ('1:1', 1)])
def test_errors_end_it_with_their_code(tmp_path, code, shown):
    left, _, err, starts = run(tmp_path, [code], '--processes', '2')
    assert (left, starts) == (shown, 1) and 'not started again' in err


def test_three_restarts_without_progress_end_it(tmp_path):
    code, _, err, starts = run(tmp_path, ['=75'])
    assert (code, starts) == (75, 4) and '3 restarts made no progress' in err


@pytest.mark.parametrize(
    ('name', 'send', 'code'),
    [('SIGINT', os.killpg, 130), ('SIGTERM', os.kill, 75)],
    ids=['as a terminal sends it', 'to the launcher'],
)
def test_one_signal_reaches_all_once_and_nothing_is_started_again(tmp_path, name, send, code):
    launcher = start(tmp_path, [f'{code}+'], '--processes', '2')
    wait_for_start(tmp_path, 2)
    send(launcher.pid, getattr(signal, name))
    _, err = launcher.communicate(timeout=30)
    assert (launcher.returncode, err) == (code, '')
    assert [(tmp_path / f'told-{rank}').read_text() for rank in (0, 1)] == [name, name]
    assert (tmp_path / 'starts-0').read_text() == '1'


def test_a_signal_while_it_waits_ends_the_waiting(tmp_path):
    launcher = start(tmp_path, ['=76'])
    for line in launcher.stderr:
        if 'in 2 s' in line:
            break
    began = time.monotonic()
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=30)
    assert launcher.returncode == 75 and time.monotonic() - began < 1.5


def test_a_rank_that_hangs_after_another_failed_is_ended(tmp_path):
    stuck = 'import os, time; time.sleep(60 * int(os.environ["JAXDL_PROCESS"])); os._exit(3)'
    launcher = [sys.executable, '-m', 'launch.local', '--processes', '2', '--grace', '0.3', '--']
    began = time.monotonic()
    done = subprocess.run(
        [*launcher, sys.executable, '-c', stuck], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 3 and time.monotonic() - began < 10
    assert 'ranks [1] still run 0.3 s after [0] failed: ended' in done.stderr


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells children of a death')
def test_ranks_save_and_leave_when_the_launcher_is_killed(tmp_path):
    launcher = start(tmp_path, ['75+'], '--processes', '2')
    wait_for_start(tmp_path, 2)
    launcher.kill()
    launcher.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while not all((tmp_path / f'told-{rank}').exists() for rank in (0, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (tmp_path / 'told-1').read_text() == 'SIGTERM'


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--processes', '2'], 'no command; it stands behind --'),
        (['--processes', '0', '--', 'x'], "argument --processes: '0' is not a number from 1 on"),
        (['--process', '2', '--', 'x'], "--process; did you mean '--processes'"),
        (['--', 'no-such-command'], 'no-such-command: No such file or directory'),
    ],
)
def test_mistakes_are_one_line(words, said):
    command = [sys.executable, '-m', 'launch.local', *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    *rest, line = done.stderr.splitlines()
    assert done.returncode == 2 and said in line and line.startswith('launch.local: ')
    assert all(each.startswith('launch: the run folder is not known') for each in rest)
