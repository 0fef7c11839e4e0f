"""A trained network outside of its study."""

import numpy as np
import pytest

from jaxdl.cli.main import main
from jaxdl.errors import UsageError
from jaxdl.trained import load_net

STUDY = """
import numpy as np
import optax
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import from_arrays
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.keep_best import keep_best
from jaxdl.study import Phase, Study

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
DATA = from_arrays({'x': X, 'y': (X[:, 0] > 0).astype(np.int32)}, name='mine')


def trial(width: int = 3) -> Phase:
    task = keep_best(classifier(MLP((width, 2)), optax.sgd(0.5), classes=2), 'loss')
    split = in_order(DATA, batch=60)
    return Phase(task, shuffled(DATA, batch=8), {'test': split}, steps=6, every=2, valid=split)


study = Study('Is it learned?', trial, {'narrow': {}, 'wide': {'width': 5}}, seeds=2)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    (folder / 'mine.py').write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv('JAXDL_MALLOPT', '0')
        assert main(['run', 'mine.py', '--no-tensorboard']) == 0
        yield folder


@pytest.mark.parametrize('seed', [0, 1])
def test_it_is_the_one_that_was_measured(seed, folder):
    from jaxdl.files import read_json

    net = load_net('runs/mine/wide', seed)
    assert net.params['Dense_0']['kernel'].shape == (4, 5)
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    logits, _ = net(x)
    right = (np.asarray(logits).argmax(-1) == (x[:, 0] > 0)).mean()
    done = read_json(folder / 'runs/mine/wide/DONE')['metrics']
    assert done['test/accuracy'][seed] == pytest.approx(right)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('runs/mine',), 'runs/mine is no arm of a run'),
        (('runs/mine/wide', 7), r'has no seed 7; it has \[0, 1\]'),
    ],
)
def test_what_is_not_there_is_said(arguments, message, folder):
    with pytest.raises(UsageError, match=message):
        load_net(*arguments)
    with pytest.raises(UsageError, match="which net. 'nett' is none of them; did you mean 'net'"):
        load_net('runs/mine/wide', net='nett')
