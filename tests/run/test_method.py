"""The words for a method, against what is known of the objects that they are read from."""

import functools
import json

import flax.linen as nn
import numpy as np
import optax
import pytest
import toy
from kinds import KINDS

from jaxdl.cli.library import load, names, phases_of, resolve
from jaxdl.data import augment
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import from_arrays
from jaxdl.errors import DataMissingError
from jaxdl.game import ema
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier
from jaxdl.optim import decayed, freeze
from jaxdl.run.closures import in_words, network
from jaxdl.run.method import about, loss_in_words, transform_in_words
from jaxdl.run.optimizers import optimizer_in_words
from jaxdl.run.schedules import schedule_in_words
from jaxdl.run.stage import Options, make_stages
from jaxdl.study import Eval, Phase

COSINE = optax.cosine_decay_schedule(3e-3, 1500)
FALLING = '0.003 falling to 0 along a cosine over 1,500 steps'
ADAM = 'b1 0.9, b2 0.999'


def leaning(key, batch):
    """Rows that lean."""
    return batch


def half(key, batch):
    return batch


def own():
    """A transformation of a person's own."""
    return optax.GradientTransformation(lambda params: (), lambda g, state, params=None: (g, state))


@pytest.mark.parametrize(
    ('opt', 'said'),
    [
        # What experiments/ has.
        (optax.adamw(COSINE), f'AdamW ({ADAM}, weight decay 0.0001), learning rate {FALLING}'),
        (optax.adam(2e-3), f'Adam ({ADAM}), learning rate 0.002'),
        (
            optax.adam(COSINE, b1=0.5, b2=0.9, eps=1e-4),
            f'Adam (b1 0.5, b2 0.9, eps 0.0001), learning rate {FALLING}',
        ),
        (
            optax.adamw(1e-3, weight_decay=0.1, mask=decayed),
            f'AdamW ({ADAM}, weight decay 0.1 on kernels), learning rate 0.001',
        ),
        (
            optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(1e-3, weight_decay=0.0)),
            f'Adam ({ADAM}, weight decay 0), learning rate 0.001; '
            'gradients clipped to a global norm of 10',
        ),
        (
            optax.chain(
                optax.add_decayed_weights(1e-4, mask=decayed), optax.sgd(0.1, momentum=0.9)
            ),
            'SGD (momentum 0.9), learning rate 0.1; weight decay 0.0001 on kernels, '
            'added to the gradient',
        ),
        (
            freeze(optax.adam(1e-3), 'Conv_*', 'Dense_0/*'),
            f'Adam ({ADAM}), learning rate 0.001; frozen: Conv_*, Dense_0/*',
        ),
        # Others of optax.
        (
            optax.sgd(COSINE, momentum=0.9, nesterov=True),
            f'SGD (momentum 0.9, Nesterov), learning rate {FALLING}',
        ),
        (optax.sgd(0.5), 'SGD, learning rate 0.5'),
        (optax.rmsprop(1e-3, decay=0.95), 'RMSProp (decay 0.95), learning rate 0.001'),
        (optax.lion(1e-4), 'Lion (b1 0.9, b2 0.99, weight decay 0.001), learning rate 0.0001'),
        (
            optax.lamb(1e-3, weight_decay=0.01),
            f'LAMB ({ADAM}, eps 1e-06, weight decay 0.01, trust ratio of each layer), '
            'learning rate 0.001',
        ),
        (optax.adagrad(0.1), 'Adagrad, learning rate 0.1'),
        (optax.nadam(1e-3), f'NAdam ({ADAM}), learning rate 0.001'),
        (
            optax.adafactor(1e-3),
            'Adafactor (decay rate 0.8, steps relative to the size of each array), '
            'learning rate 0.001',
        ),
        (optax.adamax(0.1), f'Adamax ({ADAM}), learning rate 0.1'),
        (
            optax.MultiSteps(optax.sgd(0.1), 4).gradient_transformation(),
            'SGD, learning rate 0.1; one update for the mean gradient of 4 steps',
        ),
        (
            optax.apply_if_finite(optax.sgd(0.1), 3),
            'SGD, learning rate 0.1; updates that are not finite are skipped, at most 3 in a row',
        ),
        (
            optax.partition({'a': optax.adam(1e-3), 'b': optax.set_to_zero()}, {'x': 'a'}),
            f'a: Adam ({ADAM}), learning rate 0.001; b: nothing moves',
        ),
        (optax.masked(optax.sgd(0.1), decayed), 'SGD, learning rate 0.1; on kernels alone'),
        (
            optax.inject_hyperparams(optax.adam)(learning_rate=COSINE, b1=0.5),
            f'adam (b1 0.5, b2 0.999, eps 1e-08, learning rate {FALLING})',
        ),
        # What has no words has a name.
        (own(), 'custom (own.<lambda>)'),
        (optax.chain(own(), optax.sgd(0.1)), 'SGD, learning rate 0.1; custom (own.<lambda>)'),
        (
            optax.lookahead(optax.sgd(0.1), 5, 0.5),
            'lookahead(slow_step_size 0.5, sync_period 5, fast_optimizer: SGD, learning rate 0.1)',
        ),
        (optax.polyak_sgd(), 'scale_by_polyak()'),
    ],
)
def test_an_optimizer_in_words(opt, said):
    assert optimizer_in_words(opt) == said


