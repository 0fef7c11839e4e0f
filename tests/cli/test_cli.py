"""The command line as a user types it: `main([...])` in a folder of the user's own."""

import contextlib
import errno
import io
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxdl import interop
from jaxdl.checkpoint.manager import load_weights
from jaxdl.cli import commands, plan, standing
from jaxdl.cli.commands import COMMANDS
from jaxdl.cli.library import resolve
from jaxdl.cli.main import main, usage
from jaxdl.cli.pipes import Forgiving, forgive_readers
from jaxdl.errors import DataMissingError, DivergedError, UsageError
from jaxdl.files import read_json
from jaxdl.interop.files import read_arrays
from jaxdl.interop.reference import TORCH, Reference, layered
from jaxdl.models.mlp import MLP
from jaxdl.run import machine
from jaxdl.run.config import Config, as_json
from jaxdl.run.lock import locked
from jaxdl.study import Study

MINE = '''\
"""A study of the user's own."""

import numpy as np
import optax

from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import from_arrays
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier
from jaxdl.claims import better
from jaxdl.study import Count, Phase, Rate, Study

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
DATA = from_arrays({'x': X, 'y': (X[:, 0] > 0).astype(np.int32)}, name='mine')


def trial(widths: tuple[Count, ...] = (3,), lr: Rate = 0.1, steps: Count = 6) -> Phase:
    """A perceptron.

    Args:
        widths: of its hidden layers
        lr: learning rate
    """
    task = classifier(MLP(widths + (2,)), optax.sgd(lr), classes=2)
    return Phase(
        task,
        train=shuffled(DATA, batch=8),
        tests={'test': in_order(DATA, batch=32)},
        steps=steps,
        every=3,
    )


study = Study(
    question='Is wider better?',
    trial=trial,
    arms={'narrow': {}, 'wide': {'widths': (5,)}},
    tiny={'steps': 1},
    seeds=2,
    claims=[better('wide', 'narrow', 'test/accuracy')],
)
'''
RUN = ['run', 'mine.py', '--layout', 'vmap', '--no-tensorboard']
README = '# Results\n\n<!-- results: written by `jaxdl record` -->\n<!-- end of results -->\n'


def typed(*words):
    """(exit code, standard output, standard error) of one command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    return code, out.getvalue(), err.getvalue()


def mistake(*words):
    """The one line that a user's mistake is answered with."""
    code, out, err = typed(*words)
    assert code == 2 and out == '' and 'Traceback' not in err
    assert err.startswith('jaxdl: ') and err.count('\n') == 1
    return err


def flat(text):
    return ' '.join(re.sub(r'[│┃]', ' ', text).split())


@pytest.fixture(scope='module', autouse=True)
def memory_as_it_is():
    """This process has other tests to run: its memory is not tuned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('JAXDL_MALLOPT', '0')
        yield


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, with the user's file, and an import path that is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    (tmp_path / 'mine.py').write_text(MINE)
    return tmp_path


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """(folder, standard output, standard error) of one run of both arms of the user's file."""
    folder = tmp_path_factory.mktemp('finished')
    (folder / 'mine.py').write_text(MINE)
    (folder / 'experiments').mkdir()
    (folder / 'experiments' / 'README.md').write_text(README)
    described = {**machine.describe(), 'git': {'commit': 'abc', 'dirty': False}}
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, 'describe', lambda: dict(described))  # as of a clean checkout
        code, out, err = typed(*RUN)
    assert code == 0, err
    return folder, out, err


@pytest.fixture
def there(finished, monkeypatch):
    """The folder of the finished run, to work in."""
    monkeypatch.chdir(finished[0])
    return finished[0]


# ---- a run, and what follows it --------------------------------------------------------------


def test_a_run_prints_its_answer_and_where_the_report_is(finished):
    folder, out, err = finished
    for part in ('Is wider better?', 'wide', 'narrow', 'test/accuracy', 'report: runs/mine/'):
        assert part in out
    assert (folder / 'runs/mine/report.html').exists() and (folder / 'runs/mine/report.md').exists()
    # Not a terminal: plain lines, and standard output holds the answer only.
    assert '\x1b' not in out + err and '\r' not in err
    assert 'phase 0: 6 steps' in err and 'phase 0' not in out
    assert err.count('compiling') == 2  # one line an arm; the rest is in its log


