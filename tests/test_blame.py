"""Whose line an exception is blamed on, and that it is one line."""

import errno
import sys
import types

import pytest

from jaxdl.blame import at, blamed, blaming, blaming_own, own_line, said
from jaxdl.errors import DataMissingError, UsageError, nearest


def raised_in(path, text):
    """What code in a file raises."""
    path.write_text(text)
    try:
        exec(compile(text, str(path), 'exec'), {})
    except BaseException as raised:
        return raised.with_traceback(raised.__traceback__.tb_next)  # without this file's frame
    raise AssertionError('nothing was raised')


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('x = 1\ny = {}["z"]\n', "mine.py:2: KeyError: 'z'"),
        ('import json\n\njson.loads("{")\n', 'mine.py:3: JSONDecodeError: Expecting property'),
        ('raise ValueError("one:\\n  two \\nthree")\n', 'mine.py:1: ValueError: one: two ('),
        ('raise ValueError("\\n\\n two\\nthree")\n', 'mine.py:1: ValueError: two ('),
        ('assert False\n', 'mine.py:1: AssertionError (phase 0; --debug'),
        ('raise SystemExit(0)\n', 'mine.py:1: SystemExit: 0 ('),
        ('class Stop(BaseException): pass\nraise Stop("so")\n', 'mine.py:2: Stop: so ('),
        ('def f():\n    g()\ndef g():\n    1 / 0\nf()\n', 'mine.py:4: ZeroDivisionError: '),
    ],
)
def test_the_deepest_line_of_a_persons_own_is_named(text, line, here):
    found = blamed(raised_in(here / 'mine.py', text), where='phase 0')
    assert isinstance(found, UsageError)
    assert str(found).startswith(line) and '\n' not in str(found)
    assert str(found).endswith('(phase 0; --debug shows the traceback)')


def test_without_a_line_of_ones_own_it_is_said_what_was_done_and_in_which_module(monkeypatch):
    error = KeyError('x')
    assert str(blamed(error, where='phase 1, the step')) == (
        "phase 1, the step: KeyError: 'x' (--debug shows the traceback)"
    )
    monkeypatch.setattr('jaxdl.blame._is_own', lambda file: False)
    line = r'^phase 1: TypeError: .* \(in jaxdl\.errors, line \d+; '
    with pytest.raises(UsageError, match=line), blaming('phase 1'):
        nearest('x', 3)


def test_a_column_that_a_batch_lacks_is_suggested():
    line = r"KeyError: 'imag'; of the columns .* 'image'\? \(allowed: image"
    with pytest.raises(UsageError, match=line), blaming('the step', {'image': 0, 'mask': 0}):
        {'image': 0}['imag']


@pytest.mark.parametrize(
    'error',
    [
        DataMissingError('run: this'),
        KeyboardInterrupt(),
        MemoryError(),
        OSError(errno.EMFILE, 'Too many open files'),
    ],
)
def test_what_is_nobodys_mistake_passes(error):
    assert blamed(error, where='x') is error
    for blame in (blaming('x'), blaming_own()):
        with pytest.raises(type(error)) as raised, blame:
            raise error
        assert raised.value is error


def test_where_anything_may_happen_only_a_persons_own_is_blamed(here, monkeypatch):
    error = raised_in(here / 'mine.py', '1 / 0\n')
    assert own_line(error) == 'mine.py:1' and own_line(ValueError()) is None
    with pytest.raises(UsageError, match='mine.py:1: ZeroDivisionError'), blaming_own():
        raise error
    (here / 'elsewhere').mkdir()
    monkeypatch.chdir(here / 'elsewhere')  # then it is neither an experiment nor beside one
    with pytest.raises(ZeroDivisionError), blaming_own():
        raise error
    module = types.ModuleType('experiments.mine')
    module.__file__ = str(here / 'other.py')
    monkeypatch.setitem(sys.modules, 'experiments.mine', module)
    with pytest.raises(UsageError, match='mine.py:1: ZeroDivisionError'), blaming_own():
        raise error


def test_explanations_elsewhere_are_left_out():
    text = 'Bad shape. (https://flax.readthedocs.io/en/latest/api.html#flax.errors.X)'
    assert said(ValueError(text)) == 'Bad shape.'
    assert len(said(ValueError('x' * 1000))) < 400


def test_a_function_is_told_with_its_place_if_it_is_a_persons_own():
    def mine():
        pass

    line = mine.__code__.co_firstlineno
    assert at('the loss', mine) == f'the loss ({__file__}:{line})'
    assert at('the loss', nearest) == at('the loss', print) == 'the loss'
