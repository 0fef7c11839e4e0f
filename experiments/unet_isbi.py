"""Do U-Net's skips help where boundaries are thin?

U-Net, the same without its skips, and an FCN-8s, all of 1.3 million parameters, from scratch, with
BatchNorm and zero padding, on the membranes of the ISBI 2012 challenge. Its 30 slices are
neighbours: each seed holds out another six that follow each other, a fifth, and the four behind
them, which choose the learning rate; windows of 128x128 of the others are flipped, turned, scaled
and bent.

    jaxdl run unet_isbi       three quarters of an hour on one CPU core

Dice is that of the membranes, a fifth of the pixels, counted over all held out pixels together. A
membrane with one gap joins two cells: 'regions/rand' is the score of the challenge for that (of
pairs of pixels in one cell, Arganda-Carreras et al. 2015) at the threshold 0.5, and
'regions/variation' the variation of information; 'regions/rand_best', at the best threshold, is as
the challenge has it. Ronneberger et al. (2015) report a pixel error of 6.1 % and 1 - 0.0382 for
Rand on the challenge's own test slices, of a network 24 times as large, trained for ten hours,
after a mean over seven rotations.
"""

from functools import partial
from typing import Literal

import flax.linen as nn
import numpy as np
import optax

from jaxdl.claims import better
from jaxdl.data.augment import Scene, affine, as_float, compose, crop, elastic, flip, standardise
from jaxdl.data.draws import Draw
from jaxdl.data.sets.isbi import isbi_membrane
from jaxdl.data.stream import in_order, shuffled
from jaxdl.models.fcn import fcn8s
from jaxdl.models.unet import UNet, no_skip
from jaxdl.nn.layers import BatchNorm
from jaxdl.objectives.segmentation import SCORES, kept_apart, segmenter, show_masks
from jaxdl.study import Count, Eval, Peak, Phase, Steps, Study, each


def fcn(*, base: int, depth: int) -> nn.Module:
    """FCN-8s on a VGG16 of `depth` + 1 blocks, the first of `base` maps."""
    features = [base << min(i, 3) for i in range(depth + 1)]
    return fcn8s(
        convolutions=(2, 2, 3, 3, 3)[: depth + 1],
        features=features,
        hidden=(features[-1], features[-1]),
        classes=2,
        margin=1,
        padding=3,
        norm=BatchNorm,
    )


NETWORKS = {'unet': UNet, 'no_skips': partial(UNet, merge=no_skip), 'fcn': fcn}
MORE = {'unet': 0, 'no_skips': 1, 'fcn': 1}  # maps of the first level, for equal parameters
FOLDS = {'test': range(6), 'valid': range(6, 10), 'train': range(10, 30)}


def fold(part: str, seen: int) -> Draw:
    """A part of the slices, other ones for each of five seeds; the corner that is `seen`."""
    table = isbi_membrane('all').map(
        dict.fromkeys(('x', 'segmentation'), lambda x: x[:, :seen, :seen])
    )

    def rows(seed: int) -> np.ndarray:
        return np.sort((np.array(FOLDS[part]) + 6 * seed) % 30)

    return Draw(table, rows, f'isbi_membrane {part}')


def trial(
    network: Literal['unet', 'no_skips', 'fcn'] = 'unet',
    base: Count = 13,
    depth: Count = 4,
    window: Count = 128,
    seen: Count = 512,
    steps: Steps = 500,
    batch: Count = 4,
    lr: Peak = 3e-3,
) -> Phase:
    """One segmenter of membranes.

    Args:
        network: what is trained.
        base: maps of the first level of U-Net.
        depth: poolings of U-Net; FCN has one more.
        window: height and width of a training window.
        seen: height and width of what is used of each slice.
        batch: windows of a training batch.
    """
    scene = Scene(border='reflect')
    floats = compose(as_float(), standardise(0.5, 0.17))
    augment = compose(
        crop((window, window)),
        floats,
        flip(vertical=0.5),
        affine(degrees=45, scale=(0.8, 1.25), scene=scene),
        elastic(window / 32, scene=scene),
    )
    module = NETWORKS[network](base=base + MORE[network], depth=depth)
    opt = optax.adamw(optax.cosine_decay_schedule(lr, steps), weight_decay=1e-4)
    scores = {name: SCORES[name] for name in ('dice', 'error', 'mean_iou')}
    classes = ('cell', 'membrane')
    train, valid, test = (fold(part, seen) for part in ('train', 'valid', 'test'))
    still = partial(in_order, batch=2, transform=floats)
    return Phase(
        segmenter(module, opt, classes=classes, scores=scores),
        train=shuffled(train, batch=batch, augment=augment),
        valid=still(valid),
        tests={
            'test': Eval(still(test), every=steps, show=show_masks),
            'regions': Eval(still(test), kept_apart(classes.index('membrane')), every=steps),
        },
        steps=steps,
        every=max(1, steps // 4),
    )


study = Study(
    question='Do the skips of U-Net help to find thin membranes?',
    trial=trial,
    seeds=5,
    arms=each(network=NETWORKS),
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/dice',
    tuning_seeds=1,
    tiny=dict(base=2, depth=1, window=16, seen=24, steps=4, batch=2, lr=0.0001),
    claims=[
        better('unet', other, number, equal='parameters')
        for other in ('no_skips', 'fcn')
        for number in ('test/dice', 'test/error', 'regions/rand', 'regions/variation')
    ],
)
