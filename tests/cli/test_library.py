"""Experiments by name and by file, and what is said of a broken one."""

import sys
from pathlib import Path
from typing import Literal

import pytest
import toy

from jaxdl.cli.library import (
    chosen,
    find_of,
    load,
    names,
    phases_of,
    refuse_sameness,
    resolve,
)
from jaxdl.errors import DataMissingError, UsageError
from jaxdl.run.config import note_start
from jaxdl.study import Count, Phase, Study

FILE = """\
from jaxdl.study import Study


def trial(steps: int = 3):
    return steps


study = Study('Why?', trial, {'base': {}})
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, with an import path and modules that are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    yield tmp_path
    for name in ('experiments.mine', 'my_nets', 'my_data'):
        sys.modules.pop(name, None)


def said(name):
    with pytest.raises(UsageError) as raised:
        load(name)
    assert '\n' not in str(raised.value)
    return str(raised.value)


def test_experiments_are_those_here_and_then_those_of_the_checkout(here):
    shipped = names()
    assert {'digits', 'lenet_mnist', 'ring_gan', 'catch_dqn'} <= shipped.keys()
    (here / 'experiments').mkdir()
    for name in ('mine', 'digits', '_private'):
        (here / 'experiments' / f'{name}.py').write_text(FILE)
    assert set(names()) == {*shipped, 'mine'}
    assert names()['digits'] == here / 'experiments' / 'digits.py'
    assert load('mine')[0] == 'mine'
    name, study = load('digits')
    assert name == 'digits' and study.question == 'Why?'


def test_a_script_among_the_experiments_is_none(here):
    (here / 'experiments').mkdir()
    script = "if __name__ == '__main__':\n    from jaxdl.cli.main import run_script\n\n"
    script += '    run_script(print)\n'
    (here / 'experiments' / 'mine.py').write_text(script)
    assert 'mine' not in names() and 'architectures' not in names()
    assert said('mine').startswith("unknown experiment 'mine'")
    # One that also defines a study is both.
    (here / 'experiments' / 'mine.py').write_text(FILE + script)
    assert load('mine')[0] == 'mine' and 'throughput' in names()


def test_a_file_of_the_users_own_and_what_lies_beside_it(here):
    (here / 'deep').mkdir()
    (here / 'deep' / 'my_nets.py').write_text('WIDTH = 7\n')
    (here / 'my_data.py').write_text('ROWS = 9\n')
    file = here / 'deep' / 'mine.py'
    file.write_text('import my_data, my_nets\n' + FILE + 'seen = my_data.ROWS, my_nets.WIDTH\n')
    for word in ('deep/mine.py', str(file)):
        name, study = load(word)
        assert name == 'mine' and study.trial.__globals__['seen'] == (9, 7)


def test_unknown_names():
    assert said('digit').startswith("unknown experiment 'digit'; did you mean 'digits'?")
    assert 'FILE.py' in said('nothing_like_it')
    assert said('deep/mine.py') == "no file 'deep/mine.py'"


def test_a_file_that_is_there_is_suggested(here):
    (here / 'spirals.py').write_text(FILE)
    assert said('spirals') == "unknown experiment 'spirals'; there is a file: spirals.py"


@pytest.mark.parametrize(
    'text,line',
    [
        ('x = 1\n\ndef f(:\n', 'mine.py:3: SyntaxError: invalid syntax'),
        ('x = 1\ny = x / 0\n', 'mine.py:2: ZeroDivisionError: division by zero'),
        ('import json\n\n\njson.loads("{")\n', 'mine.py:4: JSONDecodeError: Expecting property'),
        ('import no_such_thing\n', "mine.py:1: ModuleNotFoundError: No module named 'no_such"),
        ('raise ValueError("one\\ntwo")\n', 'mine.py:1: ValueError: one (--debug shows the trace'),
        ('raise SystemExit("bye")\n', 'mine.py:1: SystemExit: bye'),
        ('x = 1\n', 'mine.py defines no Study called `study`'),
        ('study = 3\n', 'mine.py defines no Study called `study`'),
        (FILE.replace("{'base': {}}", '{}'), 'mine.py: the study has no arms; one is enough'),
        (FILE.replace('base', 'a/b'), "mine.py: an arm cannot be called 'a/b'"),
        (FILE.replace('base', '..'), "mine.py: an arm cannot be called '..'"),
        ('class Stop(BaseException): pass\nraise Stop("so")\n', 'mine.py:2: Stop: so (--debug'),
        ('quit()\n', 'mine.py:1: SystemExit: None (--debug'),
        (FILE.replace("{'base': {}}", "['base']"), "mine.py: arms: ['base'] is not allowed"),
        (
            FILE.replace("{'base': {}}", "{'base': {'stepz': 1}}"),
            "mine.py: arm 'base' sets 'stepz'",
        ),
        (
            FILE.replace("{'base': {}}", "{'base': {}}, tiny={'s': 1}"),
            "mine.py: arm 'tiny' sets 's'",
        ),
        (FILE.replace("'Why?'", "''"), "mine.py: question: '' is not allowed"),
        (FILE.replace('base', 'figures'), "mine.py: an arm cannot be called 'figures'"),
    ],
)
def test_a_broken_file_is_named_with_its_line(text, line, here):
    (here / 'mine.py').write_text(text)
    assert said('mine.py').startswith(line)


def test_what_a_broken_file_raised_is_kept_for_debug(here):
    (here / 'mine.py').write_text('1 / 0\n')
    with pytest.raises(UsageError) as raised:
        load('mine.py')
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert 'experiments.mine' not in sys.modules  # half a module is none


def test_an_error_of_ours_passes_through_a_file(here):
    (here / 'mine.py').write_text(
        'from jaxdl.errors import DataMissingError\nraise DataMissingError("run: this")\n'
    )
    with pytest.raises(DataMissingError, match='^run: this$'):
        load('mine.py')


def trial(network: Literal['a', 'b'] = 'a', width: Count = 4, lr: float = 0.1):
    return Phase(toy.task(), toy.train_source(), {}, steps=width, every=1)


STUDY = Study('Why?', trial, {'a': {}, 'b': {'network': 'b', 'width': 8}}, tiny={'width': 1})


def test_an_arm_overrides_the_defaults_and_the_command_line_the_arm():
    assert resolve(STUDY, 'a', {}) == {'network': 'a', 'width': 4, 'lr': 0.1}
    assert resolve(STUDY, 'b', {'width': 2}) == {'network': 'b', 'width': 2, 'lr': 0.1}


@pytest.mark.parametrize(
    'settings,line',
    [
        ({'widht': 3}, "arm 'x' sets 'widht'; did you mean 'width'"),
        ({'width': 0}, "arm 'x', width: 0 is not allowed; it must be a whole number, at least 1"),
        ({'network': 'c'}, "arm 'x', network: unknown 'c'"),
        ({'lr': 'big'}, "arm 'x', lr: 'big' is not allowed; it must be a number"),
    ],
)
def test_an_arm_that_makes_no_sense(settings, line):
    with pytest.raises(UsageError, match=line):
        resolve(STUDY._replace(arms={'x': settings}), 'x', {})


def test_a_parameter_that_nobody_sets():
    def trial(width: int, lr: float = 0.1):
        pass

    study = Study('Why?', trial, {'x': {}, 'y': {'width': 3}})
    assert resolve(study, 'y', {}) == {'width': 3, 'lr': 0.1}
    assert resolve(study, 'x', {'width': 5})['width'] == 5
    with pytest.raises(UsageError, match="arm 'x' leaves 'width' without a value"):
        resolve(study, 'x', {})


def test_arms_are_all_but_tiny_unless_they_are_named():
    assert chosen(STUDY) == ('a', 'b')
    assert chosen(STUDY, ('tiny', 'a', 'tiny')) == ('tiny', 'a')
    with pytest.raises(UsageError, match='unknown arm .tiny.'):
        chosen(STUDY._replace(tiny=None), ('tiny',))
    with pytest.raises(UsageError, match="--arm: unknown arm 'tyny'; did you mean 'tiny'"):
        chosen(STUDY, ('a', 'tyny'))


def test_arms_are_not_made_equal_in_what_they_are_compared_in():
    refuse_sameness(STUDY, ('a', 'b'), {'lr': 0.3})
    refuse_sameness(STUDY, ('b',), {'width': 3})
    with pytest.raises(UsageError, match=r'--width: .*\(a with 4, b with 8\).* --arm'):
        refuse_sameness(STUDY, ('a', 'b'), {'lr': 0.3, 'width': 3})


def test_a_trial_is_a_phase_or_several():
    phase = trial()
    assert phases_of(STUDY._replace(trial=lambda: phase), {}) == (phase,)
    assert phases_of(STUDY._replace(trial=lambda: (phase, phase)), {}) == (phase, phase)


@pytest.mark.parametrize('made', [None, 3, (), [], ('x',)])
def test_a_trial_that_is_no_phase(made):
    with pytest.raises(UsageError, match='the trial must return a Phase, or a tuple of them'):
        phases_of(STUDY._replace(trial=lambda: made), {})


@pytest.mark.parametrize('name', ['steps', 'every'])
def test_a_phase_without_steps(name):
    phase = trial()._replace(**{name: 0})
    with pytest.raises(UsageError, match=f'phase 0, {name}: 0 is not allowed'):
        phases_of(STUDY._replace(trial=lambda: phase), {})


def test_a_trial_that_raises_is_named_with_its_line(here):
    text = FILE.replace(
        '    return steps\n', '    if steps > 2:\n        raise ValueError("odd")\n'
    )
    (here / 'mine.py').write_text(text)
    _, study = load('mine.py')
    with pytest.raises(UsageError, match=r'^mine.py:6: ValueError: odd \(--debug'):
        phases_of(study, {'steps': 3})
    with pytest.raises(UsageError, match=r'^mine.py: TypeError: .*unexpected keyword'):
        phases_of(study, {'stepps': 3})


@pytest.mark.parametrize('word', ['import sys; sys.exit(0)', 'quit()', 'raise BaseException(0)'])
def test_a_trial_that_ends_the_process_is_named_with_its_line(word, here):
    (here / 'mine.py').write_text(FILE.replace('    return steps\n', f'    {word}\n'))
    _, study = load('mine.py')
    with pytest.raises(
        UsageError, match=r'^mine.py:5: (SystemExit|BaseException): (0|None) \(--debug'
    ):
        phases_of(study, {'steps': 3})


def test_annotations_that_are_texts_are_read(here):
    future = 'from __future__ import annotations\n' + FILE
    (here / 'mine.py').write_text(
        future.replace('int', 'Count').replace('import S', 'import Count, S')
    )
    _, study = load('mine.py')
    with pytest.raises(UsageError, match="arm 'base', steps: 0 is not allowed"):
        resolve(study._replace(arms={'base': {'steps': 0}}), 'base', {})


def test_the_experiment_of_a_run_is_found_from_anywhere(here, monkeypatch):
    arm, elsewhere = here / 'there/runs/mine/base', here / 'elsewhere'
    for folder in (arm / 'source', elsewhere):
        folder.mkdir(parents=True)
    (here / 'there/mine.py').write_text(FILE)
    (arm / 'source/mine.py').write_text(FILE)
    (elsewhere / 'mine.py').write_text('study = 3\n')  # another one
    note_start(arm, {'experiment': 'mine.py'})
    monkeypatch.chdir(elsewhere)
    assert find_of(arm) == here / 'there/mine.py'
    (here / 'there/mine.py').unlink()
    (elsewhere / 'mine.py').unlink()
    assert find_of(arm) == arm / 'source/mine.py'
    monkeypatch.chdir(arm.parent)
    assert find_of(Path('base')) == Path('base/source/mine.py')
