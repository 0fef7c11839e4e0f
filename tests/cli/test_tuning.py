"""Hyperparameters are chosen before the reported seeds, on the validation split, by runs as any."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from test_cli import flat, mistake, typed

from jaxdl.checkpoint.manager import load_weights
from jaxdl.cli import plan, standing
from jaxdl.cli.grid import FIRST_SEED, combinations, folder_name, grid_of
from jaxdl.cli.library import load
from jaxdl.cli.soundness import check_study
from jaxdl.cli.tuning import edges, pick
from jaxdl.errors import UsageError
from jaxdl.files import read_json, write_json
from jaxdl.report import figures, page
from jaxdl.report.tuned import notes_of
from jaxdl.run import machine
from jaxdl.run.arm import Record
from jaxdl.run.config import Config, as_json
from jaxdl.run.record import read_metrics
from jaxdl.study import Count, Rate, Study
from jaxdl.trained import load_net

MINE = """\
import numpy as np
import optax

from jaxdl.claims import better
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import from_arrays
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.keep_best import keep_best
from jaxdl.study import Count, Phase, Rate, Study

X = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
DATA = from_arrays({'x': X, 'y': (X[:, 0] > 0).astype(np.int32)}, name='mine')


def trial(width: Count = 3, lr: Rate = 0.2, steps: Count = 4) -> Phase:
    train, valid, test = DATA.split(seed=0, valid=1 / 3, test=1 / 3)
    task = keep_best(classifier(MLP((width, 2)), optax.sgd(lr), classes=2), 'accuracy')
    return Phase(
        task,
        train=shuffled(train, batch=8),
        tests={'test': in_order(test, batch=32)},
        valid=in_order(valid, batch=32),
        steps=steps,
        every=1,
    )


def share(seed: int, steps: int) -> dict[str, float]:
    right = np.arange(5) < min(steps, 3)
    return {'test/accuracy': right.mean(), 'test/accuracy/each': right}


study = Study(
    question='Is wider better?',
    trial=trial,
    arms={'narrow': {}, 'wide': {'width': 5}},
    tiny={'steps': 1, 'lr': 0.5},
    seeds=2,
    claims=[better('wide', 'narrow', 'test/accuracy'), better('wide', 'share', 'test/accuracy')],
    tune={'lr': (0.05, 1e30, 1.0)},
    tuned_by='valid/accuracy',
    baselines={'share': share},
)
"""
RUN = ['run', 'mine.py', '--layout', 'vmap', '--chunk', '1', '--no-tensorboard']
SEEDS = [FIRST_SEED, FIRST_SEED + 1]
LRS = (0.05, 1e30, 1.0)
TITLES = []  # of the runs of `finished`


@pytest.fixture(scope='module', autouse=True)
def undrawn():
    """Reports whose figures are not drawn: what they show is in other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, '_save', lambda folder, name, figure, alt: page.Shown('x', '', alt))
        for name in ('curves', 'strip', 'evidence', 'confusion'):
            patch.setattr(figures, name, lambda *args, **more: None)
        yield


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, with the user's file, and an import path that is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setenv('JAXDL_MALLOPT', '0')
    (tmp_path / 'mine.py').write_text(MINE)
    return tmp_path


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """(folder, standard output, standard error) of one run of everything."""
    folder = tmp_path_factory.mktemp('finished')
    (folder / 'mine.py').write_text(MINE)
    described = {**machine.describe(), 'git': {'commit': 'abc', 'dirty': False}}
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv('JAXDL_MALLOPT', '0')
        patch.setattr(machine, 'describe', lambda: dict(described))  # as of a clean checkout
        make = Record.__init__

        def titled(self, folder, *, title, **more):
            TITLES.append(title)
            make(self, folder, title=title, **more)

        patch.setattr(Record, '__init__', titled)
        code, out, err = typed(*RUN)
    assert code == 0, err
    return folder, out, err


@pytest.fixture
def there(finished, here):
    """A copy of the finished run, to work in."""
    shutil.copytree(finished[0] / 'runs', here / 'runs')
    return here


def choice(folder, arm):
    return read_json(folder / 'runs/mine/tuning' / arm / 'choice.json')


def timeless(value):
    if isinstance(value, dict):
        return {name: timeless(item) for name, item in value.items() if name != 'seconds'}
    return [timeless(item) for item in value] if isinstance(value, list) else value


