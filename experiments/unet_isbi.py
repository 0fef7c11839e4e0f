"""Do U-Net's skips help where boundaries are thin?

U-Net, the same without its skips, and an FCN-8s of about the same size, all from scratch, with
BatchNorm and zero padding, on the membranes of the ISBI 2012 challenge: 24 slices to train on,
windows of 128x128 that are flipped, turned, scaled and bent; the last 6 slices, whole, held out.
Ronneberger et al. (2015) report a pixel error of 6.1 % on the challenge's own test slices, of a
network 16 times as large, trained for ten hours, after a mean over seven rotations.

    jaxdl run unet_isbi       an hour on one CPU core

Dice is that of the membranes, a fifth of the pixels, counted over all held out pixels together.
Expected: 0.76 and a pixel error of 8.8 % with the skips, 0.72 and 10.4 % without them, 0.68 and
11.5 % of FCN-8s.
"""

from functools import partial
from typing import Literal

import flax.linen as nn
import optax

from jaxdl.claims import better
from jaxdl.data.augment import Scene, affine, as_float, compose, crop, elastic, flip, standardise
from jaxdl.data.sets.isbi import isbi_membrane
from jaxdl.data.stream import in_order, shuffled
from jaxdl.models.fcn import fcn8s
from jaxdl.models.unet import UNet, no_skip
from jaxdl.nn.layers import BatchNorm
from jaxdl.objectives.segmentation import SCORES, segmenter, show_masks
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


def trial(
    network: Literal['unet', 'no_skips', 'fcn'] = 'unet',
    base: Count = 16,
    depth: Count = 4,
    window: Count = 128,
    seen: Count = 512,
    steps: Steps = 600,
    batch: Count = 4,
    lr: Peak = 3e-3,
) -> Phase:
    """One segmenter of membranes.

    Args:
        network: what is trained.
        base: maps of the first level.
        depth: poolings of U-Net; FCN has one more.
        window: height and width of a training window.
        seen: height and width of what is measured of each held out slice.
        batch: windows of a training batch.
    """
    train, test = isbi_membrane('train'), isbi_membrane('test')
    test = test.map(dict.fromkeys(('x', 'segmentation'), lambda x: x[:, :seen, :seen]))
    scene = Scene(border='reflect')
    floats = compose(as_float(), standardise(0.5, 0.17))
    augment = compose(
        crop((window, window)),
        floats,
        flip(vertical=0.5),
        affine(degrees=45, scale=(0.8, 1.25), scene=scene),
        elastic(window / 32, scene=scene),
    )
    opt = optax.adamw(optax.cosine_decay_schedule(lr, steps), weight_decay=1e-4)
    scores = {name: SCORES[name] for name in ('dice', 'error', 'mean_iou')}
    classes = ('cell', 'membrane')
    return Phase(
        segmenter(NETWORKS[network](base=base, depth=depth), opt, classes=classes, scores=scores),
        train=shuffled(train, batch=batch, augment=augment),
        tests={'test': Eval(in_order(test, batch=2, transform=floats), show=show_masks)},
        steps=steps,
        every=max(1, steps // 4),
    )


study = Study(
    question='Do the skips of U-Net help to find thin membranes?',
    trial=trial,
    seeds=5,
    arms=each(network=NETWORKS),
    tiny=dict(base=2, depth=1, window=16, seen=24, steps=4, batch=2, lr=0.0001),
    claims=[
        better('unet', 'no_skips', 'test/dice'),
        better('unet', 'no_skips', 'test/error'),
        better('unet', 'fcn', 'test/dice'),
        better('unet', 'fcn', 'test/error'),
    ],
)
