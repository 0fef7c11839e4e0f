"""A race of DQNs: in turn, moves counted as they are made."""

from contextlib import contextmanager

import numpy as np
import pytest

from experiments import dqn_speed
from jaxdl.engine.engine import Engine
from jaxdl.errors import UsageError


def test_turns_are_taken_in_turn_and_their_times_are_of_one_step():
    calls = []

    def racer(name, pace):
        def run(count):
            calls.append((name, count))
            return count * pace

        return run

    ours, theirs = racer('ours', 0.01), racer('theirs', 0.002)  # of a step, of a move
    turns = dqn_speed.raced(ours, theirs, rounds=2, seconds=4.0)
    np.testing.assert_allclose(turns, [[0.01, 0.02]] * 2)
    assert calls[-4:] == [('ours', 400), ('theirs', 2000)] * 2
    # Ten seeds of ten moves in a hundredth of a second; theirs makes one seed after another.
    assert dqn_speed.cells(10, turns) == ['10', '10,000', '500', '0.050']


@pytest.mark.slow
def test_the_table_is_recorded(tmp_path, monkeypatch, capsys):
    @contextmanager
    def process(words, *, parameters, program):
        assert words == ['4', '3', '8', '2', '50', '16', '0.00025']
        assert parameters == (4 * 4 + 4) + (4 * 3 + 3) + (3 * 2 + 2)
        yield lambda moves: 1e-3 * moves

    for name, value in {
        **{'HIDDEN': (4, 3), 'BATCH': 8, 'PER_STEP': 2, 'REPLAY': 16, 'SEEDS': (2,), 'CHUNK': 2},
        'find_spec': lambda name: True,
        'version': lambda name: '1.0',
        'apart': lambda work, *args: work(*args),
        'torch_process': process,
        '__file__': str(tmp_path / 'dqn_speed.py'),
    }.items():
        monkeypatch.setattr(dqn_speed, name, value)
    monkeypatch.setenv('JAXDL_MALLOPT', '0')
    dqn_speed.machine.tune_memory.cache_clear()
    readme = tmp_path / 'README.md'
    readme.write_text(f'before\n{dqn_speed.BEGIN}\nold\n{dqn_speed.END}\nafter\n')
    dqn_speed.main(['--record', '--rounds', '1', '--seconds', '1e-6'])
    assert 'a step of learning for 2 of each' in ' '.join(capsys.readouterr().out.split())
    text = readme.read_text()
    assert '| 2 |' in text and 'old' not in text and text.endswith('after\n')


def test_without_the_others_it_says_so(monkeypatch):
    monkeypatch.setattr(dqn_speed, 'find_spec', lambda name: None)
    with pytest.raises(UsageError, match='torch is not installed here; make bench installs it'):
        dqn_speed.main([])


@pytest.mark.slow
def test_what_is_raced_learns():
    engine = Engine(dqn_speed.dqn(), dqn_speed.nothing(), seeds=range(2), chunk=20)
    assert engine.parameters() == 10_934
    with dqn_speed.our_loop(engine) as ours:
        assert ours(40) > 0