# ---- the choice --------------------------------------------------------------------------------


@pytest.mark.parametrize('arm', ['narrow', 'wide'])
def test_a_candidate_is_worth_the_best_state_of_its_seeds_on_validation(finished, arm):
    folder = finished[0]
    found = choice(folder, arm)
    assert (found['by'], found['better'], found['seeds']) == ('valid/accuracy', 'higher', SEEDS)
    assert found['grid'] == {'lr': [0.05, 1e30, 1.0]}
    low, diverged, high = found['candidates']
    for candidate, name in ((low, 'lr=0.05'), (high, 'lr=1.0')):
        lines = read_metrics(folder / 'runs/mine/tuning' / arm / name)
        looks = np.array([line['metrics']['valid/accuracy'] for line in lines])
        assert looks.shape == (4, 2)
        assert candidate['per_seed'] == list(looks.max(0))  # what keep_best kept
        assert candidate['mean'] == pytest.approx(looks.max(0).mean())
        assert candidate['steps'] == 4 and 'note' not in candidate
    assert diverged['note'] == 'diverged' and diverged['mean'] is None
    assert diverged['per_seed'] == [None, None] and diverged['steps'] < 4
    place = folder / 'runs/mine/tuning' / arm / 'lr=1e+30'
    assert diverged['seconds'] == read_json(place / 'DIVERGED')['seconds'] > 0
    best = max((low, high), key=lambda it: it['mean'])
    assert found['chosen'] == best['params'] and low['mean'] != high['mean']
    config = read_json(folder / 'runs/mine' / arm / 'config.json')
    assert config['params']['lr'] == best['params']['lr'] and config['tuned'] == ['lr']
    assert config['seeds'] == [0, 1]


def test_a_candidate_sees_no_test(finished):
    for place in finished[0].glob('runs/mine/tuning/*/*/'):
        (phase,) = read_json(place / 'identity.json')['phases']
        assert phase['data'].keys() == {'train', 'valid', 'tuning'}
        rows = {split: it['rows'] for split, it in phase['data'].items()}
        assert rows['tuning'] == rows['valid'] and 'valid' in rows['valid']
        numbers = read_json(place / 'numbers.json')
        assert {name.split('/')[0] for name in numbers} == {'train', 'valid', 'tuning'}
        assert read_json(place / 'config.json')['seeds'] == SEEDS


def test_the_best_mean_is_taken_the_first_of_equals_and_never_one_that_is_not_finite():
    assert pick([0.5, 0.7, 0.7], 'higher') == 1
    assert pick([0.5, 0.5, 0.7], 'lower') == 0
    assert pick([None, math.nan, 0.1], 'higher') == 2
    assert pick([None, 0.1, math.nan], 'lower') == 1
    assert pick([None, math.nan, math.inf], 'higher') is None


def test_an_edge_is_the_least_or_the_greatest_of_several_numbers():
    grid = {'lr': (0.3, 0.1, 0.2), 'width': (4,), 'rule': ('a', 'b', 'c'), 'flip': (True, False)}
    chosen = {'lr': 0.3, 'width': 4, 'rule': 'a', 'flip': True}
    assert edges(chosen, grid) == ['lr']
    assert edges({**chosen, 'lr': 0.1}, grid) == ['lr'] and edges({**chosen, 'lr': 0.2}, grid) == []
    assert edges({'lr': 1}, {'lr': (1, 2)}) == ['lr']


def test_a_grid_is_a_product_in_its_order_and_each_combination_has_a_folder():
    assert combinations({'a': (1, 2), 'b': ('x', 'y')}) == [
        {'a': 1, 'b': 'x'},
        {'a': 1, 'b': 'y'},
        {'a': 2, 'b': 'x'},
        {'a': 2, 'b': 'y'},
    ]
    assert folder_name({'lr': 1e-3, 'width': 64}) == 'lr=0.001,width=64'
    assert folder_name({'flip': True}) == 'flip=True'
    odd = [{'a': 'x/y'}, {'a': 'x y'}, {'a': 'X'}, {'a': (1, 2)}, {'a': 'x' * 300}]
    names = [folder_name(each) for each in odd] + [folder_name({'a': 'x'})]
    assert len({name.lower() for name in names}) == len(names)
    assert all(re.fullmatch(r'[\w.,=+-]{1,100}', name) for name in names)


# ---- what is said of it ------------------------------------------------------------------------