def test_what_result_json_holds(finished):
    result = json.loads((finished[0] / 'runs/mine/result.json').read_text())
    assert result['study'] == 'mine' and result['question'] == 'Is wider better?'
    assert result['command'] == 'jaxdl run mine.py --layout vmap --no-tensorboard'
    assert result['seeds'] == [0, 1] and result['seconds'] > 0
    assert {'python', 'jax', 'flax'} <= result['versions'].keys() and result['devices']
    assert set(result['arms']) == {'wide', 'narrow'}
    assert result['arms']['wide']['parameters'] == 4 * 5 + 5 + 5 * 2 + 2
    accuracy = result['arms']['wide']['metrics']['test/accuracy']
    low, high = accuracy['ci95']
    assert len(accuracy['per_seed']) == 2
    assert low <= accuracy['mean'] == sum(accuracy['per_seed']) / 2 <= high
    (claim,) = result['claims']
    judged = {'verdict', 'effect', 'ci95', 'p', 'p_holm', 'kind', 'reason', 'when'}
    judged |= {'ci95_examples', 'examples'}  # of the test's 60 rows
    assert {'text', 'arms', 'metric', 'judge', *judged} == claim.keys()
    assert claim['verdict'] in ('supported', 'refuted', 'undecided')
    assert claim['when'] == 'confirmatory'  # as every claim of a study that is run as it stands


def test_a_finished_run_prints_its_result_again_without_its_data(there, finished, monkeypatch):
    monkeypatch.setattr(standing, 'phases_of', None)
    monkeypatch.setattr(plan, 'run_arm', None)
    code, out, err = typed(*RUN)
    assert code == 0 and out == finished[1] and err == ''


def test_a_mistake_in_the_last_arm_is_found_before_the_first_is_trained(here, monkeypatch):
    monkeypatch.setattr(plan, 'run_arm', None)
    text = MINE.replace('optax.sgd(lr)', "optax.sgd(lr if widths == (3,) else widths['lr'])")
    (here / 'mine.py').write_text(text)
    assert mistake(*RUN).startswith("jaxdl: arm 'wide': mine.py:25: TypeError: tuple indices must")
    (here / 'mine.py').write_text(MINE.replace("'test/accuracy'", "'test/acuracy'"))
    line = mistake(*RUN)
    assert "a claim judges 'test/acuracy' of arm 'narrow'; did you mean" in line
    (here / 'mine.py').write_text(MINE.replace("'test/accuracy'", "'test/confusion'"))
    assert "'test/confusion' of arm 'narrow', which is an array" in mistake(*RUN)


@pytest.mark.parametrize(
    ('metric', 'said'),
    [
        (
            "'gap of test/acuracy'",
            "'gap of test/acuracy' of arm 'narrow', made of 'test/acuracy'; did",
        ),
        ("'area of test/confusion'", "made of 'test/confusion', which is an array"),
        ("'steps to test/loss >= 0.1'", "lower values of 'test/loss' are better, and at_least is"),
        (
            "'test/accuracy', equal='parameters'",
            "at equal parameters': parameters differ by 61 % (37 against 23)",
        ),
    ],
)
def test_what_a_claim_cannot_be_made_of_is_found_before_the_first_step(
    metric, said, here, monkeypatch
):
    monkeypatch.setattr(plan, 'run_arm', None)
    (here / 'mine.py').write_text(MINE.replace("'test/accuracy'", metric))
    assert said in mistake(*RUN)


@pytest.mark.parametrize('where', ['study = Study(', '    task = '])
@pytest.mark.parametrize('words', [[], ['--workdir', 'w']])
def test_a_run_stays_where_it_was_asked_for(where, words, here, monkeypatch):
    (here / 'deep').mkdir()
    text = MINE.replace(
        where, f'{where[: len(where) - len(where.lstrip())]}os.chdir(DEEP)\n{where}'
    )
    text = text.replace('import numpy', f'import os\n\nDEEP = {str(here / "deep")!r}\nimport numpy')
    (here / 'mine.py').write_text(text)
    ran = []

    def arm(folder, *args, experiment, **options):
        ran.append((folder, experiment.resolve()))
        raise UsageError('enough')

    monkeypatch.setattr(plan, 'run_arm', arm)
    assert mistake(*RUN, '--arm', 'tiny', *words) == 'jaxdl: enough\n'
    folder = here / (words[1] if words else 'runs/mine') / 'tiny'
    assert ran == [(folder, here / 'mine.py')] and not [*(here / 'deep').iterdir()]


def test_an_empty_workdir_is_none(monkeypatch):
    assert mistake(*RUN, '--workdir', '').startswith('jaxdl: --workdir is empty; it needs a value')
    assert mistake(*RUN, '--init-from=').startswith('jaxdl: --init-from is empty')


