"""What has changed of a study since its result was recorded is said, whatever of it that is."""

import jax
import numpy as np
import optax
import pytest

from jaxdl.cli.grid import tuning_seeds
from jaxdl.cli.soundness import check_study
from jaxdl.cli.stale import changes_since
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import from_arrays
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier
from jaxdl.run.comparison import digests, identities
from jaxdl.run.origin import layers
from jaxdl.run.stage import Options, make_stages
from jaxdl.study import Phase, Rate, Study

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
DATA = from_arrays({'x': X, 'y': (X[:, 0] > 0).astype(np.int32)}, name='mine')
SEEDS = [0, 1, 4]


def trial_of(parts):
    def trial(lr: Rate = 0.1) -> Phase:
        train, valid, test = parts
        task = classifier(MLP((2,)), optax.sgd(lr), classes=2)
        tests = {'test': in_order(test, batch=8)}
        return Phase(task, shuffled(train, batch=8), tests, 4, valid=in_order(valid, batch=8))

    return trial


def share(seed: int) -> dict[str, float]:
    return {'test/accuracy': 0.1 + 0.2 * seed}


def drawn(**how):
    return trial_of(DATA.draw(valid=8, test=8, **how))


STUDY = check_study(
    Study(
        question='?',
        trial=drawn(),
        arms={'a': {}},
        seeds=3,
        tune={'lr': (0.1, 0.2)},
        tuned_by='valid/accuracy',
        baselines={'share': share},
    )
)


@pytest.fixture(scope='module')
def recorded():
    """A result of the study as a record has it."""
    stages = make_stages((STUDY.trial(lr=0.2),), SEEDS, Options())
    origin = {'experiment': 'x', 'platform': jax.default_backend(), 'layers': layers()}
    stand = {'origin': origin, 'phases': identities(stages)}
    each = {'seeds': SEEDS}
    numbers = {'test/accuracy': {'per_seed': [share(seed)['test/accuracy'] for seed in SEEDS]}}
    by = {'by': 'valid/accuracy', 'seeds': tuning_seeds(STUDY), 'grid': {'lr': [0.1, 0.2]}}
    return {
        'study': 'mine',
        'seeds': SEEDS,
        'versions': {'jax': jax.__version__},
        'tuning': {**by, 'arms': {'a': {'chosen': {'lr': 0.2}}}},
        'arms': {
            'a': {**each, 'params': {'lr': 0.2}, 'digests': digests(stand), 'metrics': {}},
            'share': {**each, 'params': {}, 'digests': {'data': ''}, 'metrics': numbers},
        },
    }


def shifted(seed: int) -> dict[str, float]:
    return {'test/accuracy': 0.1 + 0.2 * seed + 1e-3}


def renamed(seed: int) -> dict[str, float]:
    return {'test/error': 0.1 + 0.2 * seed}


OTHER = 'a is tuned over another grid now, or otherwise'


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({}, []),
        ({'seeds': 4}, ['a has 3 of 4 seeds', 'share has 3 of 4 seeds']),
        ({'tune': {'lr': (0.1, 0.2, 0.3)}}, [OTHER]),
        ({'tuned_by': 'valid/loss'}, [OTHER]),
        ({'tuning_seeds': 3}, [OTHER]),
        ({'tune': None}, ['lr of a is 0.1 now, and was 0.2', 'a was tuned, and is not now']),
        ({'baselines': {'share': shifted}}, ['share returns other numbers']),
        ({'baselines': {'share': renamed}}, ['share returns other numbers']),
        # As many rows, others of them.
        ({'trial': drawn(by='y')}, ['a has other data']),
    ],
)
def test_what_has_changed_is_said(recorded, changes, said):
    assert changes_since(STUDY._replace(**changes), recorded) == said


def test_a_grid_that_is_new_is_said(recorded):
    untuned = {**recorded, 'tuning': None}
    assert changes_since(STUDY, untuned) == ['a is tuned now (lr), and was not']
