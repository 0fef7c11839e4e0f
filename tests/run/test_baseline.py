"""An arm that is not trained: its files are those of an arm, and its mistakes are one line."""

import functools
import os
import re
import signal

import numpy as np
import pytest

from jaxdl.claims import area, better, reaches
from jaxdl.cli.library import chosen, load, refuse_sameness, resolve, trained
from jaxdl.cli.outline import outline
from jaxdl.cli.soundness import check_study
from jaxdl.errors import JaxdlError, PreemptedError, UsageError
from jaxdl.files import read_json, write_json
from jaxdl.report.finished import Arm, directions, finished_arms
from jaxdl.report.verdicts import judged
from jaxdl.run.baseline import numbers_of_baseline, run_baseline, stand_baseline
from jaxdl.run.comparison import is_believed
from jaxdl.run.config import Config, groups_of, share_seeds
from jaxdl.run.lock import locked
from jaxdl.study import Count, Rate, Study

CONFIG = Config('toy', 'chance', [0, 1, 2], {'steps': 4}, [])
ENV = {'devices': ['cpu'], 'versions': {}, 'commit': None, 'command': 'c', 'platform': 'Linux'}


def chance(seed, steps):
    right = np.arange(steps + (seed == 1)) % 2 == seed % 2
    return {'test/accuracy': right.mean(), 'test/accuracy/each': right}


def other(seed, steps):
    return {**chance(seed, steps), 'test/accuracy': 0.25}


def run(folder, baseline=chance, config=CONFIG, **options):
    return run_baseline(folder, baseline, config, env=ENV, **options)


@pytest.fixture
def text(tmp_path):
    """A file that stands for the experiment's."""
    path = tmp_path / 'mine.py'
    path.write_text('study = ...\n')
    return path


def test_its_folder_is_read_as_any_arms(tmp_path, text):
    folder = tmp_path / 'chance'
    done = run(folder, experiment=text)
    assert done['metrics'] == {'test/accuracy': [0.5, 0.4, 0.5]}
    assert {path.name for path in folder.iterdir()} == {
        *('config.json', 'env.json', 'identity.json', 'numbers.json', 'metrics.jsonl'),
        *('arrays.npz', 'log.txt', 'DONE', 'LOCK', 'source'),
    }
    arm = Arm(folder)
    assert (arm.name, arm.seeds, arm.steps_done, arm.best_step) == (
        'chance',
        [0, 1, 2],
        [0] * 3,
        None,
    )
    assert arm.done['parameters'] == arm.done['steps'] == 0 and arm.ends == arm.unscored == {}
    assert arm.metrics['test/accuracy'].tolist() == [0.5, 0.4, 0.5]
    assert arm.curves['test/accuracy'].steps.tolist() == [0]
    each = arm.arrays['test/accuracy/each']
    assert each[:, :4].tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    assert np.isnan(each[[0, 2], 4]).all() and each[1, 4] == 0  # one seed has an example more
    assert arm.digests['experiment'] and arm.env['layout'] == 'host'


def test_what_is_done_is_believed_while_its_text_is_and_else_computed_again(tmp_path, text):
    folder = tmp_path / 'chance'
    first = run(folder, experiment=text)
    assert is_believed(folder, text)
    text.write_text('study = ...  # a comment\n')
    assert not is_believed(folder, text)
    # The same numbers: nothing has changed, and that is remembered.
    assert run(folder, experiment=text)['metrics'] == first['metrics']
    assert is_believed(folder, text) and Arm(folder).changed == []
    line = 'holds a run that computes something else: the numbers of chance: others; take another'
    with pytest.raises(UsageError, match=line):
        run(folder, other, experiment=text)
    assert run(folder, other, experiment=text, accept=True)['metrics'] == first['metrics']
    assert Arm(folder).changed == ['the numbers of chance: others']


def test_an_array_that_has_changed_is_a_change_too(tmp_path, text):
    def wrong(seed, steps):
        found = chance(seed, steps)
        return {**found, 'test/accuracy/each': found['test/accuracy/each'][::-1]}

    run(tmp_path / 'chance', experiment=text)
    for fn, changed in ((chance, []), (wrong, ['the numbers of chance: others'])):
        numbers = numbers_of_baseline(fn, CONFIG)
        found = stand_baseline(tmp_path / 'chance', numbers, CONFIG, experiment=text)
        assert found.changed == changed


def test_more_seeds_are_a_lot_of_their_own(tmp_path):
    folder = tmp_path / 'chance'
    run(folder)
    for place, lot in share_seeds(folder, CONFIG._replace(seeds=[0, 1, 2, 3, 4])):
        run(place, config=lot)
    assert len(groups_of(folder)) == 2 and Arm(folder).seeds == [0, 1, 2, 3, 4]
    assert Arm(folder).metrics['test/accuracy'].tolist() == [0.5, 0.4, 0.5, 0.5, 0.5]
    for place in groups_of(folder):  # of the lots that are done nothing is written again
        before = (place / 'DONE').stat().st_mtime_ns
        run(place, config=CONFIG._replace(seeds=read_json(place / 'config.json')['seeds']))
        assert (place / 'DONE').stat().st_mtime_ns == before