def test_home_is_the_home_folder(here, monkeypatch, capsys):
    monkeypatch.setenv('HOME', str(here / 'home'))
    code, out, _ = typed(*RUN, '--workdir=~/w', '--print-config')
    assert code == 0 and json.loads(out)['workdir'] == str(here / 'home/w')


def test_what_a_persons_own_code_raises_late_is_one_line(here, finished, monkeypatch):
    shutil.copytree(finished[0] / 'runs', here / 'runs')
    text = MINE.replace(
        'better(', 'Claim("odd", ("wide",), "test/accuracy", lambda *_: 1 / 0), better('
    )
    (here / 'mine.py').write_text(text.replace('import Count', 'import Claim, Count'))
    code, out, err = typed('report', 'mine')
    assert code == 2 and re.search(r'^jaxdl: mine.py:\d+: ZeroDivisionError: division', err, re.M)
    assert 'Traceback' not in err


def test_an_arm_that_diverges_keeps_neither_the_others_nor_the_report(here, finished, monkeypatch):
    shutil.copytree(finished[0] / 'runs', here / 'runs')
    ran, done = [], {arm: here / 'runs/mine' / arm / 'DONE' for arm in ('narrow', 'wide')}
    kept = {arm: path.read_bytes() for arm, path in done.items()}
    for path in done.values():
        path.unlink()

    def diverging(folder, *args, **options):
        ran.append(folder.name)
        if folder.name not in good:
            raise DivergedError(f'the loss of {folder.name} is not finite')
        done[folder.name].write_bytes(kept[folder.name])

    monkeypatch.setattr(plan, 'run_arm', diverging)
    good = ['wide']
    code, out, err = typed(*RUN)
    assert code == 78 and ran == ['narrow', 'wide']
    assert err == 'jaxdl: the loss of narrow is not finite\n'
    why = 'narrow is not finished: the loss of narrow is not finite'
    assert f'! {why}' in out and 'not run' in out and f'({why})' in flat(out)
    assert why in (here / 'runs/mine/report.md').read_text()
    assert 'Traceback' not in err
    # Once it is done nothing of that is left.
    good = ['narrow']
    code, out, err = typed(*RUN)
    assert (code, err) == (0, '') and 'is not finished' not in out
    # Where no arm is done there is no report to write.
    good = []
    for path in done.values():
        path.unlink()
    code, out, err = typed(*RUN)
    assert (code, out) == (78, '')
    assert err == 'jaxdl: the loss of narrow is not finite; the loss of wide is not finite\n'


def test_a_changed_configuration_is_refused_with_what_changed(there):
    line = mistake('run', 'mine.py', '--lr', '0.2', '--seeds', '3')
    assert 'params.lr: 0.1 there, 0.2 now; take another --workdir' in line
    assert 'runs/mine/narrow holds a run of another configuration' in line


@pytest.mark.parametrize('word', ['mine', 'mine.py', 'runs/mine'])
def test_eval_measures_what_was_recorded(word, there):
    code, out, _ = typed('eval', word, '--arm', 'wide', '--layout', 'vmap')
    assert code == 0
    recorded = json.loads((there / 'runs/mine/wide/DONE').read_text())['metrics']
    for metric in ('test/accuracy', 'test/loss'):
        cells = flat(next(line for line in out.splitlines() if metric in line)).split()
        mean, *seeds = map(float, cells[3:])
        assert cells[:3] == ['wide', '6', metric]
        assert seeds == pytest.approx(recorded[metric], rel=1e-5)
        assert mean == pytest.approx(sum(recorded[metric]) / 2, rel=1e-5)


def test_eval_says_where_something_else_is_computed_now(here, finished):
    shutil.copytree(finished[0] / 'runs', here / 'runs')
    (here / 'mine.py').write_text(MINE.replace('X[:, 0] > 0', 'X[:, 0] > 1'))
    code, out, err = typed('eval', 'mine.py', '--arm', 'wide')
    assert code == 0 and 'test/accuracy' in out
    assert 'computes something else: test, column y of mine: other values' in err


def test_parameters_come_back_from_json_as_the_trial_takes_them():
    def trial(
        widths: tuple[int, ...] = (1,), clip: float = math.inf, names: list[str] | None = None
    ):
        pass

    study = Study('?', trial, {'a': {'names': ['x']}})
    params = resolve(study, 'a', {'widths': (2, 3)})
    config = Config('s', 'a', [0], as_json(params), [])
    assert config.params == {'widths': [2, 3], 'clip': 'inf', 'names': ['x']}
    assert standing.recall(study, config) == params