def test_what_an_optimizer_closes_over_may_be_anything(monkeypatch):
    monkeypatch.setattr('jaxdl.run.optimizers.closed_over', lambda fn: {})
    assert optimizer_in_words(optax.adam(1e-3)) == 'custom (chain.update_fn)'
    monkeypatch.setattr('jaxdl.run.schedules.closed_over', lambda fn: {})
    assert schedule_in_words(COSINE) == 'custom (cosine_decay_schedule.schedule)'


@pytest.mark.parametrize(
    ('schedule', 'said'),
    [
        (COSINE, FALLING),
        (
            optax.cosine_decay_schedule(0.1, 100, alpha=0.1, exponent=2),
            '0.1 falling to 0.01 along a cosine to the power of 2 over 100 steps',
        ),
        (
            optax.warmup_cosine_decay_schedule(0, 0.1, 10, 100),
            '0 rising to 0.1 in a line over 10 steps, then 0.1 falling to 0 along a cosine over '
            '90 steps',
        ),
        (
            optax.piecewise_constant_schedule(0.1, {450: 0.1, 300: 0.5}),
            '0.1, times 0.5 from step 300 and times 0.1 from step 450',
        ),
        (optax.exponential_decay(0.1, 10, 0.9), '0.1, times 0.9 every 10 steps'),
        (
            optax.linear_schedule(0.1, 0, 10, 5),
            '0.1 falling to 0 in a line over 10 steps from step 5 on',
        ),
        (
            optax.polynomial_schedule(0.1, 0, 2, 100),
            '0.1 falling to 0 as a power of 2 over 100 steps',
        ),
        (optax.constant_schedule(0.1), '0.1'),
        (
            optax.cosine_onecycle_schedule(100, 0.1),
            '0.004, to 0.1 at step 30, to 4e-07 at step 100, along a cosine',
        ),
        (np.float32(0.25), '0.25'),
        (lambda step: 0.1, 'custom (<lambda>)'),
    ],
)
def test_a_schedule_in_words(schedule, said):
    assert schedule_in_words(schedule) == said


@pytest.mark.parametrize(
    ('transform', 'said'),
    [
        (None, 'none'),
        (augment.as_float(), 'as_float(scale 0.003922)'),
        (
            augment.compose(augment.as_float(scale=0.5), augment.shift(2), augment.flip()),
            'as_float(scale 0.5), crop(padding 2), flip(horizontal 0.5, vertical 0)',
        ),
        (augment.standardise([0.5, 0.25], 2.0), 'standardise(mean (0.5, 0.25), std 2)'),
        (
            augment.sometimes(0.5, augment.one_of(augment.cutout(3), half)),
            'with probability 0.5: one of: cutout(fill 0, size 3) | custom (half)',
        ),
        (
            augment.elastic(2.0, scene=augment.Scene(border='reflect')),
            'elastic(grid 3, scene Scene(border reflect), std 2)',
        ),
        (augment.mixup(classes=10), 'mixup(alpha 0.2, classes 10)'),
        (half, 'custom (half)'),
        (leaning, 'leaning (Rows that lean)'),
    ],
)
def test_a_transform_in_words(transform, said):
    assert transform_in_words(transform) == said


class Own(nn.Module):
    """A network with fields of many kinds."""

    inner: nn.Module
    widths: tuple[int, ...] = (1, 2)
    make: object = functools.partial(nn.Dense, 3, use_bias=False)
    activation: object = nn.relu
    none: object = None


