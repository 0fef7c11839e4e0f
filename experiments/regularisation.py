"""What helps most when images are few: augmentation, dropout, weight decay or early stopping?

A LeNet of 118,154 parameters and 2,000 images of CIFAR-10 (TFDS `cifar10`), averaged to 16x16 and
drawn by each seed, the same for all arms, which the network fits to the last where nothing hinders
it. How strongly each method is applied is chosen by 5,000 other images, from the same grid for all.
Whoever stops early needs images to see when, and holds out a part of the 2,000. Weight decay is
AdamW's at a constant rate: at its least strength it takes weights that nothing feeds to a third
during a run, so that it does decay them.

    jaxdl run regularisation        half an hour on one CPU core

Simard et al. (2003) found augmentation to be the most important practice for networks on documents;
Srivastava et al. (2014) report dropout to help, and the less, the fewer the images (figure 10).
`--data cifar10_q75` takes JPEG copies of the images.
"""

from typing import Annotated, Literal

import numpy as np
import optax
from annotated_types import Interval

from jaxdl.claims import better
from jaxdl.data.augment import affine, compose, flip, standardise
from jaxdl.data.draws import Draw, balanced
from jaxdl.data.sets.cifar import Cifar10, cifar10
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import moments
from jaxdl.models.lenet import LeNet
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.objectives.keep_best import keep_best
from jaxdl.optim import decayed
from jaxdl.study import BatchSize, Count, Eval, Examples, Phase, Rate, Steps, Study, each

METHODS = ('none', 'augmentation', 'dropout', 'weight_decay', 'early_stopping', 'all')
REPORTED = {
    'augmentation': 'Simard et al. 2003: the most important practice',
    'dropout': 'Srivastava et al. 2014, figure 10: it helps, the less the fewer the images',
}


def held_out(draw: Draw, part: float) -> tuple[Draw, Draw]:
    """Each seed's rows in two: what is left, and a part of them."""
    count = round(part * len(draw))

    def rows(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).permutation(draw.numbers(seed))

    return (
        Draw(draw.table, lambda seed: np.sort(rows(seed)[count:]), draw.name),
        Draw(draw.table, lambda seed: np.sort(rows(seed)[:count]), f'{draw.name}, held out'),
    )


def trial(
    method: Literal[
        'none', 'augmentation', 'dropout', 'weight_decay', 'early_stopping', 'all'
    ] = 'none',
    strength: Annotated[float, Interval(gt=0, le=1)] = 0.5,
    per_class: Count = 200,
    data: Cifar10 = 'cifar10',
    examples: Examples = 50_000,
    shrink: Count = 2,
    width: Count = 16,
    steps: Steps = 1500,
    batch: BatchSize = 50,
    lr: Rate = 1e-3,
) -> Phase:
    """One classifier on few images.

    Args:
        method: what keeps it from learning them by heart.
        strength: of it; at 1 images are turned by 15 degrees, zoomed by 0.2 and moved by 0.15 of
            their side, 0.8 of the hidden units are dropped, the decay is 3, or 0.4 of the images
            are held out, and training stops five looks after the best of them.
        per_class: training images of each class, held-out ones included.
        data: the TFDS dataset.
        shrink: how many times smaller height and width are made.
        width: maps of the first convolution; the second has twice as many.
        lr: learning rate of AdamW; it is constant.
    """
    train, test = cifar10(data, examples, shrink=shrink)
    train, others = train.split(seed=0, by='y', valid=0.1)
    standard = standardise(*moments(train, 'x'))
    few, valid = balanced(train, each=per_class), others
    used = {name: strength * (method in (name, 'all')) for name in METHODS}
    module = LeNet(
        (width, 2 * width),
        (4 * width,),
        kernel=(3, 3),
        padding='SAME',
        dropout=0.8 * used['dropout'],
    )
    opt = optax.adamw(lr, weight_decay=3 * used['weight_decay'], mask=decayed)
    task = classifier(module, opt, classes=10)
    if used['early_stopping']:
        few, valid = held_out(few, 0.4 * used['early_stopping'])
        task = keep_best(task, 'loss', patience=5)
    augment = standard
    if by := used['augmentation']:
        distort = affine(degrees=15 * by, scale=(1 - 0.2 * by, 1 + 0.2 * by), translate=0.15 * by)
        augment = compose(standard, flip(), distort)
    return Phase(
        task,
        train=shuffled(few, batch=batch, augment=augment),
        valid=in_order(valid, batch=200, transform=standard),
        tests={
            'test': Eval(
                in_order(test, batch=500, transform=standard), every=steps, show=show_mistakes
            )
        },
        steps=steps,
        every=max(1, steps // 25),
    )


study = Study(
    question='What helps most when images are few?',
    trial=trial,
    arms=each(method=METHODS),
    tune={'strength': (0.25, 0.5, 1.0)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    tiny=dict(
        method='all',
        per_class=4,
        data='cifar10_q75',
        shrink=4,
        examples=200,
        width=2,
        steps=8,
        batch=16,
        lr=0.0003,
    ),
    seeds=8,
    claims=[
        *(
            better(method, 'none', 'test/accuracy').against(REPORTED.get(method, ''))
            for method in METHODS[1:]
        ),
        *(better('augmentation', method, 'test/accuracy') for method in METHODS[2:5]),
        better('all', 'augmentation', 'test/accuracy'),
    ],
)