def test_report_writes_the_same_report_again(there):
    folder = there / 'runs/mine'
    before = {path.name: path.read_bytes() for path in folder.glob('re*.*')}
    assert before.keys() == {'result.json', 'report.md', 'report.html'}
    for name in before:
        (folder / name).unlink()
    code, out, _ = typed('report', 'mine')
    assert code == 0 and 'Is wider better?' in out
    assert {path.name: path.read_bytes() for path in folder.glob('re*.*')} == before


def test_record_copies_the_result_and_writes_the_table(there):
    code, out, _ = typed('record', 'mine')
    assert code == 0 and 'wrote experiments/results/mine.json' in out
    result = json.loads((there / 'experiments/results/mine.json').read_text())
    assert result == read_json(there / 'runs/mine/result.json')
    assert 'Is wider better?' in (there / 'experiments/README.md').read_text()


def test_judge_judges_the_record_again_and_says_what_has_changed(here, finished):
    shutil.copytree(finished[0] / 'runs', here / 'runs')
    assert typed('record', 'mine')[0] == 0
    recorded = json.loads((here / 'experiments/results/mine.json').read_text())
    shutil.rmtree(here / 'runs')  # the record is enough
    code, out, _ = typed('judge', 'mine.py')
    assert code == 0 and 'Is wider better?' in out
    again = json.loads((here / 'experiments/results/mine.json').read_text())
    assert again.pop('stale') == [] and again == recorded and 'stale' not in out
    changed = MINE.replace('optax.sgd(lr)', 'optax.sgd(lr, momentum=0.5)').replace(
        "'test/accuracy')],", "'test/accuracy'), better('narrow', 'wide', 'test/loss')],"
    )
    (here / 'mine.py').write_text(changed.replace('lr: Rate = 0.1', 'lr: Rate = 0.2'))
    code, out, _ = typed('judge', 'mine.py')
    assert code == 0 and 'narrow has a better test/loss than wide: undecided, a claim that' in out
    assert 'stale: lr of narrow is 0.2 now, and was 0.1\n' in out
    again = json.loads((here / 'experiments/results/mine.json').read_text())
    assert again['stale'] == [
        'lr of narrow is 0.2 now, and was 0.1',
        'lr of wide is 0.2 now, and was 0.1',
        'narrow computes something else',
        'wide computes something else',
    ]
    assert [claim['when'] for claim in again['claims']] == ['confirmatory', 'exploratory']
    table = (here / 'experiments/README.md').read_text()
    assert '(**stale**)' in table and '**Stale, as far as is known: lr of narrow is 0.2' in table
    assert "no result of 'nothing' is recorded" in mistake('judge', 'nothing')


def test_record_outside_a_checkout_makes_what_it_needs(here, finished):
    shutil.copytree(finished[0] / 'runs', here / 'runs')
    code, out, _ = typed('record', 'mine')
    assert code == 0 and 'wrote experiments/results/mine.json' in out
    assert 'Is wider better?' in (here / 'experiments/README.md').read_text()


def test_record_refuses_what_is_not_the_study_unless_told_otherwise(here, finished):
    shutil.copytree(finished[0] / 'runs', here / 'runs')
    other = MINE.replace('seeds=2', 'seeds=3').replace('steps: Count = 6', 'steps: Count = 60')
    (here / 'mine.py').write_text(other)
    line = mistake('record', 'mine')
    for part in ('steps of narrow, wide is 6, and 60 in the study', 'has 2 of 3 seeds', '--anyway'):
        assert part in line
    assert not (here / 'experiments').exists()
    code, _, _ = typed('record', 'mine', '--anyway')
    assert code == 0
    text = (here / 'experiments/README.md').read_text()
    assert '**not the study as it stands**' in text and 'narrow, wide has 2 of 3 seeds' in text
    (here / 'experiments/README.md').write_text('no markers')
    assert 'must have the lines' in mistake('record', 'mine', '--anyway')


def test_an_arm_where_a_run_is_meant(there):
    assert 'runs/mine/wide is an arm: say runs/mine --arm wide' in mistake('eval', 'runs/mine/wide')


