"""A run is what it computes: whether its folder still holds that, and more seeds beside it."""

import enum
import functools
import json
import operator
import shutil
import sys
from dataclasses import dataclass

import jax
import numpy as np
import pytest

from jaxdl.cli.library import find, load
from jaxdl.cli.plan import Plan, run_study
from jaxdl.cli.standing import check_arms
from jaxdl.engine.engine import Engine
from jaxdl.errors import UsageError
from jaxdl.files import read_json
from jaxdl.report import figures
from jaxdl.report.finished import Arm
from jaxdl.run import registered
from jaxdl.run.config import (
    Config,
    as_json,
    folder_of_seed,
    groups_of,
    read_starts,
    share_seeds,
)
from jaxdl.run.origin import is_unchanged, look, reading
from jaxdl.run.stage import Options

TEXT = """
import flax.linen as nn
import jax
import numpy as np
import optax

from jaxdl.claims import reaches
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import from_arrays
from jaxdl.objectives.classification import classifier
from jaxdl.samples import Points
from jaxdl.study import Eval, Phase, Study
from rows import X


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.relu(nn.Dense(4)(x)))


def show(nets, batch, key):
    return {'rows': Points(batch['x'][:4, :2], batch['x'][:, 1:])}


def trial(steps: int = 4) -> Phase:
    data = from_arrays({'x': X, 'y': (X[:, 0] > 0).astype(np.int32)}, name='rows')
    _, held_out = data.draw(test=0.5)  # by each seed
    test = Eval(in_order(held_out, batch=8), show=show)
    task = classifier(Net(), optax.adam(1e-2), classes=2)
    return Phase(task, shuffled(data, batch=4), {'test': test}, steps, every=2)


CLAIMS = [reaches('base', 'test/accuracy', at_least=0.1)]
study = Study('Does it?', trial, arms={'base': {}}, seeds=2, claims=CLAIMS)
"""
ROWS = (
    'import numpy as np\n\nX = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)\n'
)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Nothing here looks at the figures of a report, which take longer than its training."""
    monkeypatch.setattr(figures, 'png', lambda figure: b'')
    monkeypatch.setattr(figures, 'svg', lambda figure, *, name, alt: '')


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with an experiment, mine.py, and a module that it imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    monkeypatch.setattr(sys, 'dont_write_bytecode', True)  # its stamp is by the second
    (tmp_path / 'mine.py').write_text(TEXT)
    (tmp_path / 'rows.py').write_text(ROWS)
    return tmp_path


def run(monkeypatch, **plan):
    """`jaxdl run mine.py` in a process of its own, as far as modules go."""
    monkeypatch.delitem(sys.modules, 'rows', raising=False)
    _, study = load('mine.py')
    options = Options(layout='vmap', tensorboard=False)
    return run_study(
        study,
        Plan(name='mine', word='mine.py', **plan),
        experiment=find('mine.py'),
        command='jaxdl run mine.py',
        options=options,
    )


def edit(here, old, new, file='mine.py'):
    text = (here / file).read_text()
    assert old in text
    (here / file).write_text(text.replace(old, new))


@pytest.fixture(scope='module')
def trained_once(tmp_path_factory):
    """The run that the tests start from: trained once, and copied for each."""
    return tmp_path_factory.mktemp('trained')


@pytest.fixture
def finished(here, trained_once, monkeypatch):
    """A finished run, and what was trained since."""
    if not (trained_once / 'runs').exists():
        run(monkeypatch)
        shutil.copytree('runs', trained_once / 'runs')
    else:
        shutil.copytree(trained_once / 'runs', 'runs')
    trained = []
    train = Engine.train

    def spy(engine, *args, **more):
        trained.append(engine.seeds)
        return train(engine, *args, **more)

    monkeypatch.setattr(Engine, 'train', spy)
    return here, trained


def test_an_unchanged_experiment_is_believed_without_its_data(finished, monkeypatch):
    run(monkeypatch)  # from this folder
    monkeypatch.setattr('jaxdl.cli.standing.phases_of', None)
    run(monkeypatch)
    assert finished[1] == []


def test_a_comment_a_name_and_a_question_change_nothing_that_is_computed(finished, monkeypatch):
    here, trained = finished
    edit(here, "'Does it?',", "'Does it really?',  # a comment\n    ")
    edit(here, 'class Net', 'class Network')
    edit(here, 'classifier(Net()', 'classifier(Network()')
    assert run(monkeypatch)['question'] == 'Does it really?'
    assert trained == []
    assert (here / 'runs/mine/base/source/mine.py').read_text() == (here / 'mine.py').read_text()


def test_a_claim_that_is_written_after_the_first_seed_ran_is_exploratory(finished, monkeypatch):
    here, trained = finished
    more = ", reaches('base', 'test/accuracy', at_least=0.2)]"
    edit(here, 'at_least=0.1)]', f'at_least=0.1){more}')
    for _ in range(2):  # a later start knows it, and that changes nothing
        whens = [claim['when'] for claim in run(monkeypatch)['claims']]
        assert whens == ['confirmatory', 'exploratory'] and trained == []
    noted = [start['claims'] for start in read_starts(here / 'runs/mine/base')]
    _, study = load('mine.py')
    assert noted[0] == registered.digests(study.claims[:1])


CHANGES = [
    ('nn.Dense(4)', 'nn.Dense(8)', r'Dense_1/kernel: float32\[3,4\] there, float32\[3,8\] now'),
    ('nn.relu(', 'nn.tanh(', r'the step: .*tanh now'),
    ('adam(1e-2)', 'adam(2e-2)', r'the step: .*-0?1|the step: '),
    ('shuffled(data, batch=4)', 'shuffled(data, batch=8)', r'train: .*batches of 4.*batches of 8'),
    ('> 0)', '> 0.5)', r'column y of rows: other values'),
]


@pytest.mark.parametrize('old,new,said', CHANGES)
def test_what_computes_something_else_is_refused_and_named(old, new, said, finished, monkeypatch):
    here, trained = finished
    before = (here / 'runs/mine/base/identity.json').read_bytes()
    edit(here, old, new)
    with pytest.raises(UsageError, match=said) as refused:
        run(monkeypatch)
    assert '\n' not in str(refused.value) and '--accept-changes' in str(refused.value)
    assert (here / 'runs/mine/base/identity.json').read_bytes() == before
    _, study = load('mine.py')
    with pytest.raises(UsageError, match=said):  # nor is it judged: `jaxdl report`
        check_arms(study, here / 'runs/mine', find('mine.py'), say=print)
    assert trained == []


def test_data_of_an_imported_module_are_data_too(finished, monkeypatch):
    here, _ = finished
    edit(here, 'default_rng(0)', 'default_rng(1)', 'rows.py')
    with pytest.raises(UsageError, match='column x of rows: other values'):
        run(monkeypatch)


def test_changes_may_be_accepted_and_are_recorded(finished, monkeypatch):
    here, _ = finished
    edit(here, 'adam(1e-2)', 'adam(2e-2)')
    run(monkeypatch, accept=True)
    accepted = read_json(here / 'runs/mine/base/identity.json')['accepted']
    assert len(accepted) == 1 and 'the step' in accepted[0][0]
    assert [start.get('accepted') for start in read_starts(here / 'runs/mine/base')][1] == accepted[
        0
    ]
    run(monkeypatch)  # which is now what the folder holds


def test_a_changed_picture_is_drawn_again_and_nothing_trained(finished, monkeypatch):
    here, trained = finished
    picture = here / 'runs/mine/base/samples/test-rows_00000004.png'
    before = picture.read_bytes()
    edit(here, "Points(batch['x'][:4, :2]", "Points(2 * batch['x'][:4, :2]")
    run(monkeypatch)
    assert trained == [] and picture.read_bytes() != before


def test_what_a_run_computed_is_not_guessed_where_it_is_not_written(finished, monkeypatch):
    here, _ = finished
    (here / 'runs/mine/base/identity.json').unlink()
    with pytest.raises(UsageError, match=r'identity\.json is gone'):
        run(monkeypatch)
    (here / 'runs/mine/base/config.json').unlink()
    (here / 'runs/mine/base/DONE').unlink()
    with pytest.raises(UsageError, match=r'config\.json is gone'):
        run(monkeypatch)


def test_more_steps_are_refused_with_the_reason_and_the_way(finished, monkeypatch):
    with pytest.raises(UsageError, match=r'schedules depend .* --init-from runs/mine/base'):
        run(monkeypatch, overrides={'steps': 6})


def test_more_seeds_are_added_and_equal_those_from_the_start(finished, monkeypatch):
    here, trained = finished
    result = run(monkeypatch, seeds=4)
    assert trained == [[2, 3]]
    whole = run(monkeypatch, seeds=4, workdir=here / 'whole')
    assert result['seeds'] == whole['seeds'] == [0, 1, 2, 3]
    for name, found in result['arms']['base']['metrics'].items():
        expected = whole['arms']['base']['metrics'][name]['per_seed']
        np.testing.assert_allclose(found['per_seed'], expected, rtol=1e-5, err_msg=name)
    added, once = Arm(here / 'runs/mine/base'), Arm(here / 'whole/base')
    for name, curve in once.curves.items():
        np.testing.assert_array_equal(added.curves[name].steps, curve.steps)
        np.testing.assert_allclose(added.curves[name].values, curve.values, rtol=1e-5)
    for name, values in once.arrays.items():
        np.testing.assert_allclose(added.arrays[name], values, rtol=1e-5)
    assert once.arrays['test/accuracy/each'].shape == (4, 8)
    assert added.drawn == once.drawn == {f'test/{n}' for n in (
        'loss', 'accuracy', 'confusion', 'accuracy/each'
    )}  # fmt: skip
    assert len(groups_of(here / 'runs/mine/base')) == 2
    assert folder_of_seed(here / 'runs/mine/base', 3).name == '2-3'
    with pytest.raises(UsageError, match=r'no seed 9; it has \[0, 1, 2, 3\]'):
        folder_of_seed(here / 'runs/mine/base', 9)
    trained.clear()
    run(monkeypatch, seeds=3)  # all of these are there
    assert trained == []
    lots = share_seeds(here / 'runs/mine/base', Config('mine', 'base', [7, 8], {}, []))
    assert [lot.seeds for _, lot in lots] == [[0, 1], [2, 3], [7, 8]]


def test_files_that_a_trial_opened_are_looked_at_again(here, monkeypatch):
    file, experiment = here / 'data.csv', here / 'mine.py'
    file.write_text('1,2\n')
    with reading():
        np.loadtxt(file, delimiter=',')
    seen = json.loads(json.dumps(look(experiment)))
    assert str(file) in seen['files'] and is_unchanged(seen, experiment)
    monkeypatch.setenv('JAXDL_DATA_DIR', str(here))
    assert not is_unchanged(seen, experiment)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert is_unchanged(seen, experiment)
    file.write_text('1,2,3\n')
    assert not is_unchanged(seen, experiment)


class Kind(enum.Enum):
    """A choice."""

    ONE = 1


@dataclass
class Recipe:
    """A few values."""

    width: int = 2
    kind: Kind = Kind.ONE


@pytest.mark.parametrize(
    'value,text',
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        ((1, (2, 3)), [1, [2, 3]]),
        (float('-inf'), '-inf'),
        (operator.add, '_operator:add'),
        (Recipe, f'{__name__}:Recipe'),
        (Recipe(3), {'': f'{__name__}:Recipe', 'width': 3, 'kind': f'{__name__}:Kind.ONE'}),
        (functools.partial(operator.add, 1), ['partial', '_operator:add', 1, {}]),
        (jax.numpy.float32, 'jax.numpy:float32'),
        (np.dtype('float32'), 'float32'),
    ],
)
def test_a_value_is_known_by_a_text_that_stays(value, text):
    assert as_json(value) == text


@pytest.mark.parametrize('value', [lambda x: x, object(), [object()], {'a': iter(())}])
def test_a_value_without_such_a_text_is_refused(value):
    with pytest.raises(UsageError, match="arm 'a', f: .* has no text"):
        as_json(value, "arm 'a', f")