def test_a_network_in_words_is_its_class_and_its_fields():
    assert network(Own(MLP((4, 2)))) == (
        'Own(inner MLP(features (4, 2), activation relu, dropout 0), widths (1, 2), '
        'make Dense(3, use_bias no), activation relu)'
    )
    assert in_words(list(range(20))) == '(0, 1, 2, 3, 4, 5, 6, 7, ...)'
    assert in_words({'a': object(), 'b': np.zeros((3, 4))}) == '{a: object, b: float64[3, 4]}'


def test_a_loss_is_told_by_what_made_it():
    task = classifier(MLP((2,)), optax.sgd(0.1), classes=2, label_smoothing=0.1)
    said, own = loss_in_words(task.method.players['net'].loss)
    assert said == (
        'Classification of x [B, ...] into y int [B] by cross-entropy '
        '(classifier, label smoothing 0.1)'
    )
    assert own == {'label_smoothing': 0.1}
    assert loss_in_words(lambda nets, batch, key: 0)[0].startswith('custom (')


def described(phases):
    stages = make_stages(phases, [0, 1], Options())
    found = about(stages)
    assert json.loads(json.dumps(found)) == found
    return found


def test_the_method_and_the_data_of_a_phase():
    rows = np.arange(40, dtype=np.float32).reshape(20, 2)
    table = from_arrays(
        {'x': rows, 'y': np.arange(20) % 2}, name='rows', classes={'y': ('even', 'odd')}
    )
    train, test = table.split(seed=0, test=0.25)
    opt = optax.adamw(1e-3, weight_decay=0.2)
    module = MLP((4, 2), dropout=0.5)
    task = classifier(module, opt, classes=2, label_smoothing=0.1, shadow=ema(0.9), accumulate=2)
    phase = Phase(
        task,
        shuffled(train, batch=6, private=True, augment=augment.standardise(1.0, 2.0)),
        {'test': Eval(in_order(test, batch=5), every=4)},
        steps=10,
    )
    found = described([phase])
    (it,) = found['phases']
    assert 'unread' not in it
    assert (it['steps'], it['batch'], it['epochs'], it['private']) == (10, 6, 4.0, True)
    # Two dense layers, forward and backward: 6 rows x (2 x 4 + 4 x 2) weights x 2 x 3, without the
    # gradient of the input of the first.
    assert it['flops'] == 6 * 16 * 6 - 6 * 8 * 2
    assert it['regularisation'] == ['label smoothing 0.1', 'dropout 0.5', 'weight decay 0.2']
    (player,) = it['players']
    assert player['shadow'] == 'ema(decay 0.9)' and player['accumulate'] == 2
    assert it['tests']['test']['every'] == 4
    first, second = found['data']
    assert (first['split'], first['rows'], second['split'], second['rows']) == (
        'train',
        15,
        'test',
        5,
    )
    orders = ('shuffled, each epoch anew, each seed its own', 'in order')
    assert (first['order'], second['order']) == orders
    assert first['card']['name'] == 'rows' and first['card']['licence'] == ''
    assert first['columns'] == {'x': 'float32[2]', 'y': 'int32'}
    assert first['classes'] == {'y': ['even', 'odd']} and first['digest'] != second['digest']


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_task_is_told(kind):
    found = described(KINDS[kind]())
    assert not [it for it in [*found['phases'], *found['data']] if 'unread' in it]
    players = [player for it in found['phases'] for player in it['players']]
    assert players and all('custom' not in player['optimizer'] for player in players)
    notes = [note for it in found['phases'] for note in it['notes']]
    told = {'kept': 'the state of the best valid/accuracy counts', 'player': 'the last 64'}
    assert not notes if kind not in told else any(told[kind] in note for note in notes)


def test_what_cannot_be_read_is_said_and_ends_nothing(monkeypatch):
    def fail(opt):
        raise RuntimeError('no words')

    monkeypatch.setattr('jaxdl.run.method.optimizer_in_words', fail)
    phase = Phase(toy.task(), toy.train_source(), {'test': toy.test_source()}, steps=2)
    found = described([phase])
    assert found['phases'] == [{'name': '', 'unread': 'RuntimeError: no words'}]
    assert [it['split'] for it in found['data']] == ['train', 'test']


@pytest.mark.slow
@pytest.mark.parametrize('name', names())
def test_every_experiment_is_told_without_a_custom_word(name):
    _, study = load(name)
    try:
        phases = phases_of(study, resolve(study, 'tiny', {}))
    except DataMissingError as missing:
        pytest.skip(str(missing))
    found = described(phases)
    assert 'unread' not in str(found)
    for it in found['phases']:
        optimizers = [player['optimizer'] for player in it['players']]
        assert 'custom' not in str([optimizers, it['augmentation']])