def test_weights_go_from_a_run_to_a_state_dict_and_back_into_a_run(there, monkeypatch):
    reference = Reference(
        lambda width=3: MLP((width, 2)),
        lambda width=3: ((1, 4),),
        lambda width=3: layered(TORCH, str),
    )
    monkeypatch.setattr(interop, 'REFERENCES', {('mlp', 'torch'): reference})
    names = ['--arch', 'mlp', '--layout', 'torch']
    code, out, _ = typed('convert', '--list')
    assert code == 0 and 'mlp torch width' in flat(out)
    code, out, err = typed(
        'convert', 'runs/mine/narrow', *names, '--seed', '1', '--out', 'mlp.safetensors'
    )
    assert code == 0, err
    assert 'wrote mlp.safetensors: 4 tensors' in out
    assert 'runs/mine/narrow, net/net of seed 1 at step 6' in out
    net = load_weights(there / 'runs/mine/narrow/checkpoints').state['states']['net']['net']
    tensors, kernel = read_arrays(Path('mlp.safetensors')), net['params']['Dense_0']['kernel']
    np.testing.assert_array_equal(tensors['Dense_0.weight'], kernel[1].T)
    assert 'no seed 7 in runs/mine/narrow (allowed: 0, 1)' in mistake(
        'convert', 'runs/mine/narrow', *names, '--seed', '7', '--out', 'x.npz'
    )
    assert "no net 'nett' in runs/mine/narrow; did you mean 'net/net'?" in mistake(
        'convert', 'runs/mine/narrow', *names, '--net', 'nett', '--out', 'x.npz'
    )
    wide = mistake('convert', 'runs/mine/wide', *names, '--out', 'x.npz')
    assert "array 'params/Dense_0/bias' has shape [5], not [3]" in wide
    code, out, err = typed('convert', 'mlp.safetensors', *names)
    assert code == 0 and 'wrote mlp.jaxdl.npz: 4 arrays of mlp (torch), sha256' in out, err
    start = ['--init-from', 'mlp.jaxdl.npz', '--workdir', 'on', '--lr', '1e-9']
    assert typed(*RUN, '--arm', 'narrow', *start)[0] == 0
    after = load_weights(there / 'on/narrow/checkpoints').state['states']['net']['net']
    for row in after['params']['Dense_0']['kernel']:
        np.testing.assert_allclose(row, kernel[1], rtol=1e-6)
    code, _, err = typed(*RUN, '--arm', 'wide', *start)
    assert code == 2 and err.splitlines()[-1] == (
        "jaxdl: --init-from mlp.jaxdl.npz (mlp, torch): 'params/Dense_0/bias' is [3], not [5] "
        "(`jaxdl convert --without 'params/Dense_0/*'` makes a file without it) in net/net "
        '(and 2 more)'
    )


def test_smoke_is_a_few_steps_in_a_folder_that_says_so(here):
    words = [*RUN, '--smoke', '--arm', 'narrow', '--workdir', 'deep/er']
    code, out, err = typed(*words)
    assert code == 0 and 'report: deep/er/report.html' in out and 'phase 0: 4 steps' in err
    done = json.loads((here / 'deep/er/narrow/DONE').read_text())
    assert done['steps'] == 4
    line = mistake('run', 'mine.py', '--arm', 'narrow', '--workdir', 'deep/er')
    assert 'smoke: True there, False now' in line and 'phases.0.steps: 4 there, 6 now' in line
    code, out, _ = typed('run', 'mine.py', '--smoke', '--print-config')
    assert json.loads(out)['workdir'] == 'runs/mine-smoke'


def test_print_config_says_what_would_run_and_writes_nothing(here):
    before = sorted(here.rglob('*'))
    code, out, err = typed('run', 'mine.py', '--lr', '0.5', '--seeds', '3', '--print-config')
    assert code == 0 and err == ''
    narrow = {'params': {'widths': [3], 'lr': 0.5, 'steps': 6}, 'seeds': [0, 1, 2]}
    assert json.loads(out) == {
        'study': 'mine',
        'workdir': 'runs/mine',
        'arms': {
            'narrow': {**narrow, 'init_from': None},
            'wide': {
                'params': {'widths': [5], 'lr': 0.5, 'steps': 6},
                'seeds': [0, 1, 2],
                'init_from': None,
            },
        },
    }
    assert [path for path in sorted(here.rglob('*')) if '__pycache__' not in path.parts] == before