def test_result_json_has_the_grid_the_candidates_and_what_was_chosen(finished):
    result = read_json(finished[0] / 'runs/mine/result.json')
    found = result['tuning']
    assert {'by', 'better', 'seeds', 'grid', 'seconds', 'arms'} == found.keys()
    assert found['by'] == 'valid/accuracy' and found['seeds'] == SEEDS
    candidates = [c for arm in found['arms'].values() for c in arm['candidates']]
    assert found['seconds'] == pytest.approx(sum(c['seconds'] for c in candidates), abs=0.1)
    assert found['arms'].keys() == {'narrow', 'wide'}
    for arm, it in found['arms'].items():
        made = choice(finished[0], arm)
        assert it == {name: made[name] for name in ('candidates', 'chosen', 'edge')}
        edge = it['chosen'] == {'lr': 0.05}  # the greatest is the one that diverges
        note = 'lr 0.05 is at the edge of its grid'
        assert (note in result['arms'][arm]['notes']) == edge == (it['edge'] == ['lr'])


def test_pages_and_terminal_say_how_it_was_chosen(finished):
    folder, out, err = finished
    lr = choice(folder, 'wide')['chosen']['lr']
    line = f'wide: lr {lr} of 3 values, by valid/accuracy'
    assert f'\n{line}\n' in out and f'\n{line}\n' in err
    assert re.search(r'^narrow, lr 1e\+30: .*: the loss .*', err, re.MULTILINE), err
    for name in ('report.md', 'report.html'):
        text = (folder / 'runs/mine' / name).read_text()
        assert '****' not in text  # an empty cell of what was chosen
        for part in ('How hyperparameters were chosen', '1000000', 'valid/accuracy', 'diverged'):
            assert part in text
    mean = next(c for c in choice(folder, 'wide')['candidates'] if c['params'] == {'lr': lr})[
        'mean'
    ]
    text = (folder / 'runs/mine/report.md').read_text()
    assert f'| **wide** | **{lr}** | **{mean:.4g}** |' in text


def test_progress_names_the_candidate(finished):
    tried = [f'mine {arm}, tuning lr {lr}' for arm in ('narrow', 'wide') for lr in LRS]
    tried.insert(len(LRS), 'mine narrow')
    assert TITLES == ['mine share', *tried, 'mine wide']


# ---- stopping, and starting again ----------------------------------------------------------------


def arrays(folder):
    leaves = jax.tree_util.tree_leaves_with_path(load_weights(folder / 'checkpoints').state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def test_a_run_that_is_stopped_in_the_middle_of_tuning_ends_as_if_it_had_never_been(
    here, finished, monkeypatch
):
    progress, steps = Record.progress, []

    def stop(record, at, **more):
        progress(record, at, **more)
        if record.folder.name == 'lr=1.0' and not steps and at == 2:
            steps.append(at)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Record, 'progress', stop)
    words = [*RUN, '--arm', 'narrow']
    code, out, err = typed(*words)
    assert code == 75 and steps == [2]
    assert err.endswith('jaxdl: stopped and saved at step 2; the same command goes on from there\n')
    place = here / 'runs/mine/tuning/narrow'
    assert not (place / 'choice.json').exists() and not (here / 'runs/mine/narrow').exists()
    before = {path: path.read_bytes() for path in place.glob('lr=0.05/*') if path.is_file()}
    code, out, err = typed(*words)
    assert code == 0 and 'going on at step 2' in err
    assert (
        err.count('phase 0: at most 4 steps') == 2
    )  # of the candidate that was stopped, and of the arm
    assert {path: path.read_bytes() for path in before} == before

    quiet = finished[0] / 'runs/mine'
    assert timeless(choice(here, 'narrow')) == timeless(choice(finished[0], 'narrow'))
    for name in ('tuning/narrow/lr=0.05', 'tuning/narrow/lr=1.0', 'narrow'):
        got, want = here / 'runs/mine' / name, quiet / name
        assert timeless(read_metrics(got)) == timeless(read_metrics(want))
        assert timeless(read_json(got / 'DONE'))['metrics'] == read_json(want / 'DONE')['metrics']
        saved = arrays(want)
        assert arrays(got).keys() == saved.keys()
        for leaf, array in saved.items():
            np.testing.assert_array_equal(arrays(got)[leaf], array, err_msg=leaf)


