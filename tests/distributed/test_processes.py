"""Runs of several processes: equal to one, and to themselves whatever happens to one of them.

Gloo on CPU, tiny networks. Each start costs some seconds, so a test asks several things of one.
"""

import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from start import ended, start, start_all, surroundings

from jaxdl.checkpoint.manager import load_weights
from jaxdl.run.record import read_metrics

pytestmark = pytest.mark.distributed

KINDS = ['resident', 'streamed', 'private']
LONG = ['--layout', 'data=2', '--steps', '40000', '--every', '20', '--chunk', '10']
TOLERANCE = 2e-5  # of the largest entry of a leaf, as in tests/laws
HEARTBEAT = {'JAXDL_HEARTBEAT': '10'}


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """Programs that every start compiles."""
    return tmp_path_factory.mktemp('programs')


def arm(folder, kind='resident'):
    return folder / 'runs' / 'toys' / kind


def state(folder, kind='resident'):
    """The newest checkpoint: (its step, its arrays)."""
    saved = load_weights(arm(folder, kind) / 'checkpoints')
    return saved.step, jax.tree.leaves(saved.state)


def numbers(folder, kind='resident'):
    """What metrics.jsonl says, but for the time it took."""
    events = read_metrics(arm(folder, kind))
    return [(it['step'], it['metrics']) for it in events]


def assert_same(one, other, kind='resident'):
    """Equal to the bit."""
    (step, these), (there, those) = state(one, kind), state(other, kind)
    assert step == there
    for a, b in zip(these, those, strict=True):
        np.testing.assert_array_equal(a, b)
    assert numbers(one, kind) == numbers(other, kind)


def assert_close(one, other, kind='resident'):
    """Equal but for the order in which sums are rounded, at the tolerance of the laws."""
    (step, these), (there, those) = state(one, kind), state(other, kind)
    assert step == there
    for a, b in zip(these, those, strict=True):
        assert np.abs(a - b).max(initial=0) <= TOLERANCE * max(np.abs(b).max(initial=0), 1e-3)


def assert_done(found):
    assert [code for code, _, _ in found] == [0] * len(found), found


def rows_read(path):
    """How many rows a process read at a time."""
    return [int(line) for line in path.read_text().splitlines()]


def alone(folder, *words, devices, cache, **more):
    """A run of one process."""
    environment = surroundings(devices=devices, cache=cache, **more)
    found = ended([start(folder, *words, environment=environment)])
    assert_done(found)


def until_recorded(folder, processes, kind='plain', seconds=240):
    """Wait until a run has trained a while."""
    deadline = time.monotonic() + seconds
    path = arm(folder, kind) / 'metrics.jsonl'
    while not path.exists() or path.read_bytes().count(b'\n') < 2:
        assert time.monotonic() < deadline, 'nothing happened'
        assert all(process.poll() is None for process in processes), ended(processes)
        time.sleep(0.02)


@pytest.mark.parametrize(
    ('layout', 'kinds'),
    [('data=2', ['resident', 'streamed']), ('seeds=2', ['private']), ('fsdp=2', ['streamed'])],
)
def test_two_processes_are_one_with_two_devices(tmp_path, cache, layout, kinds):
    words = ['--arm', *kinds, '--layout', layout]
    reads = {'READS': str(tmp_path)}
    found = ended(start_all(tmp_path / 'two', *words, processes=2, cache=cache, **reads))
    assert_done(found)
    alone(tmp_path / 'one', *words, devices=2, cache=cache, **reads)
    for kind in kinds:
        assert_same(tmp_path / 'one', tmp_path / 'two', kind)
    if 'streamed' in kinds:  # batches of 8, and of 10 in 3 evaluations of 4
        assert {4, 5}.isdisjoint(rows_read(tmp_path / 'alone'))
        for rank in '01':
            half = rows_read(tmp_path / rank)
            assert half.count(4) >= 12 and half.count(5) == 12
    (_, shown, _), (_, silent, error) = found
    assert 'report: runs/toys/report.html' in shown
    assert not silent and not error  # only the first one prints
    kind = kinds[0]
    (first,) = json.loads((arm(tmp_path / 'two', kind) / 'env.json').read_text())['starts']
    assert first['processes'] == 2 and len(first['devices']) == 2
    (first,) = json.loads((arm(tmp_path / 'one', kind) / 'env.json').read_text())['starts']
    assert 'processes' not in first