# ---- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'words,parts',
    [
        (['rnu'], ["unknown command 'rnu'; did you mean 'run'?", 'doctor']),
        (['run'], ['jaxdl run: say what first, as in: jaxdl run digits']),
        (['run', '--seeds', '3'], ['jaxdl run: say what first']),
        (['run', 'digitz'], ["unknown experiment 'digitz'; did you mean 'digits'?"]),
        (['run', 'none.py'], ["no file 'none.py'"]),
        (['run', 'mine.py', '--arm', 'wid'], ["unknown arm 'wid'; did you mean 'wide'?", 'narrow']),
        (['run', 'mine.py', '--arm'], ['--arm needs at least one value']),
        (['run', 'mine.py', '--seed', '3'], ["option '--seed'; did you mean '--seeds'?"]),
        (['run', 'mine.py', '--seeds', '0'], ['--seeds: 0', 'a whole number, at least 1']),
        (['run', 'mine.py', '--seeds', 'all'], ["--seeds: 'all'", 'a whole number']),
        (['run', 'mine.py', '--chunk', '0'], ['--chunk: 0']),
        (['run', 'mine.py', '--lr', '-1'], ['--lr: -1.0', 'greater than 0']),
        (['run', 'mine.py', '--lr', 'fast'], ["--lr: 'fast'", 'a number, greater than 0']),
        (['run', 'mine.py', '--widths', '3', '0'], ['--widths: (3, 0)', 'at least 1']),
        (['run', 'mine.py', '--widths', '3'], ['--widths', 'narrow with (3,), wide with (5,)']),
        (['run', 'mine.py', '--layout', 'vmpa'], ["unknown layout 'vmpa'; did you mean 'vmap'?"]),
        (['run', 'mine.py', 'wide'], ["unexpected argument 'wide'"]),
        (['run', 'mine.py', '--smoke', 'yes'], ["takes no value, not 'yes'"]),
        (['eval'], ['jaxdl eval: say what first']),
        (['eval', 'mine'], ["no run 'mine' here or in runs/"]),
        (['report', 'runs/mine'], ["no run 'runs/mine'"]),
        (['record', 'mine'], ["no run 'mine' here or in runs/"]),
        (['convert'], ['jaxdl convert: say what first, as in: jaxdl convert resnet50.safetensors']),
        (['convert', 'x.pth'], ["'x.pth' is a file of PyTorch", 'x.safetensors']),
        (['convert', 'x.npz', '--arch', 'unet', '--layout', 'public'], ["no file 'x.npz'"]),
        (['convert', 'x.npz', '--list'], ['--list: it stands alone']),
        (['convert', 'x.npz', '--lay', 'a'], ["option '--lay'; did you mean '--layout'?"]),
        (['summary', 'digitz'], ["did you mean 'digits'?"]),
        (['bench', 'digits', '--seconds', '0'], ['--seconds: 0.0', 'greater than 0']),
        (['list', 'all'], ["jaxdl list: unexpected argument 'all'"]),
        (['doctor', '--fix'], ["jaxdl doctor: unknown option '--fix'"]),
        (['data'], ['jaxdl data: say what: list, prepare NAME, or show NAME']),
        (['data', 'sho'], ["unknown action 'sho'; did you mean 'show'?"]),
        (['data', 'show'], ['jaxdl data show: say what first']),
        (['data', 'show', 'digitz'], ["no dataset 'digitz' here; did you mean 'digits'?"]),
        (['data', 'show', 'digits', '--split', 'tset'], ["no split 'tset'", 'all']),
    ],
    ids=' '.join,
)
def test_a_mistake_is_one_line_and_exit_code_2(words, parts, monkeypatch):
    monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
    line = mistake(*words)
    for part in parts:
        assert part in line
    with pytest.raises(UsageError):
        main([*words, '--debug'])
    assert not Path('runs').exists()


def test_a_dataset_that_is_not_prepared_names_the_command(here, monkeypatch):
    monkeypatch.setenv('TFDS_DATA_DIR', str(here))
    line = mistake('run', 'lenet_mnist', '--arm', 'tiny')
    assert 'jaxdl data prepare mnist' in line
    with pytest.raises(DataMissingError):
        main(['run', 'lenet_mnist', '--arm', 'tiny', '--debug'])
    monkeypatch.delenv('TFDS_DATA_DIR')
    assert 'TFDS_DATA_DIR is not set' in mistake('run', 'lenet_mnist', '--arm', 'tiny')


def test_a_file_where_a_folder_should_be(here):
    (here / 'file').touch()
    assert '--workdir: cannot make file: File exists' in mistake(*RUN, '--workdir', 'file')
    assert 'cannot make file/x: Not a directory' in mistake(*RUN, '--workdir', 'file/x')
    assert '--workdir: cannot make /proc/x: ' in mistake(*RUN, '--workdir', '/proc/x')
    (here / 'folder').mkdir()
    (here / 'folder' / 'narrow').touch()
    assert 'cannot write in folder/narrow' in mistake(*RUN, '--workdir', 'folder')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_that_is_not_writable(here):
    (here / 'folder').mkdir(mode=0o500)
    assert '--workdir: folder is not writable' in mistake(*RUN, '--workdir', 'folder')


def test_another_run_in_the_same_folder(here):
    with locked(here / 'x' / 'narrow'):
        line = mistake(*RUN, '--workdir', 'x')
    assert f'x/narrow is in use by process {os.getpid()} on ' in line