def test_a_finished_choice_is_not_made_again(there, finished, monkeypatch):
    monkeypatch.setattr(plan, 'run_arm', None)
    monkeypatch.setattr(plan, 'run_baseline', None)
    monkeypatch.setattr(standing, 'phases_of', None)
    code, out, err = typed(*RUN)
    assert (code, out, err) == (0, finished[1], '')


def test_a_longer_grid_tries_what_is_new_and_another_choice_is_refused(there, monkeypatch):
    text = MINE.replace('(0.05, 1e30, 1.0)', '(0.05, 1e30, 1.0, 1e31)')
    (there / 'mine.py').write_text(text)
    kept = choice(there, 'narrow')['chosen']
    code, out, err = typed(*RUN, '--arm', 'narrow')
    assert code == 0 and choice(there, 'narrow')['chosen'] == kept
    assert len(choice(there, 'narrow')['candidates']) == 4
    note = 'narrow: it was tuned over another grid, or by other seeds, than other arms'
    assert note not in out  # it is the first; the other is told of
    assert 'wide: it was tuned over another grid' in out
    # What was trained with another value is not trained again in its place.
    path = there / 'runs/mine/narrow/config.json'
    other = json.loads(path.read_text())
    other['params']['lr'] = 0.3
    write_json(path, other)
    (there / 'mine.py').write_text(text.replace('1e31)', '1e31, 1e32)'))
    line = mistake_after(*RUN, '--arm', 'narrow')
    assert f'params.lr: 0.3 there, {kept["lr"]} now' in line
    assert len(choice(there, 'narrow')['candidates']) == 4  # it is still that of the arm


def mistake_after(*words):
    """The last line of a command that is refused after it said something."""
    code, _, err = typed(*words)
    assert code == 2 and 'Traceback' not in err, err
    return err.splitlines()[-1]


def test_an_arm_without_a_candidate_to_choose_is_diverged(here):
    text = MINE.replace('(0.05, 1e30, 1.0)', '(1e30,)')
    (here / 'mine.py').write_text(text)
    code, out, err = typed(*RUN, '--arm', 'narrow', 'share')
    assert code == 78 and out == ''
    line = (
        'jaxdl: narrow: every candidate of its grid diverged, or its valid/accuracy is not finite'
    )
    assert err.splitlines()[-1].startswith(line)
    assert choice(here, 'narrow')['chosen'] is None
    # Beside an arm that is done the report says so.
    code, out, err = typed(*RUN, '--arm', 'narrow', 'wide', '--no-tune', '--workdir', 'w')
    assert code == 0
    (here / 'w/narrow').rename(here / 'gone')
    shutil.copytree(here / 'runs/mine/tuning', here / 'w/tuning')
    code, out, err = typed('report', 'w')
    assert code == 0
    assert '(narrow is not finished: no candidate of its grid could be chosen)' in flat(out)


# ---- without tuning, and with some of it ---------------------------------------------------------


def test_without_tuning_the_defaults_are_taken_and_the_report_says_so(here):
    code, out, err = typed(*RUN, '--no-tune', '--arm', 'narrow')
    assert code == 0 and not (here / 'runs/mine/tuning').exists()
    config = read_json(here / 'runs/mine/narrow/config.json')
    assert config['params']['lr'] == 0.2 and config['tuned'] == []
    result = read_json(here / 'runs/mine/result.json')
    assert result['tuning'] is None
    assert result['arms']['narrow']['notes'] == ['not tuned, though the study has a grid: lr 0.2']
    assert 'How hyperparameters' not in (here / 'runs/mine/report.md').read_text()
    # It is refused before anything is tuned for it.
    line = mistake(*RUN, '--arm', 'narrow')
    assert (
        "runs/mine/narrow holds a run of another configuration: tuned: [] there, ['lr'] now" in line
    )


def test_what_is_typed_is_not_tuned(here):
    code, out, err = typed('run', 'mine.py', '--lr', '0.3', '--print-config')
    assert code == 0 and 'tuning' not in json.loads(out)
    assert json.loads(out)['arms']['wide']['params']['lr'] == 0.3
    study = load('mine.py')[1]._replace(tune={'lr': (0.1, 0.2), 'width': (3, 4)})
    assert grid_of(study, 'narrow', {'lr': 0.3}) == {'width': (3, 4)}
    assert grid_of(study, 'tiny', {}) == grid_of(study, 'share', {}) == {}