@pytest.mark.parametrize('name', ['metrics.jsonl', 'arrays.npz', 'config.json', 'DONE'])
def test_damage_is_said_and_what_was_not_done_is_computed_again(name, tmp_path):
    folder = tmp_path / 'chance'
    first = run(folder)
    path = folder / name
    content = bytearray(path.read_bytes())
    content[content.index(b'0.4') if name in ('metrics.jsonl', 'DONE') else len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    if name != 'metrics.jsonl':  # whose lines that are damaged are left
        with pytest.raises(JaxdlError, match=name):
            run(folder)
    for gone in ('DONE', 'arrays.npz'):  # as of a run that was killed before its end
        (folder / gone).unlink()
    if name != 'config.json':
        assert run(folder)['metrics'] == first['metrics'] and Arm(folder).arrays


def test_another_configuration_is_refused_and_another_process_too(tmp_path):
    run(tmp_path / 'chance')
    with pytest.raises(UsageError, match='params.steps: 4 there, 5 now'):
        run(tmp_path / 'chance', config=CONFIG._replace(params={'steps': 5}))
    with locked(tmp_path / 'chance'), pytest.raises(UsageError, match='is in use by process'):
        run(tmp_path / 'chance')


def test_a_signal_ends_it_between_seeds_and_it_starts_again(tmp_path):
    asked = []

    def slow(seed, steps):
        asked.append(seed)
        if asked == [0]:
            os.kill(os.getpid(), signal.SIGTERM)
        return chance(seed, steps)

    with pytest.raises(PreemptedError, match='stopped before seed 1 of baseline chance; the same'):
        run(tmp_path / 'chance', slow)
    assert asked == [0] and not (tmp_path / 'chance/DONE').exists()
    assert run(tmp_path / 'chance', slow)['metrics']['test/accuracy'] == [0.5, 0.4, 0.5]


@pytest.mark.parametrize(
    ('returned', 'line'),
    [
        (0.5, 'it returned 0.5; it must return numbers by name'),
        ({}, 'it returned {}'),
        ({'accuracy': 0.5}, "'accuracy' is no name of a number, such as 'test/accuracy'"),
        ({3: 0.5}, '3 is no name of a number'),
        ({'valid/steps': 3}, "'valid/steps' is no name of a number"),
        ({'test/accuracy': 'good'}, "'test/accuracy' is 'good', and no number"),
        ({'test/accuracy': None}, "'test/accuracy' is None, and no number"),
        ({'test/accuracy': np.nan}, "'test/accuracy' is nan, and must be finite"),
        ({'test/accuracy': [1, 0]}, r"'test/accuracy' has the shape \(2,\); it must be one number"),
        (
            {'test/x': 1, 'test/x/each': 1},
            r"'test/x/each' has the shape \(\); it must be one value",
        ),
        ({'test/x': 1, 'test/x/each': [[1]]}, r"'test/x/each' has the shape \(1, 1\)"),
        ({'test/x': 1, 'test/x/each': [1, np.inf]}, "'test/x/each' is .*, and must be finite"),
        ({'test/x': 1, 'test/x/each': [[1], [1, 2]]}, "'test/x/each' is .*, and no number"),
        ({'test/x/each': [1, 2]}, "'test/x/each' is there without 'test/x'"),
    ],
)
def test_what_is_no_number_by_name_is_one_line(returned, line):
    with pytest.raises(UsageError, match=line) as raised:
        numbers_of_baseline(lambda seed, steps: returned, CONFIG)
    assert re.match(r"baseline 'chance' \(.*test_baseline\.py:\d+\), seed 0: ", str(raised.value))


def test_seeds_have_the_same_numbers():
    def some(seed, steps):
        return {'test/a': 1.0, **({'test/b': 1.0} if seed else {})}

    with pytest.raises(UsageError, match="seeds 0 and 1: only one has 'test/b'"):
        numbers_of_baseline(some, CONFIG)


def test_what_it_raises_is_blamed_on_its_line():
    def broken(seed, steps):
        return {'test/accuracy': 1 / (seed - 1)}

    with pytest.raises(UsageError, match=r'test_baseline\.py:\d+: ZeroDivisionError: division'):
        numbers_of_baseline(broken, CONFIG)


def test_a_claim_names_a_number_that_it_has(tmp_path):
    with pytest.raises(UsageError, match="a claim judges 'test/acuracy' of arm 'chance'; did you"):
        run(tmp_path / 'chance', judged=['test/acuracy'])
    with pytest.raises(UsageError, match="'test/accuracy/each' of arm 'chance', which is an array"):
        run(tmp_path / 'chance', judged=['test/accuracy/each'])
    for name in (area('test/accuracy'), 'steps to test/accuracy >= 0.5'):
        with pytest.raises(UsageError, match='a baseline takes no step, and has no curve'):
            run(tmp_path / 'chance', judged=[name])


def test_what_is_better_is_what_trained_arms_say(tmp_path):
    run(tmp_path / 'chance')
    run(tmp_path / 'half', lambda seed, steps: {'test/accuracy': 0.1, 'test/x': 1.0})
    arms = finished_arms(tmp_path)
    assert directions(arms) == {}
    run(tmp_path / 'net', config=CONFIG._replace(arm='net'))
    for name, content in (
        ('config.json', {**CONFIG._asdict(), 'phases': [{'name': 'phase 0', 'steps': 1}]}),
        ('numbers.json', {'test/accuracy': {'better': 'higher', 'labels': []}}),
    ):
        write_json(tmp_path / 'net' / name, content)
    arms = finished_arms(tmp_path, first=['net'])
    assert {arm.name: arm.better for arm in arms} == dict.fromkeys(
        ('net', 'chance', 'half'), {'test/accuracy': 'higher'}
    )
    claim = better('chance', 'half', 'test/accuracy')
    other = reaches('half', 'test/accuracy', at_least=0.2)
    first, second = judged([claim, other], arms, unfinished={}, told={})
    assert first['verdict'] == 'supported'
    assert 'at the ceiling' in second['reason']  # a baseline may be the same in every seed


# ---- in a study ----------------------------------------------------------------------------------


def trial(steps: Count = 4, lr: Rate = 0.1):
    return steps, lr


STUDY = Study('?', trial, {'a': {}}, tiny={}, baselines={'chance': chance})


async def later(seed):
    pass


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        ({'baselines': [chance]}, 'baselines: [<function chance'),
        ({'baselines': {'chance': None}}, "baseline 'chance': None is not allowed; it must be a"),
        ({'baselines': {'chance': dict}}, "baseline 'chance': <class 'dict'> is not allowed"),
        ({'baselines': {'chance': later}}, "baseline 'chance': it is async or yields"),
        ({'baselines': {'chance': lambda steps: 0}}, "baseline 'chance': it takes no `seed`"),
        ({'baselines': {'chance': lambda seed, **x: 0}}, "baseline 'chance': **x is no parameter"),
        (
            {'baselines': {'chance': lambda seed, /: 0}},
            "baseline 'chance': 'seed' is positional-only",
        ),
        (
            {'baselines': {'chance': lambda seed, step: 0}},
            "baseline 'chance': its parameter 'step' is none of the trial; did you mean 'steps'?",
        ),
        ({'baselines': {'a': chance}}, "'a' is an arm that is trained, and a baseline"),
        ({'baselines': {'A': chance}}, "arms 'a' and 'A': some disks take them for one folder"),
        ({'baselines': {'x y': chance}}, "an arm cannot be called 'x y'"),
        ({'baselines': {'tiny': chance}}, "the arm 'tiny' is a field of its own"),
        ({'arms': {}}, 'the study has no arms but baselines, and one must be trained'),
    ],
)
def test_a_baseline_that_cannot_be_is_one_line(changes, line):
    with pytest.raises(UsageError) as raised:
        check_study(STUDY._replace(**changes))
    assert str(raised.value).startswith(line) and '\n' not in str(raised.value)