def test_a_broken_experiment_is_one_line_and_the_others_are_listed(here):
    (here / 'experiments').mkdir()
    (here / 'experiments' / 'broken.py').write_text('import numpy as np\nx = np.zeros(-1)\n')
    line = mistake('run', 'broken')
    assert 'experiments/broken.py:2: ValueError: negative dimensions are not allowed' in line
    with pytest.raises(UsageError) as raised:
        main(['run', 'broken', '--debug'])
    assert isinstance(raised.value.__cause__, ValueError)
    code, out, _ = typed('list')
    assert code == 0 and 'broken: ' in out and 'Does sharing weights over positions' in flat(out)


def test_a_parameter_with_the_name_of_an_option(here):
    (here / 'mine.py').write_text(MINE.replace('lr: Rate', 'seeds: Rate').replace('(lr)', '(1.0)'))
    assert "mine: its trial has a parameter 'seeds', which is an option" in mistake(*RUN)


def test_an_error_of_the_program_is_not_hidden(here, monkeypatch):
    def broken(study, plan, **options):
        raise AssertionError('a bug')

    monkeypatch.setattr(plan, 'run_study', broken)
    with pytest.raises(AssertionError, match='a bug'):
        main(RUN)


@pytest.mark.parametrize(
    'error,code,line',
    [
        (KeyboardInterrupt(), 130, 'jaxdl: interrupted\n'),
        (OSError(28, 'No space left on device', 'runs/x'), 1, 'jaxdl: runs/x: No space left on'),
    ],
)
def test_what_the_system_does_to_a_run(error, code, line, monkeypatch):
    def hit(study, plan, **options):
        raise error

    monkeypatch.setattr(plan, 'run_study', hit)
    found, out, err = typed(*RUN)
    assert found == code and err.startswith(line) and 'Traceback' not in err


def test_sigterm_before_an_arm_is_exit_code_75(monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(standing, 'phases_of', lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    code, _, err = typed(*RUN)
    assert code == 75 and 'stopped; the same command goes on from there' in err
    assert signal.getsignal(signal.SIGTERM) is handler


# ---- help, and the commands that only look --------------------------------------------------


def test_usage_names_every_command():
    for words, code in (([], 2), (['--help'], 0), (['-h'], 0), (['help'], 0)):
        found, out, err = typed(*words)
        assert found == code and out == usage() + '\n' and err == ''
    assert all(f'\n  {name} ' in usage() for name in COMMANDS)
    assert typed('--version')[1].startswith('jaxdl 0.')


@pytest.mark.parametrize(
    'words,parts',
    [
        (['list'], ['usage: jaxdl list']),
        (['judge'], ['usage: jaxdl judge NAME|FILE.py']),
        (['run'], ['usage: jaxdl run NAME|FILE.py', '--workdir PATH', 'jaxdl run digits --help']),
        (['run', 'mine.py'], ['run mine.py', '--widths [INT [INT ...]] of its hidden layers']),
        (['run', 'digits'], ['trial options', '--network {lenet,mlp}', '(default: 0.003)']),
        (
            ['run', 'digits'],
            ['lenet network lenet mlp network mlp nearest a baseline, not trained tiny steps 20'],
        ),
        (['eval'], ['usage: jaxdl eval NAME|FOLDER', '--arm']),
        (['eval', 'digits'], ['usage: jaxdl eval NAME|FOLDER', '--layout']),
        (['report'], ['usage: jaxdl report NAME|FOLDER']),
        (['record'], ['usage: jaxdl record NAME|FOLDER']),
        (['convert'], ['usage: jaxdl convert FILE|ARM_FOLDER', '--arch STR', '--no-strict']),
        (['sample'], ['usage: jaxdl sample NAME|FOLDER|FILE.npz', '--prompt STR', '--beam INT']),
        (['summary'], ['usage: jaxdl summary NAME|FILE.py']),
        (['bench'], ['usage: jaxdl bench NAME|FILE.py', '--seconds FLOAT', 'jaxdl bench digits']),
        (['bench', 'digits'], ['usage: jaxdl bench digits', '--seconds FLOAT', '--smoothing']),
        (['compile'], ['usage: jaxdl compile NAME|FILE.py', '--topology STR', '--layout']),
        (['data'], ['usage: jaxdl data list|prepare|show']),
        (['data', 'list'], ['usage: jaxdl data list']),
        (['data', 'prepare'], ['usage: jaxdl data prepare NAME']),
        (['data', 'show'], ['usage: jaxdl data show NAME', '--split STR']),
        (['doctor'], ['usage: jaxdl doctor']),
    ],
    ids=lambda value: ' '.join(value)[:20],
)
@pytest.mark.parametrize('flag', ['--help', '-h'])
def test_every_command_has_help_of_its_own(words, parts, flag):
    code, out, err = typed(*words, flag)
    assert code == 0 and err == ''
    text = flat(out)
    for part in [*parts, '--debug', COMMANDS[words[0]].about if len(words) == 1 else '']:
        assert part in text
    assert 'jaxdl COMMAND' not in text


def test_every_command_is_in_the_tests_of_help():
    marks = test_every_command_has_help_of_its_own.pytestmark
    tested = {words[0] for mark in marks if 'words' in mark.args[0] for words, _ in mark.args[1]}
    assert tested == set(COMMANDS)


def test_list_shows_every_experiment_with_its_question_and_arms():
    code, out, _ = typed('list')
    assert code == 0
    for part in ('digits', 'lenet_mnist', 'ring_gan', 'catch_dqn', 'lenet, mlp, nearest'):
        assert part in flat(out)


def test_doctor_and_data_tell_what_is_there(monkeypatch, here):
    monkeypatch.setenv('TFDS_DATA_DIR', str(here))
    monkeypatch.delenv('JAXDL_DATA_DIR', raising=False)
    code, out, _ = typed('doctor')
    assert code == 0
    for part in ('versions', 'jax', 'devices', '4 x cpu', 'TFDS_DATA_DIR', 'JAXDL_DATA_DIR'):
        assert part in out
    code, out, _ = typed('data', 'list')
    assert code == 0 and re.search(r'digits\W+embedded', out)
    code, out, _ = typed('data', 'show', 'digits', '--split', 'all')
    assert code == 0 and '1797 rows' in out and 'examples:' in out
    code, out, _ = typed('data', 'prepare', 'digits')
    assert code == 0 and 'nothing to prepare' in out


def test_a_process_without_handles_says_so_from_its_first_moment(monkeypatch, capfd):
    def no_handles():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), 'weakref.py')

    monkeypatch.setattr('jaxdl.cli.main._said', no_handles)
    code = main(['list'])
    assert (code, capfd.readouterr().err) == (1, 'jaxdl: weakref.py: Too many open files\n')