def test_a_baseline_that_takes_what_is_tuned_has_the_default_and_it_is_said():
    arm = SimpleNamespace(name='share', config={'params': {'lr': 0.2, 'steps': 4}, 'phases': []})
    assert notes_of(None, arm, ['lr', 'width']) == [
        'not tuned, though the study has a grid: lr 0.2'
    ]


def test_print_config_shows_the_grid_and_the_choice_where_it_is_known(there, finished):
    for folder, lr in ((there, choice(there, 'narrow')['chosen']['lr']), (there / 'new', None)):
        folder.mkdir(exist_ok=True)
        code, out, err = typed(*RUN, '--workdir', str(folder / 'runs/mine'), '--print-config')
        shown = json.loads(out)
        assert shown['tuning']['grid'] == {'lr': [0.05, 1e30, 1.0]}
        assert shown['tuning']['seeds'] == SEEDS and shown['tuning']['by'] == 'valid/accuracy'
        narrow = shown['arms']['narrow']
        assert narrow['params']['lr'] == lr
        assert narrow['chosen'] == (None if lr is None else {'lr': lr})
        assert 'chosen' not in shown['arms']['share']


def test_a_smoke_run_tunes_nothing_and_says_so(here):
    code, out, err = typed(*RUN, '--smoke', '--arm', 'narrow')
    assert code == 0 and 'its numbers say nothing; nothing is tuned in it' in flat(out)
    config = read_json(here / 'runs/mine-smoke/narrow/config.json')
    assert config['params']['lr'] == 0.05 and not (here / 'runs/mine-smoke/tuning').exists()


# ---- the commands that read it -------------------------------------------------------------------


def test_report_eval_and_record_take_a_tuned_run(there):
    code, out, _ = typed('eval', 'mine', '--layout', 'vmap')
    assert code == 0 and 'narrow' in out and 'wide' in out and 'share' not in out
    with pytest.raises(UsageError, match='share is a baseline: there is no network'):
        load_net('runs/mine/share')
    before = read_json(there / 'runs/mine/result.json')
    (there / 'mine.py').write_text(MINE + '# a comment\n')  # looked into, and nothing has changed
    code, out, err = typed('report', 'mine')
    after = read_json(there / 'runs/mine/result.json')
    assert (code, err) == (0, '') and after['tuning'] == before['tuning']
    assert after['claims'] == before['claims'] and after['experiment'] != before['experiment']
    code, out, err = typed('record', 'mine')
    assert code == 0, err
    recorded = json.loads((there / 'experiments/results/mine.json').read_text())
    assert 'departs' not in recorded and recorded['tuning']['grid'] == {'lr': [0.05, 1e30, 1.0]}
    # Another grid, or other seeds of tuning, are not what the study has.
    for old, new in (
        ('1.0)', '1.0, 2.0)'),
        ("'valid/accuracy'", "'valid/accuracy', tuning_seeds=3"),
    ):
        (there / 'mine.py').write_text(MINE.replace(old, new))
        line = mistake('record', 'mine')
        assert 'narrow, wide was tuned over another grid, or otherwise' in line


def test_a_value_that_was_chosen_comes_back_from_json_as_the_trial_takes_it():
    def trial(clip: float = 1.0, widths: list[int] | tuple[int, ...] = (1,)):
        pass

    study = Study('?', trial, {'a': {}}, tune={'clip': (math.inf, 2.0), 'widths': ([3], (4, 5))})
    for params in combinations(grid_of(study, 'a', {})):
        config = Config('s', 'a', [0], as_json(params), [], tuned=['clip', 'widths'])
        assert standing.recall(study, config) == params


# ---- mistakes ------------------------------------------------------------------------------------


def trial(lr: Rate = 0.1, width: Count = 3):
    return lr, width


