"""When labels are few, do images without labels help?

MNIST at 14x14 (TFDS `mnist`): each seed draws 10 or 100 labelled images of each digit for itself;
the 55,000 images of training stand beside them without labels. An encoder of three convolutions
learns in five ways: from the labelled images alone, with pseudo-labels (Lee 2013), by FixMatch
(Sohn et al. 2020), or without any label by SimCLR (Chen et al. 2020) or BYOL (Grill et al. 2020),
whose features a linear probe then reads as they are. What is to help is the images, not their
distortion: supervised learning sees its few images as distorted as the others see theirs. All have
as many steps; one is dearer where there are more images in it. The 5,000 images of validation,
which are more than there are labels, choose the learning rate alone.

    jaxdl run few_labels        three quarters of an hour on one CPU core

With 10 and 100 labels of each digit Lee reports 21.9 % and 6.6 % error, and 16.2 % and 4.3 % with
pseudo-labels. On CIFAR-10 Sohn et al. report 5.1 % for FixMatch with 25 of each class.
"""

from functools import partial
from typing import Any, Literal

import optax

from jaxdl.claims import better
from jaxdl.data.augment import Transform, affine, as_float, compose, cutout, shift, views
from jaxdl.data.draws import balanced
from jaxdl.data.sets.mnist import mnist
from jaxdl.data.source import Source
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.data.together import together
from jaxdl.models.conv_stack import ConvStack
from jaxdl.models.heads import Headed, Online, Probe
from jaxdl.models.mlp import MLP
from jaxdl.nn.layers import BatchNorm
from jaxdl.objectives.byol import byol
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.objectives.contrastive import simclr
from jaxdl.objectives.semisupervised import fixmatch, pseudo_label
from jaxdl.optim import freeze
from jaxdl.study import BatchSize, Count, Eval, Examples, Peak, Phase, Steps, Study, Trial, each
from jaxdl.task import Task
from jaxdl.transfer import graft

METHODS = ('supervised', 'pseudo_label', 'fixmatch', 'simclr', 'byol')
LABELS = (10, 100)
REPORTED = {
    ('pseudo_label', 10): 'Lee 2013, MNIST at 28x28: 16.2 % error, 21.9 % without',
    ('pseudo_label', 100): 'Lee 2013, MNIST at 28x28: 4.3 % error, 6.6 % without',
}

weak = shift(1)
strong = compose(affine(degrees=20, scale=(0.8, 1.2), shear=15, translate=0.1), cutout(5))


def trial(
    method: Literal['supervised', 'pseudo_label', 'fixmatch', 'simclr', 'byol'] = 'fixmatch',
    labels: Count = 10,
    examples: Examples = 60_000,
    width: Count = 16,
    steps: Steps = 1000,
    probing: Steps = 300,
    batch: BatchSize = 32,
    ratio: Count = 4,
    lr: Peak = 3e-3,
) -> Trial:
    """A classifier, or an encoder that has seen no label and then a probe.

    Args:
        method: how the encoder learns.
        labels: labelled images of each digit.
        width: maps of the first convolution; the others have two and four times as many.
        probing: steps of the probe, of SimCLR and BYOL.
        batch: labelled rows of a batch.
        ratio: unlabelled rows for each of them.
    """
    train, test = mnist(examples, shrink=2)
    train, valid = train.split(seed=0, by='y', valid=1 / 12)
    encoder, linear = ConvStack((width, 2 * width, 4 * width)), MLP((10,))
    opt, whole = falling(lr, steps), Headed(encoder, linear)

    def known(augment: Transform) -> Source:
        augment = compose(as_float(), augment)
        return shuffled(balanced(train, each=labels), batch=batch, augment=augment)

    def unknown(augment: Transform) -> Source:
        augment = compose(as_float(), augment)
        return shuffled(train.select({'x': 'x'}), batch=ratio * batch, augment=augment)

    def classified(task: Task, source: Source, steps: int = steps, **options: Any) -> Phase:
        tests = {'test': Eval(still(test), show=show_mistakes)}
        return Phase(task, source, tests, steps, max(1, steps // 4), still(valid), **options)

    if method == 'supervised':
        return classified(classifier(whole, opt, classes=10), known(strong))
    if method == 'pseudo_label':
        rising = optax.linear_schedule(0.0, 3.0, steps // 2, steps // 10)
        task = pseudo_label(whole, opt, classes=10, weight=rising)
        return classified(task, together(known(strong), {'unlabelled': unknown(strong)}))
    if method == 'fixmatch':
        both = unknown(views({'weak': weak, 'strong': strong}))
        task = fixmatch(whole, opt, classes=10)
        return classified(task, together(known(weak), {'unlabelled': both}))
    head = partial(MLP, (4 * width, 2 * width), norm=BatchNorm)
    if method == 'simclr':
        task = simclr(Headed(encoder, head()), opt)
    else:
        task = byol(Online(encoder, head(), head()), opt, steps=steps, decay=0.99)
    pairs = unknown(views({'first': strong, 'second': strong}))
    before = Phase(task, pairs, {'test': still(test)}, steps, name='pretrain')
    opt = freeze(falling(1e-2, probing), 'encoder/*')
    task = classifier(Probe(encoder, linear), opt, classes=10)
    taken = graft(parts={'encoder/*': 'encoder/*'})
    return before, classified(task, known(weak), probing, start=taken)


def falling(lr: float, steps: int) -> optax.GradientTransformation:
    """Adam, whose rate falls to zero along a cosine."""
    return optax.adam(optax.cosine_decay_schedule(lr, steps))


def still(table: Table) -> Source:
    """One pass over images as they are."""
    return in_order(table, batch=500, transform=as_float())


study = Study(
    question='When labels are few, do images without labels help?',
    trial=trial,
    arms=each(method=METHODS, labels=LABELS),
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/accuracy',
    tiny=dict(examples=240, labels=2, width=2, steps=4, probing=4, batch=8, lr=0.0003),
    seeds=5,
    claims=[
        better(f'{method}_{n}', f'supervised_{n}', 'test/accuracy').against(
            REPORTED.get((method, n), '')
        )
        for n in LABELS
        for method in METHODS[1:]
    ],
)