def test_it_is_an_arm_with_parameters_of_the_trial():
    study = check_study(STUDY._replace(claims=[reaches('chance', 'test/accuracy', at_least=0)]))
    assert list(study.named()) == ['a', 'chance', 'tiny']
    assert chosen(study) == ('a', 'chance') and trained(study) == ('a',)
    with pytest.raises(UsageError, match="--arm: 'chance' is a baseline: nothing of it is trained"):
        trained(study, ('chance',))
    assert resolve(study, 'chance', {}) == {'steps': 4}
    assert resolve(study, 'chance', {'steps': 7, 'lr': 0.3}) == {'steps': 7}
    fixed = STUDY._replace(baselines={'chance': functools.partial(chance, steps=2)})
    assert resolve(check_study(fixed), 'chance', {'steps': 7}) == {}
    # What arms are compared in is no matter of a baseline; what only a baseline takes is.
    one = study._replace(arms={'a': {'lr': 0.3}})
    refuse_sameness(one, ('a', 'chance'), {'lr': 0.1})
    refuse_sameness(one, ('chance',), {'steps': 3})
    with pytest.raises(UsageError, match='--lr: chance takes no lr'):
        refuse_sameness(one, ('chance',), {'lr': 0.1})


def test_it_is_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = "study = Study('Q?', trial, {'a': {}}, tiny={}, baselines={'chance': chance})\n"
    (tmp_path / 'mine.py').write_text(written)
    assert outline(tmp_path / 'mine.py').arms == ('a', 'chance', 'tiny')
    (tmp_path / 'mine.py').write_text(
        'from jaxdl.study import Study\n\n\ndef trial(n: int = 1):\n    return n\n\n\n'
        'def chance(seed):\n    return {}\n\n\nMORE = dict(chance=chance)\n'
        + written.replace("{'chance': chance}", 'MORE')
    )
    assert outline(tmp_path / 'mine.py').arms is None  # computed
    assert list(load(str(tmp_path / 'mine.py'))[1].named()) == ['a', 'chance', 'tiny']
