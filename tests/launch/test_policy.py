"""What exit codes mean to who started a run."""

import itertools
import os
from pathlib import Path

import pytest

from launch.policy import (
    History,
    Kind,
    Progress,
    decide,
    exit_code,
    kind_of,
    restartable,
)
from launch.progress import progress_of, watched_folder

STILL = Progress()


def test_every_exit_code_of_jaxdl_has_its_kind():
    kinds = {0: 'DONE', 75: 'PREEMPTED', 76: 'LOST', 1: 'FINAL', 2: 'FINAL', 77: 'FINAL'}
    kinds |= {78: 'FINAL', 130: 'FINAL', 127: 'FINAL'}  # Ctrl-C is meant; no such command
    kinds |= {-9: 'LOST', 137: 'LOST', -6: 'LOST', 134: 'LOST', 143: 'LOST', -2: 'FINAL'}
    assert {code: kind_of(code).name for code in kinds} == kinds


@pytest.mark.parametrize(
    ('codes', 'one'),
    [
        ([0, 0], 0),
        ([75, 75], 75),
        ([0, 75], 75),  # one was done as it was asked to stop
        ([76, 75], 76),
        ([76, -9, 76], 137),  # the killed one is the cause
        ([76, 1], 1),  # so is the one with an error
        ([137, 2], 2),
        ([], 0),
    ],
)
def test_several_codes_become_that_of_the_cause(codes, one):
    assert {exit_code(order) for order in itertools.permutations(codes)} == {one}


def test_preemption_starts_again_at_once_and_errors_never():
    again = decide(75, Progress(0, 10), History())
    assert again.again and again.wait == 0
    for code in (1, 2, 77, 78, 130):
        assert not decide(code, Progress(9, 9), History()).again
    assert not decide(0, Progress(1, 10), History()).again


@pytest.mark.parametrize('code', [75, 76, 137])
def test_three_restarts_without_progress_and_no_more(code):
    history, starts = History(), 1
    while (decision := decide(code, STILL, history)).again:
        history, starts = decision.history, starts + 1
        assert starts < 20
    assert starts == 1 + 3
    assert '3 restarts made no progress' in decision.why


def test_progress_makes_restarts_free_however_many_and_going_back_is_none():
    history = History()
    for saved in range(1, 50):
        decision = decide(76, Progress(0, saved), history)
        assert decision.again and decision.wait == 1
        history = decision.history
    back = decide(76, Progress(0, 3), history)  # a damaged checkpoint was put aside
    assert back.history == History(Progress(0, 49), 2)
    done = decide(76, Progress(1, 3), history)  # an arm more is done, and its checkpoints are gone
    assert done.history == History(Progress(1, 3), 1)


def test_waits_double_from_a_second_on():
    waits, history = [], History()
    while (decision := decide(76, STILL, history)).again:
        waits.append(decision.wait)
        history = decision.history
    assert waits == [1, 2, 4]


def test_containers_go_on_after_preemption_lost_peers_and_kills():
    codes = restartable()
    assert codes == tuple(sorted(codes)) and {75, 76, 134, 137, 143} <= set(codes)
    assert all(kind_of(code) in (Kind.PREEMPTED, Kind.LOST) for code in codes)
    assert not {0, 1, 2, 77, 78, 130} & set(codes)


def test_progress_is_what_checkpoints_hold_of_all_arms(tmp_path):
    assert progress_of(tmp_path / 'none') == Progress(0, 0)
    for place, steps in {'a': (10, 20), 'b': (5,), 'b/seeds/3-4': (7,)}.items():
        digests = tmp_path / place / 'checkpoints' / 'digests'
        digests.mkdir(parents=True)
        for step in steps:
            (digests / str(step)).touch()
    (tmp_path / 'b' / 'checkpoints' / 'digests' / '9.saving').touch()  # not there yet
    (tmp_path / 'b' / 'checkpoints' / '9').mkdir()
    assert progress_of(tmp_path) == Progress(0, 20 + 5 + 7)
    (tmp_path / 'a' / 'DONE').touch()
    assert progress_of(tmp_path) == Progress(1, 32)


@pytest.mark.parametrize(
    ('command', 'folder'),
    [
        ('jaxdl run digits', 'runs/digits'),
        ('/bin/jaxdl run spirals.py --lr 1', 'runs/spirals'),
        ('python -m jaxdl.cli.main run digits --smoke', 'runs/digits-smoke'),
        ('jaxdl run digits --workdir /w/x --lr 1', '/w/x'),
        ('jaxdl run digits --workdir=/w/x', '/w/x'),
        ('python train.py', None),
        ('jaxdl run', None),
    ],
)
def test_the_run_folder_is_read_from_the_command(command, folder):
    found = watched_folder(command.split())
    assert found is None if folder is None else str(found) == folder


def test_a_folder_that_goes_while_it_is_read_is_no_error(tmp_path, monkeypatch):
    """Checkpoints are removed while training goes on, and a whole part when parts are gathered."""
    for arm in 'abc':
        (tmp_path / arm / 'checkpoints' / 'digests').mkdir(parents=True)
        (tmp_path / arm / 'checkpoints' / 'digests' / '7').touch()
    scandir, gone = os.scandir, tmp_path.with_name('gone')

    def taking(path):
        if Path(path).name == 'b':
            (tmp_path / 'b').rename(gone)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', taking)
    assert progress_of(tmp_path) == Progress(0, 14)