def test_four_processes_are_one_within_rounding(tmp_path, cache):
    words = ['--arm', 'streamed', '--layout', 'seeds=2,data=2']
    assert_done(ended(start_all(tmp_path / 'four', *words, processes=4, cache=cache)))
    alone(tmp_path / 'one', *words, devices=4, cache=cache)
    assert_close(tmp_path / 'one', tmp_path / 'four', 'streamed')


def test_what_two_have_saved_one_and_four_go_on_with(tmp_path, cache):
    """Stopped by a signal to the second of two; gone on with by one, and by four, to the end."""
    words = ['--arm', 'resident', '--steps', '200', '--chunk', '5', '--every', '20']
    run, undisturbed = tmp_path / 'run', tmp_path / 'undisturbed'
    two = start_all(run, *words, '--layout', 'data=2', processes=2, cache=cache)
    until_recorded(run, two, 'resident')
    two[1].send_signal(signal.SIGUSR1)
    found = ended(two)
    assert [code for code, _, _ in found] == [75, 75], found
    step, _ = state(run)
    assert f'jaxdl: rank 0: stopped and saved at step {step}' in found[0][2]
    assert 0 < step < 200
    shutil.copytree(run, tmp_path / 'four')
    alone(run, *words, '--layout', 'data=2', devices=2, cache=cache)
    alone(undisturbed, *words, '--layout', 'data=2', devices=2, cache=cache)
    assert_same(run, undisturbed)
    four = start_all(tmp_path / 'four', *words, '--layout', 'data=4', processes=4, cache=cache)
    assert_done(ended(four))
    assert_close(tmp_path / 'four', undisturbed)
    starts = json.loads((arm(tmp_path / 'four') / 'env.json').read_text())['starts']
    assert [it['processes'] for it in starts] == [2, 4] and starts[1]['step'] == step


@pytest.mark.parametrize('rank', [0, 1])
def test_a_signal_to_one_stops_all_at_the_same_step(tmp_path, cache, rank):
    two = start_all(tmp_path, '--arm', 'plain', *LONG, processes=2, cache=cache)
    until_recorded(tmp_path, two)
    two[rank].send_signal(signal.SIGTERM)
    found = ended(two, 60)
    assert [code for code, _, _ in found] == [75, 75], found
    assert f'stopped and saved at step {state(tmp_path, "plain")[0]}' in found[0][2]
    assert not found[1][2]  # said once


@pytest.mark.parametrize('rank', [0, 1])
def test_a_killed_one_is_noticed_by_the_other_within_the_heartbeat(tmp_path, cache, rank):
    words = ['--arm', 'plain', *LONG]
    two = start_all(tmp_path, *words, processes=2, cache=cache, **HEARTBEAT)
    until_recorded(tmp_path, two)
    two[rank].kill()
    two[rank].wait()
    began = time.monotonic()
    found = ended(two, 60)
    assert time.monotonic() - began < 10
    assert [code for code, _, _ in found] == [(-9, 76)[i != rank] for i in range(2)], found
    assert f'jaxdl: rank {1 - rank}: another process is lost' in found[1 - rank][2]


@pytest.mark.parametrize('rank', [0, 1])
def test_a_stopped_one_is_left_after_the_heartbeat(tmp_path, cache, rank):
    words = ['--arm', 'plain', *LONG]
    two = start_all(tmp_path, *words, processes=2, cache=cache, JAXDL_HEARTBEAT='5')
    until_recorded(tmp_path, two)
    two[rank].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert two[1 - rank].wait(20) == 76
    assert time.monotonic() - began < 5 + 5
    two[rank].send_signal(signal.SIGCONT)
    assert [code for code, _, _ in ended(two, 60)] == [76, 76]


@pytest.mark.parametrize('rank', [0, 1])
def test_an_error_of_one_is_shown_with_its_rank(tmp_path, cache, rank):
    words = ['--arm', 'broken', *LONG]
    more = {**HEARTBEAT, 'BROKEN_RANK': str(rank)}
    found = ended(start_all(tmp_path, *words, processes=2, cache=cache, **more), 90)
    code, _, said = found[rank]
    assert code in (1, 2), found
    assert f'jaxdl: rank {rank}: ' in said and f'this is rank {rank}' in said
    assert found[1 - rank][0] == 76, found
    assert f'this is rank {rank}' not in found[1 - rank][2]


def test_a_mistake_of_all_is_said_once(tmp_path, cache):
    words = ['--arm', 'resident', '--layout', 'loop']
    found = ended(start_all(tmp_path, *words, processes=2, cache=cache))
    assert [code for code, _, _ in found] == [2, 2], found
    assert 'jaxdl: rank 0: --layout loop: it has one device, and the 2 processes' in found[0][2]
    assert not found[1][2]