def test_what_modules_log_is_said_once(monkeypatch):
    def logging_list(words):
        logging.getLogger('jaxdl.data').info('5 rows decoded')
        logging.getLogger('elsewhere').info('noise')

    monkeypatch.setitem(commands.COMMANDS, 'list', COMMANDS['list']._replace(run=logging_list))
    before, elsewhere = list(logging.getLogger('jaxdl').handlers), io.StringIO()
    root = logging.StreamHandler(elsewhere)  # as libraries add them
    logging.getLogger().addHandler(root)
    try:
        assert typed('list')[2] == '5 rows decoded\n'
    finally:
        logging.getLogger().removeHandler(root)
    assert '5 rows decoded' not in elsewhere.getvalue()
    assert logging.getLogger('jaxdl').handlers == before


# ---- output that nobody reads ----------------------------------------------------------------


def broken_pipe():
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, 'w', buffering=1)


def test_a_command_goes_on_when_nobody_reads_its_output(there, monkeypatch):
    result = there / 'runs/mine/result.json'
    result.unlink()
    with broken_pipe() as out, broken_pipe() as err:
        monkeypatch.setattr(sys, 'stdout', out)
        monkeypatch.setattr(sys, 'stderr', err)
        assert main(RUN) == 0
        assert main(['run', 'nothing']) == 2
        monkeypatch.undo()
    assert result.exists()


def test_a_forgiving_stream_forgives_a_reader_that_left_and_nothing_else():
    with broken_pipe() as pipe:
        stream = Forgiving(pipe)
        for _ in range(3):
            assert stream.write('x' * 70_000 + '\n') == 70_001
            stream.flush()
        assert stream.isatty() is False and stream.encoding == pipe.encoding
    with open('/dev/full', 'w') as full:
        stream = Forgiving(full)
        stream.write('x')
        with pytest.raises(OSError, match='No space left'):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_streams_that_were_closed_before_are_nowhere(monkeypatch):
    monkeypatch.setattr(sys, 'stdout', None)
    monkeypatch.setattr(sys, 'stderr', None)
    with forgive_readers():
        print('nothing', file=sys.stdout)
        print('nothing', file=sys.stderr)
    assert sys.stdout is None


def test_the_installed_command_and_a_pipe_whose_reader_leaves():
    with subprocess.Popen(
        [sys.executable, '-m', 'jaxdl.cli.main', 'list'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 0 and said == ''
