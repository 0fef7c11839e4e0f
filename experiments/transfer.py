"""When labels are few, does a network that has learned other classes learn new ones better?

A LeNet learns five classes of CIFAR-10 (aeroplane to deer, TFDS `cifar10`, averaged to 16x16), then
with a new head the other five (dog to truck) from 10 or 100 labelled images of each; or the 136
characters of five alphabets of Omniglot, then those of three others from 5 drawings of each. It
goes on from there whole, or its trunk stays as it is and the head alone learns, against the same
network from scratch, and against a trunk that stays as it was drawn at random: what a linear head
makes of random features. Each seed draws its labelled images; others choose each arm's rate, which
is what frozen features depend on most: at one rate for all they would seem worse than none.

    jaxdl run transfer        half an hour on one CPU core

Yosinski et al. (2014) find that transferred features help, and that fine-tuning them beats freezing
them where tasks differ. `--data cifar10_q75` takes JPEG copies of the images.
"""

from typing import Literal

import numpy as np
import optax

from jaxdl.claims import better
from jaxdl.data.augment import affine, as_float, compose, crop, flip
from jaxdl.data.draws import balanced
from jaxdl.data.sets.cifar import Cifar10, cifar10
from jaxdl.data.sets.omniglot import omniglot
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.models.lenet import LeNet
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.optim import freeze
from jaxdl.study import BatchSize, Count, Eval, Examples, Peak, Phase, Steps, Study, Trial
from jaxdl.transfer import graft

HEAD = 'Dense_1'
TRUNK = ('Conv_*', 'Dense_0/*')
STARTS = ('scratch', 'fine_tuned', 'frozen', 'random')
REPORTED = {
    ('fine_tuned', 'scratch'): 'Yosinski et al. 2014: transferred features help',
    ('fine_tuned', 'frozen'): 'Yosinski et al. 2014: fine-tuning helps where tasks differ',
}
TASKS = {'photos_10': ('photos', 10), 'photos_100': ('photos', 100), 'letters_5': ('letters', 5)}


def chosen(table: Table, rows: np.ndarray) -> Table:
    """These rows, their classes numbered from 0."""
    some = table.take(rows).select({'x': 'x', 'y': 'y'})
    classes = np.unique(some.column('y'))
    return some.map({'y': lambda y: np.searchsorted(classes, y).astype(np.int32)})


def photographs(data: Cifar10, examples: int) -> tuple[Table, ...]:
    """Of the old classes images to train and test on; of the new ones to train, choose and test."""
    train, test = cifar10(data, examples, shrink=2)
    train, valid = train.split(seed=0, by='y', valid=0.1)
    return (
        *(chosen(table, table.column('y') < 5) for table in (train, test)),
        *(chosen(table, table.column('y') >= 5) for table in (train, valid, test)),
    )


def letters() -> tuple[Table, ...]:
    """The same of Omniglot: the new alphabets are those that are not among the old ones."""
    old, new = omniglot('small1'), omniglot('small2')
    known = np.isin(new.column('alphabet'), np.unique(old.column('alphabet')))
    late, drawer = old.column('drawer') > 16, new.column('drawer')
    return (
        chosen(old, ~late),
        chosen(old, late),
        chosen(new, ~known & (drawer <= 10)),
        chosen(new, ~known & (drawer > 10) & (drawer <= 12)),
        chosen(new, ~known & (drawer > 12)),
    )


def trial(
    start: Literal['scratch', 'fine_tuned', 'frozen', 'random'] = 'fine_tuned',
    images: Literal['photos', 'letters'] = 'photos',
    labels: Count = 10,
    data: Cifar10 = 'cifar10',
    examples: Examples = 50_000,
    width: Count = 16,
    pretraining: Steps = 1500,
    steps: Steps = 500,
    batch: BatchSize = 50,
    lr: Peak = 3e-3,
) -> Trial:
    """Two phases, or the second alone.

    Args:
        start: from random weights; from the first phase; from it with only the head trained; from
            random weights with only the head trained.
        images: what is learned.
        labels: training images of each new class.
        data: the TFDS dataset of photographs.
        width: maps of the first convolution; the second has twice as many.
        pretraining: optimizer steps on the old classes, at a rate of 0.001.
        steps: optimizer steps on the new classes.
    """
    before, before_test, train, valid, test = (
        photographs(data, examples) if images == 'photos' else letters()
    )
    moved = affine(degrees=10, scale=(0.9, 1.1), translate=0.08)
    moves = compose(crop(padding=2), flip()) if images == 'photos' else moved

    def network(table: Table) -> LeNet:
        classes = len(np.unique(table.column('y')))
        return LeNet((width, 2 * width), (8 * width,), classes, padding='SAME')

    def falling(lr: float, steps: int) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(lr, steps))

    def still(table: Table):
        return in_order(table, batch=500, transform=as_float())

    opt = falling(lr, steps)
    module = network(train)
    phase = Phase(
        classifier(
            module,
            freeze(opt, *TRUNK) if start in ('frozen', 'random') else opt,
            classes=module.classes,
        ),
        train=shuffled(
            balanced(train, each=labels), batch=batch, augment=compose(as_float(), moves)
        ),
        valid=still(valid),
        tests={'test': Eval(still(test), every=steps, show=show_mistakes)},
        steps=steps,
        every=max(1, steps // 4),
        start=graft(f'params/{HEAD}/*') if start in ('fine_tuned', 'frozen') else None,
    )
    if phase.start is None:
        return phase
    module = network(before)
    first = Phase(
        classifier(module, falling(1e-3, pretraining), classes=module.classes),
        train=shuffled(before, batch=batch, augment=compose(as_float(), moves)),
        tests={'test': still(before_test)},
        steps=pretraining,
        every=pretraining,
        name='pretrain',
    )
    return first, phase


study = Study(
    question='Does a network that has learned other classes learn new ones from fewer labels?',
    trial=trial,
    arms={
        f'{start}_{task}': {'start': start, 'images': images, 'labels': labels}
        for task, (images, labels) in TASKS.items()
        for start in STARTS
    },
    tune={'lr': (1e-3, 3e-3, 1e-2, 3e-2)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    tiny=dict(
        data='cifar10_q75',
        labels=4,
        width=2,
        examples=200,
        pretraining=4,
        steps=4,
        batch=16,
        lr=0.0003,
    ),
    seeds=5,
    claims=[
        better(f'{a}_{task}', f'{b}_{task}', 'test/accuracy').against(REPORTED.get((a, b), ''))
        for task in TASKS
        for a, b in (
            ('fine_tuned', 'scratch'),
            ('fine_tuned', 'frozen'),
            ('frozen', 'scratch'),
            ('frozen', 'random'),
        )
    ],
)