STUDY = Study('?', trial, {'a': {}}, tune={'lr': (0.1, 0.2)}, tuned_by='valid/accuracy')


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        ({'tune': [0.1]}, 'tune: [0.1] is not allowed; it must be a mapping'),
        ({'tune': {'lrr': (1.0,)}}, "tune: unknown parameter 'lrr'; did you mean 'lr'? (allowed: "),
        ({'tune': {'lr': ()}}, 'tune, lr: there are no values to try'),
        ({'tune': {'lr': 0.1}}, 'tune, lr: 0.1 is not allowed; it must be the values to try'),
        ({'tune': {'lr': '0.1'}}, "tune, lr: '0.1' is not allowed"),
        (
            {'tune': {'lr': (0.1, 'x')}},
            "tune, lr: 'x' is not allowed; it must be a number, greater",
        ),
        ({'tune': {'lr': (0.1, -0.1)}}, 'tune, lr: -0.1 is not allowed'),
        ({'tune': {'width': (1.5,)}}, 'tune, width: 1.5 is not allowed; it must be a whole number'),
        ({'tune': {'lr': (0.1, 0.1)}}, 'tune, lr: 0.1 is there twice'),
        ({'tuned_by': None}, 'tuned_by: None is not allowed; it must name the number of the valid'),
        ({'tuned_by': 'test/accuracy'}, "tuned_by: 'test/accuracy' is not allowed"),
        ({'tuning_seeds': 0}, 'tuning_seeds: 0 is not allowed; it must be how many'),
        ({'tuning_seeds': True}, 'tuning_seeds: True is not allowed'),
        ({'arms': {'a': {'lr': 0.3}}}, "arm 'a' sets 'lr', which the study tunes; take it out"),
        ({'arms': {'tuning': {}}}, "an arm cannot be called 'tuning'"),
    ],
)
def test_a_grid_that_cannot_be_is_one_line(changes, line):
    with pytest.raises(UsageError) as raised:
        check_study(STUDY._replace(**changes))
    assert str(raised.value).startswith(line) and '\n' not in str(raised.value)


def test_a_grid_may_be_an_array_and_tiny_may_set_what_is_tuned():
    study = check_study(STUDY._replace(tune={'lr': np.array([0.1, 0.2])}, tiny={'lr': 0.5}))
    assert study.tune == {'lr': (0.1, 0.2)} and type(study.tune['lr'][0]) is float


@pytest.mark.parametrize(
    ('old', 'new', 'parts'),
    [
        ('valid=in_order(valid, batch=32),', '', ['no validation split to choose by', '--no-tune']),
        (
            "tuned_by='valid/accuracy'",
            "tuned_by='valid/acuracy'",
            ["did you mean 'valid/accuracy'?"],
        ),
        ("tuned_by='valid/accuracy'", "tuned_by='valid/confusion'", ['which is an array']),
        (
            'optax.sgd(lr)',
            'optax.sgd(lr if lr < 1e30 else {})',
            ["arm 'narrow', lr 1e+30: mine.py"],
        ),
    ],
)
def test_what_cannot_choose_is_found_before_the_first_step(old, new, parts, here, monkeypatch):
    monkeypatch.setattr(plan, 'run_arm', None)
    text = MINE.replace(old, new)
    if 'valid=' in old:  # which keep_best would miss first
        text = text.replace(", 'accuracy')\n", ')\n', 1).replace(
            'keep_best(classifier', '(classifier'
        )
    (here / 'mine.py').write_text(text)
    line = mistake_after(*RUN, '--arm', 'narrow')
    for part in ["arm 'narrow'", *parts]:
        assert part in line


def test_what_says_no_direction_chooses_nothing(here, monkeypatch):
    monkeypatch.setattr(plan, 'run_arm', None)
    text = MINE.replace("tuned_by='valid/accuracy'", "tuned_by='valid/odd'").replace(
        '    return Phase(',
        '    from jaxdl.metrics import Mean\n\n    measure = lambda nets, batch, key: '
        "{'odd': Mean.of(batch['mask'])}\n    return Phase(",
    )
    text = text.replace(
        'valid=in_order(valid, batch=32)', 'valid=Eval(in_order(valid, batch=32), measure)'
    )
    text = text.replace('keep_best(classifier', '(classifier').replace(", 'accuracy')\n", ')\n', 1)
    (here / 'mine.py').write_text(text.replace('import Count,', 'import Count, Eval,'))
    line = mistake_after(*RUN, '--arm', 'narrow')
    assert "tuned_by: nothing says which values of 'valid/odd' are better" in line


def test_seeds_of_tuning_are_not_reported(here):
    line = mistake(*RUN, '--first-seed', '999999', '--seeds', '2')
    assert 'jaxdl: --first-seed: seed 1,000,000 is one that hyperparameters are chosen with' in line
    assert typed(*RUN, '--first-seed', '999998', '--seeds', '2', '--print-config')[0] == 0
