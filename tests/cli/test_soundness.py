"""A study and its phases are looked at before anything is traced: each mistake is one line."""

import functools
import inspect
from typing import Any

import numpy as np
import pytest
import toy

from jaxdl.claims import better, reaches
from jaxdl.cli.soundness import check_phases, check_study
from jaxdl.data.table import from_arrays
from jaxdl.errors import UsageError
from jaxdl.study import Claim, Eval, Phase, Rate, Study


def trial(n: int = 3, lr: Rate = 0.1):
    return n, lr


STUDY = Study('Why?', trial, {'fast': {}, 'slow': {'lr': 0.01}})
PHASE = Phase(toy.task(), toy.train_source(), {'test': toy.test_source()}, steps=4)
TABLE = from_arrays({'x': toy.X}, name='rows')


class Callable:
    def __call__(self, lr: Rate = 0.1):
        return lr

    def method(self, lr: Rate = 0.1):
        return lr


async def later(lr: Rate = 0.1):
    pass


def pieces(lr: Rate = 0.1):
    yield lr


def line_of(check, value):
    with pytest.raises(UsageError) as raised:
        check(value)
    line = str(raised.value)
    assert '\n' not in line and len(line) < 400
    return line


@pytest.mark.parametrize(
    ('field', 'value', 'line'),
    [
        ('question', '', "question: '' is not allowed; it must be a sentence"),
        ('question', ' \n', 'question: '),
        ('question', None, 'question: None is not allowed'),
        ('question', trial, 'question: <function'),
        ('arms', ['a', 'b'], "arms: ['a', 'b'] is not allowed; it must be a mapping"),
        ('arms', {}, 'the study has no arms'),
        ('arms', {'a': None}, "arm 'a': None is not allowed; it must be a mapping"),
        ('arms', {'a': {'lr'}}, "arm 'a': {'lr'} is not allowed"),
        ('arms', {'a': 0.1}, "arm 'a': 0.1 is not allowed"),
        ('arms', {'a': {1: 2}}, "arm 'a': 1 is no name of a parameter"),
        ('arms', {1: {}}, 'an arm cannot be called 1'),
        ('arms', {'A': {}, 'a': {}}, "arms 'A' and 'a'"),
        ('tiny', ['n'], "tiny: ['n'] is not allowed; it must be a mapping"),
        ('tiny', True, 'tiny: True is not allowed'),
        ('seeds', [0, 1], 'seeds: [0, 1] is not allowed; it must be how many'),
        ('seeds', 0, 'seeds: 0 is not allowed'),
        ('seeds', -1, 'seeds: -1 is not allowed'),
        ('seeds', True, 'seeds: True is not allowed'),
        ('seeds', 2.0, 'seeds: 2.0 is not allowed'),
        ('seeds', None, 'seeds: None is not allowed'),
        ('claims', None, 'claims: None is not allowed; it must be a list of claims'),
        ('claims', 'fast is best', "claims: 'fast is best' is not allowed"),
        ('claims', ['fast is best'], "claims: 'fast is best' is no claim"),
        ('claims', reaches('fast', 'test/x', at_least=1), 'claims: Claim('),
        ('claims', (c for c in ()), 'claims: <generator'),
        ('claims', [better('fats', 'slow', 'test/x')], 'the claim '),
        ('claims', [Claim('t', 'fast', 'test/x', max)], "the claim 't': its arms are 'fast'"),
        ('claims', [Claim('t', ('fast',), 3, max)], "the claim 't': 3 is no name of a number"),
        (
            'claims',
            [Claim('t', ('fast',), 'test/x', max, 'flop')],
            "the claim 't': equal is 'flop'; did",
        ),
        ('claims', [Claim('t', ('fast',), 'test/x', None)], "the claim 't': its judge is no"),
        ('trial', None, 'trial: None is not allowed; it must be a function'),
        ('trial', Phase, "trial: <class 'jaxdl.study.Phase'> is not allowed"),
        ('trial', Callable, 'trial: <class'),
        ('trial', PHASE, 'trial: Phase('),
        ('trial', later, "trial: 'later' is async or yields"),
        ('trial', pieces, "trial: 'pieces' is async or yields"),
        ('trial', lambda *args: 0, '<lambda>: *args cannot be an option; name each'),
        ('trial', lambda **more: 0, '<lambda>: **more cannot be an option'),
        ('trial', lambda lr=1: 0, "<lambda>: 'lr' needs a type"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(field, value, line):
    assert line_of(check_study, STUDY._replace(**{field: value})).startswith(line)


def test_a_claim_names_arms_that_there_are():
    claim = better('fats', 'slow', 'test/accuracy')
    line = line_of(check_study, STUDY._replace(claims=[claim]))
    assert "names the arm 'fats'; did you mean 'fast'? (allowed: fast, slow)" in line
    of_tiny = STUDY._replace(tiny={'n': 1}, claims=[better('tiny', 'slow', 'test/accuracy')])
    assert check_study(of_tiny).claims == tuple(of_tiny.claims)


def annotated(kind: Any, default: Any = inspect.Parameter.empty, *, positional: bool = False):
    """A trial with one parameter of a type."""

    def trial(x):
        return x

    trial.__annotations__ = {'x': kind}
    if default is not inspect.Parameter.empty:
        trial.__defaults__ = (default,)
    return trial


@pytest.mark.parametrize(
    ('made', 'line'),
    [
        (annotated('Nope'), "trial: the types of its parameters cannot be read: name 'Nope'"),
        (annotated(Rate, -1.0), 'trial, the default of x: -1.0 is not allowed'),
        (annotated(float, 'x'), "trial, the default of x: 'x' is not allowed"),
    ],
)
def test_types_and_defaults_fit(made, line):
    assert line_of(check_study, STUDY._replace(trial=made)).startswith(line)


@pytest.mark.parametrize(
    ('made', 'parameters'),
    [
        (functools.partial(trial, 20), {'lr': 0.1}),
        (functools.partial(trial, lr=0.3), {'n': 3, 'lr': 0.3}),
        (functools.partial(functools.partial(trial, lr=0.3), n=4), {'n': 4, 'lr': 0.3}),
        (Callable(), {'lr': 0.1}),
        (Callable().method, {'lr': 0.1}),
        (annotated('Rate', 0.5), {'x': 0.5}),
        (annotated(float, None), {'x': None}),
    ],
)
def test_what_stands_for_a_function_is_one(made, parameters):
    made_of = check_study(STUDY._replace(trial=made)).trial
    found = {name: p.default for name, p in inspect.signature(made_of).parameters.items()}
    assert found == parameters
    assert inspect.getsourcefile(inspect.unwrap(made_of)) == __file__
    assert made_of(**parameters) == made(**parameters)


def test_numbers_of_numpy_are_numbers():
    seeds = check_study(STUDY._replace(seeds=np.int64(3))).seeds
    assert seeds == 3 and type(seeds) is int


@pytest.mark.parametrize(
    ('field', 'value', 'line'),
    [
        ('task', toy.Small(), 'phase 0, task: '),
        ('task', toy.task, 'phase 0, task: '),
        ('task', toy.task()._replace(step=None), 'phase 0, task, step: None is no function'),
        ('train', TABLE, "phase 0, train: Table(name='rows') is no source of batches; shuffled"),
        ('train', {'x': toy.X}, 'phase 0, train: a dict is no source'),
        (
            'tests',
            {'test': TABLE},
            "phase 0, test: Table(name='rows') is no source of batches; in_",
        ),
        ('tests', {'test': Eval(TABLE)}, "phase 0, test: Table(name='rows') is no source"),
        ('tests', toy.test_source(), 'phase 0, tests: a Source is not allowed; it must be a map'),
        ('tests', [toy.test_source()], 'phase 0, tests: a list of a Source is not allowed'),
        ('tests', None, 'phase 0, tests: None is not allowed'),
        ('tests', {1: toy.test_source()}, 'tests: 1 is no name'),
        ('tests', {'test': Eval(toy.test_source(), 'loss')}, "phase 0, test, measure: 'loss'"),
        ('tests', {'test': Eval(toy.test_source(), every=0)}, 'phase 0, test, every: 0 is not'),
        ('valid', {'valid': toy.test_source()}, 'phase 0, valid: a dict is no source'),
        ('steps', 0, 'phase 0, steps: 0 is not allowed'),
        ('steps', 1e3, 'phase 0, steps: 1000.0 is not allowed'),
        ('steps', '4', "phase 0, steps: '4' is not allowed"),
        ('every', 0.5, 'phase 0, every: 0.5 is not allowed'),
        ('name', 3, 'phase 0, name: 3 is not allowed'),
        ('best', 3, 'phase 0, best: 3 is not allowed'),
        ('start', 'graft', "phase 0, start: 'graft' is no function"),
        ('start', lambda before, fresh: fresh, 'phase 0: start is given, and there is no phase'),
    ],
)
def test_a_phase_of_the_wrong_kind_is_refused(field, value, line):
    assert line_of(check_phases, [PHASE._replace(**{field: value})]).startswith(line)


def test_a_second_phase_may_start_from_the_first():
    check_phases([PHASE, PHASE._replace(start=lambda before, fresh: fresh)])
