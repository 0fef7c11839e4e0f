"""When labels are few, does a network that has learned other classes learn new ones better?

A LeNet learns the digits 0 to 4 of MNIST (TFDS `mnist`, 30,596 images); then, with a new head, the
digits 5 to 9 from 10 or 100 labelled images of each, all of it or the head alone, against the same
network from scratch. The test images are those of 5 to 9 (4,861). Yosinski et al. (2014) find that
transferred features help, and that fine-tuning them beats freezing them where tasks differ.

    jaxdl run transfer        ten minutes on two CPU cores

Expected: with 10 labels 91 % fine-tuned and 88 % from scratch; with 100, 97.8 % and 97.5 %. Frozen
features are worse than none at all: the head alone cannot tell 5 to 9 apart by what told 0 to 4.
"""

from typing import Literal

import numpy as np
import optax

from jaxdl.claims import better
from jaxdl.data.augment import as_float, compose, shift
from jaxdl.data.sets.mnist import mnist
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.models.lenet import LeNet
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.optim import freeze
from jaxdl.study import Count, Eval, Phase, Rate, Study, Trial, each
from jaxdl.transfer import graft

CLASSES = 5
HEAD = 'Dense_2'
TRUNK = ('Conv_*', 'Dense_0/*', 'Dense_1/*')


def digits(table: Table, *, first: int) -> Table:
    """The images of five digits from `first` on; y is 0 to 4."""
    y = table.column('y')
    chosen = table.take((y >= first) & (y < first + CLASSES))
    return chosen.map({'y': lambda y: y - first})


def few(table: Table, *, labels: int) -> Table:
    """The first `labels` images of each class."""
    y = table.column('y')
    return table.take(np.concatenate([np.flatnonzero(y == c)[:labels] for c in range(CLASSES)]))


def trial(
    start: Literal['scratch', 'fine_tuned', 'frozen'] = 'fine_tuned',
    labels: Count = 10,
    width: Count = 16,
    examples: Count = 60_000,
    pretraining: Count = 1000,
    steps: Count = 400,
    batch: Count = 64,
    lr: Rate = 1e-3,
) -> Trial:
    """Two phases, or the second alone.

    Args:
        start: from random weights, from the first phase, or from it with only the head trained.
        labels: training images of each new class.
        width: maps of the first convolution; the second has twice as many.
        examples: images of MNIST, of training and at most of test, that the classes are taken from.
        pretraining: optimizer steps on the old classes.
        steps: optimizer steps on the new classes.
        batch: rows of a training batch, at most all there are.
        lr: peak learning rate of Adam, falling to zero along a cosine.
    """
    module = LeNet((width, 2 * width), classes=CLASSES)
    opt = optax.adam(optax.cosine_decay_schedule(lr, steps))
    train, test = mnist(examples)
    new = few(digits(train, first=5), labels=labels)
    phase = Phase(
        classifier(module, freeze(opt, *TRUNK) if start == 'frozen' else opt, classes=CLASSES),
        train=_moved(new, batch),
        tests={'test': Eval(_still(digits(test, first=5)), show=show_mistakes)},
        steps=steps,
        every=max(1, steps // 4),
        start=None if start == 'scratch' else graft(f'params/{HEAD}/*'),
    )
    if start == 'scratch':
        return phase
    before = Phase(
        classifier(
            module, optax.adam(optax.cosine_decay_schedule(lr, pretraining)), classes=CLASSES
        ),
        train=_moved(digits(train, first=0), batch),
        tests={'test': _still(digits(test, first=0))},
        steps=pretraining,
        every=pretraining,
        name='pretrain',
    )
    return before, phase


def _moved(table: Table, batch: int):
    augment = compose(as_float(), shift(2))
    return shuffled(table, batch=min(batch, len(table)), augment=augment)


def _still(table: Table):
    return in_order(table, batch=500, transform=as_float())


study = Study(
    question='Does a network that has learned other classes learn new ones from fewer labels?',
    trial=trial,
    arms=each(start=('scratch', 'fine_tuned', 'frozen'), labels=(10, 100)),
    tiny=dict(width=2, examples=200, pretraining=4, steps=4, batch=16, lr=0.0003),
    seeds=5,
    claims=[
        *(better(f'fine_tuned_{n}', f'scratch_{n}', 'test/accuracy') for n in (10, 100)),
        better('frozen_10', 'scratch_10', 'test/accuracy'),
        *(better(f'fine_tuned_{n}', f'frozen_{n}', 'test/accuracy') for n in (10, 100)),
    ],
)
