"""Options as they are typed: values, ranges, help, and every mistake in one line."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import tyro
from annotated_types import Ge, Gt, Interval, Lt

from jaxdl.cli.options import Option, check, describe, parse, signature_options
from jaxdl.errors import UsageError
from jaxdl.study import Count, Fraction, Rate


def trial(
    network: Literal['lenet', 'mlp'] = 'lenet',
    steps: Count = 100,
    lr: Rate = 3e-3,
    betas: tuple[Fraction, Fraction] = (0.9, 0.99),
    widths: tuple[Count, ...] = (64, 64),
    clip: Rate | None = None,
    decay: float | None = 0.1,
    nesterov: bool = False,
    folder: Path = Path('here'),
    weight_of_the_penalty: Annotated[float, Gt(0), Lt(1)] = 0.5,
    optimizer: str = 'adam',
):
    """One network.

    Args:
        network: what is trained
        steps (int): optimizer steps,
            all of them
        lr: peak learning rate: it falls

    Returns:
        nothing: of interest
    """


OPTIONS = [Option('smoke', bool, False, 'a few steps'), *signature_options(trial, group='trial')]


def values(*words):
    return parse('jaxdl run x', OPTIONS, words).values


def complaint(*words):
    with pytest.raises(UsageError) as raised:
        values(*words)
    line = str(raised.value)
    assert '\n' not in line and raised.value.code == 2
    return line


def test_defaults_are_kept_and_only_what_was_typed_is_given():
    parsed = parse('jaxdl run x', OPTIONS, ['--steps', '7', '--no-nesterov'])
    assert parsed.given == {'steps', 'nesterov'}
    defaults = {option.name: option.default for option in OPTIONS}
    assert parsed.values == {**defaults, 'steps': 7}


@pytest.mark.parametrize(
    'words,name,value',
    [
        (['--network', 'mlp'], 'network', 'mlp'),
        (['--lr', '3e-4'], 'lr', 3e-4),
        (['--lr=3e-4'], 'lr', 3e-4),
        (['--lr', 'inf'], 'lr', math.inf),
        (['--betas', '0', '1'], 'betas', (0.0, 1.0)),
        (['--widths', '3'], 'widths', (3,)),
        (['--widths', '3', '4', '5'], 'widths', (3, 4, 5)),
        (['--clip', '1'], 'clip', 1.0),
        (['--decay', 'None'], 'decay', None),
        (['--decay', '-0.5'], 'decay', -0.5),
        (['--nesterov'], 'nesterov', True),
        (['--smoke'], 'smoke', True),
        (['--folder', 'a/b'], 'folder', Path('a/b')),
        (['--weight-of-the-penalty', '.25'], 'weight_of_the_penalty', 0.25),
        (['--weight_of_the_penalty', '.25'], 'weight_of_the_penalty', 0.25),
    ],
)
def test_values_as_they_are_typed(words, name, value):
    found = values(*words)[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    'words,parts',
    [
        (['--stepps', '3'], ["unknown option '--stepps'; did you mean '--steps'?", '--widths']),
        (['--steps', 'ten'], ["--steps: 'ten' is not allowed", 'a whole number, at least 1']),
        (['--steps', '1.5'], ["--steps: '1.5' is not allowed", 'a whole number']),
        (['--steps', '0'], ['--steps: 0 is not allowed', 'a whole number, at least 1']),
        (['--steps', '-3'], ['--steps: -3 is not allowed']),
        (['--steps'], ['--steps needs a value: a whole number, at least 1']),
        (['--steps', '3', '--steps', '4'], ['--steps is there twice']),
        (['--lr', '0'], ['--lr: 0.0 is not allowed', 'a number, greater than 0']),
        (['--lr', 'nan'], ['--lr: nan is not allowed']),
        (['--lr', '1', '2'], ["--lr: '1 2' is not allowed"]),
        (['--clip', '-1'], ['--clip: -1.0 is not allowed', 'greater than 0']),
        (['--clip', 'x'], ["--clip: 'x' is not allowed", 'a number, greater than 0']),
        (['--betas', '.5', '2'], ['--betas: (0.5, 2.0)', 'at least 0 and at most 1']),
        (['--betas', '.5'], ["--betas: '.5' is not allowed", '2 values']),
        (['--widths', '8', '0'], ['--widths: (8, 0)', 'any number of: a whole number, at least 1']),
        (['--widths'], ['--widths needs at least one value']),
        (['--weight-of-the-penalty', '1'], ['greater than 0 and less than 1']),
        (['--network', 'lenett'], ["--network: unknown 'lenett'; did you mean 'lenet'?", 'mlp)']),
        (['--nesterov', 'yes'], ["--nesterov: it is a switch and takes no value, not 'yes'"]),
        (['--no-steps'], ["unknown option '--no-steps'"]),
        (['--no-smoke'], ["unknown option '--no-smoke'; did you mean '--smoke'?"]),
        (['lenet'], ["jaxdl run x: unexpected argument 'lenet'; options start with --"]),
        (['-x'], ["unexpected argument '-x'"]),
    ],
    ids=lambda value: ' '.join(value) if value and value[0].startswith('-') else None,
)
def test_a_mistake_is_one_line_that_says_what_is_allowed(words, parts):
    line = complaint(*words)
    for part in parts:
        assert part in line


def test_the_first_mistake_is_the_one_that_is_said():
    assert complaint('--network', 'mlp', '--lr', 'x', '--steps', 'y').startswith('--lr')
    assert complaint('--optimizer=', '--no-nesterov=1', '--lr', 'x').startswith('--no-nesterov: it')
    assert complaint('--widths', '8', '--lr=', '--steps', 'y').startswith('--lr needs a value')


@pytest.mark.parametrize(
    'kind,words,line',
    [
        (Callable[[int], int], ['3'], '--x: a Callable cannot be typed; set it in an arm'),
        (dict[str, int], ['a', 'b'], "--x: 'a b' is not allowed; it must be a dict"),
        (Literal[1, 2], ['3'], "--x: unknown '3'; (allowed: 1, 2)"),
        (tuple[int, int] | int, ['1', '2', '3'], "--x: '1 2 3' is not allowed"),
        (tuple[bool, ...], ['True', 'yes'], "--x: 'True yes' is not allowed"),
    ],
)
def test_words_that_are_no_value_of_a_type(kind, words, line):
    with pytest.raises(UsageError) as raised:
        parse('jaxdl run x', [Option('x', kind, Parameter.empty)], ['--x', *words])
    assert str(raised.value).startswith(line)


def test_a_command_line_is_read_once(monkeypatch):
    calls, read = [], tyro.cli
    monkeypatch.setattr(tyro, 'cli', lambda *args, **kw: calls.append(kw) or read(*args, **kw))
    values('--lr', '1')
    complaint('--network', 'mlp', '--lr', 'x', '--steps', 'y')
    assert len(calls) == 2


def test_a_parameter_without_a_default_is_not_asked_for_and_is_given_when_typed():
    def trial(network: str, steps: Count = 3):
        pass

    options = signature_options(trial)
    assert parse('jaxdl run x', options, []).given == set()
    parsed = parse('jaxdl run x', options, ['--network', 'mlp'])
    assert parsed.values['network'] == 'mlp' and parsed.given == {'network'}


def test_help_shows_groups_types_defaults_and_what_the_docstring_says(capsys):
    with pytest.raises(SystemExit) as stop:
        parse('jaxdl run x', OPTIONS, ['--steps', '3', '--help'], about='Does it pay?')
    assert stop.value.code == 0
    text = ' '.join(capsys.readouterr().out.replace('│', ' ').split())
    assert text.startswith('usage: jaxdl run x') and 'Does it pay?' in text
    own, of_trial = text.split('run options')[1].split('trial options')
    assert '--smoke a few steps' in own and '--lr' not in own
    for part in (
        '--network {lenet,mlp} what is trained (default: lenet)',
        '--steps INT optimizer steps, all of them (default: 100)',
        '--lr FLOAT peak learning rate: it falls (default: 0.003)',
        '--clip FLOAT',
        '--nesterov, --no-nesterov',
        '--betas FLOAT FLOAT (default: 0.9 0.99)',
    ):
        assert part in of_trial
    assert 'of interest' not in text and '(default: None)' not in text


@pytest.mark.parametrize(
    'function,line',
    [
        (lambda x: x, "'x' needs a type, as in x: int"),
        (lambda *steps: steps, '\\*steps cannot be an option'),
        (lambda **more: more, '\\*more cannot be an option'),
    ],
)
def test_a_signature_that_cannot_be_options(function, line):
    with pytest.raises(UsageError, match=line):
        signature_options(function)


@pytest.mark.parametrize(
    'kind,words',
    [
        (int, 'a whole number'),
        (Count, 'a whole number, at least 1'),
        (Fraction, 'a number, at least 0 and at most 1'),
        (Count | None, 'a whole number, at least 1'),
        (int | str, 'a whole number or a text'),
        (Literal['a', 'b'], 'one of a, b'),
        (tuple[int, ...], 'any number of: a whole number'),
        (tuple[int, str], '2 values: a whole number; a text'),
        (Annotated[int, Interval(gt=0, lt=9)], 'a whole number, greater than 0 and less than 9'),
        (complex, 'a complex'),
    ],
)
def test_types_in_words(kind, words):
    assert describe(kind) == words


@pytest.mark.parametrize(
    'good,bad,kind',
    [
        (1, 0, Count),
        (1, True, int),
        (1, 1.0, int),
        (1, '1', float),
        (0.5, 1.5, Fraction),
        (None, 0, Count | None),
        ('a', 'c', Literal['a', 'b']),
        ((1, 2), (1, 0), tuple[Count, ...]),
        ((1, 'a'), (1,), tuple[int, str]),
        ([1.0], (1.0,), list[float]),
        (Path('x'), 'x', Path),
        (True, 1, bool),
        (np.float32(0.1), np.float32(0), Rate),
        (np.int64(3), np.int64(0), Count),
        (np.int64(3), np.float32(3), int),
        (np.float64(0.1), np.bool_(True), float),
        (np.bool_(True), np.int64(1), bool),
        (tuple(np.arange(1, 3)), [1, 2], tuple[Count, ...]),
    ],
)
def test_values_are_held_against_types(good, bad, kind):
    check('width', good, kind)
    with pytest.raises(UsageError, match='^width: '):
        check('width', bad, kind)


def test_types_that_no_command_line_expresses_are_not_looked_into():
    check('module', object(), dict[str, int])
    check('module', object(), Annotated[object, Ge])


@dataclass(frozen=True)
class Optimizer:
    lr: float = 0.1


def test_what_words_cannot_express_is_not_listed_and_keeps_its_default(capsys):
    def trial(
        opt: Optimizer = Optimizer(0.2),  # noqa: B008
        more: dict = {},  # noqa: B006
        rates: dict[str, float] = {},  # noqa: B006
        made: Callable = max,
        steps: Count = np.int64(3),  # noqa: B008
    ):
        pass

    options = signature_options(trial)
    words = ['--rates', 'a', '1', 'b', '2']
    values = parse('jaxdl run x', options, words).values
    assert values == {
        'opt': Optimizer(0.2),
        'more': {},
        'rates': {'a': 1.0, 'b': 2.0},
        'made': max,
        'steps': 3,
    }
    assert type(values['steps']) is int
    for name, kind in (('opt', 'Optimizer'), ('more', 'dict'), ('made', 'Callable')):
        with pytest.raises(UsageError, match=f'^--{name}: a {kind} cannot be typed; set it in an'):
            parse('jaxdl run x', options, [f'--{name}', '3'])
    with pytest.raises(SystemExit):
        parse('jaxdl run x', options, ['--help'])
    out = capsys.readouterr().out
    assert '--rates' in out and '--opt' not in out and '--more' not in out and '--made' not in out


def test_home_is_expanded_and_an_empty_path_is_none(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    options = [Option('folder', Path | None, None), Option('files', tuple[Path, ...], ())]

    def read(*words):
        return parse('jaxdl run x', options, words).values

    assert read('--folder=~/a')['folder'] == Path('/home/me/a')
    assert read('--folder', 'a/~')['folder'] == Path('a/~')
    assert read('--files', '~', 'b')['files'] == (Path('/home/me'), Path('b'))
    for words in (['--folder', ''], ['--folder='], ['--files', 'a', '']):
        with pytest.raises(UsageError, match=f'{words[0][:5]}.* is empty; it needs a value: '):
            read(*words)
    with pytest.raises(UsageError, match='^--folder: ~nobody-by-this-name'):
        read('--folder', '~nobody-by-this-name/a')
