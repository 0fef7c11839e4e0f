"""A race of writers: in turn, and as many tokens as it says."""

from contextlib import contextmanager

import numpy as np
import pytest

from experiments import decoding
from jaxdl.errors import UsageError

TINY = decoding.Size(9, 16, 4, 1, 2)


def test_turns_are_taken_in_turn_and_their_times_are_of_one_text():
    calls = []

    def racer(name, pace):
        def run(count):
            calls.append((name, count))
            return count * pace

        return run

    racers = racer('ours', 0.1), racer('theirs', 0.4)
    turns = decoding.raced(racers, rounds=2, seconds=0.4)
    np.testing.assert_allclose(turns, [[0.1, 0.4]] * 2)
    assert calls[-4:] == [('ours', 4), ('theirs', 1)] * 2
    # 8 rows of 64 tokens in a tenth of a second are 5,120 tokens a second.
    assert decoding.cells('gpt', 8, turns) == ['gpt', '8', '5120', '1280', '0.25']


def test_the_sizes_are_those_they_are_said_to_have(monkeypatch):
    monkeypatch.setattr(decoding, 'PROMPT', 3)
    monkeypatch.setattr(decoding, 'LENGTH', 4)
    write, parameters = decoding.writer(TINY, 2)
    # Embeddings of 9 words and 16 positions; a block's norms, attention, perceptron; the last norm.
    assert parameters == 9 * 4 + 16 * 4 + (16 + 4 * (16 + 4) + 64 + 16 + 64 + 4) + 8
    assert 0 < write(1)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--only', 'gpt3'], "unknown network 'gpt3'.*; there are gpt, gpt2"),
        (['--only', 'gpt', '--record'], '--record: it records all networks'),
        ([], 'torch is not installed here; make bench installs it'),
    ],
    ids=['name', 'record', 'torch'],
)
def test_mistakes_are_told(words, message, monkeypatch):
    monkeypatch.setattr(decoding, 'find_spec', lambda name: None)
    with pytest.raises(UsageError, match=message):
        decoding.main(words)


def test_the_table_is_recorded(tmp_path, monkeypatch, capsys):
    @contextmanager
    def process(words, *, parameters, program):
        assert words == ['9', '16', '4', '1', '2', '1', '3', '4'] and parameters > 100
        yield lambda count: 1e-9

    for name, value in {
        'SIZES': {'tiny': TINY},
        'ROWS': (1,),
        'PROMPT': 3,
        'LENGTH': 4,
        'find_spec': lambda name: True,
        'version': lambda name: '1.0',
        'apart': lambda work, *args: work(*args),
        'torch_process': process,
        '__file__': str(tmp_path / 'decoding.py'),
    }.items():
        monkeypatch.setattr(decoding, name, value)
    monkeypatch.setenv('JAXDL_MALLOPT', '0')
    decoding.machine.tune_memory.cache_clear()
    readme = tmp_path / 'README.md'
    readme.write_text(f'before\n{decoding.BEGIN}\nold\n{decoding.END}\nafter\n')
    decoding.main(['--record', '--rounds', '1', '--seconds', '1e-6'])
    assert 'tiny' in capsys.readouterr().out
    text = readme.read_text()
    assert '| tiny | 1 |' in text and 'old' not in text and text.endswith('after\n')
