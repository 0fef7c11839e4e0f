"""How many images does a vision transformer need to catch up with a convolutional network?

A ViT and a ResNet-20 of equal size (269,762 and 269,434 parameters), each trained for the same
number of steps on 1,000, 10,000 and 60,000 images of MNIST (TFDS `mnist`), shrunk to 14x14.

    jaxdl run vit_vs_cnn        three quarters of an hour on one CPU core

Dosovitskiy et al. 2021 (section 4.3, figures 3 and 4): convolutional networks win when images are
few, because the transformer has to learn from them what convolution knows; with many it catches up.
Expected: 97 to 99 % of the ResNet and 82 to 84 % of the transformer, whatever the number of images:
1,000 steps, which fit a CPU, bound the transformer before the images do. Use more where steps are
cheap: --steps 20000.
"""

from typing import Literal

import optax

from jaxdl.claims import better, larger_lead
from jaxdl.data.augment import compose, shift, standardise
from jaxdl.data.sets.mnist import mnist
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import moments
from jaxdl.models.resnet import CifarResNet
from jaxdl.models.vit import ViT
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.optim import decayed
from jaxdl.study import BatchSize, Count, Eval, Examples, Phase, Rate, Steps, Study

SIZES = {'1k': 1000, '10k': 10_000, '60k': 60_000}


def trial(
    network: Literal['resnet', 'vit'] = 'resnet',
    examples: Examples = 60_000,
    shrink: Count = 2,
    width: Count = 64,
    depth: Count = 3,
    steps: Steps = 1000,
    batch: BatchSize = 64,
    lr: Rate = 2e-3,
) -> Phase:
    """One classifier.

    Args:
        network: what is trained.
        shrink: how many times smaller height and width are made.
        width: channels of the ResNet's last stage, and of the transformer's tokens.
        depth: blocks of each of the ResNet's three stages; the transformer has two more.
        lr: peak learning rate of AdamW, after a tenth of the steps; it falls along a cosine.
    """
    modules = {
        'resnet': CifarResNet((depth,) * 3, widths=(width // 4, width // 2, width)),
        'vit': ViT(width, depth + 2, heads=4, mlp=35 * width // 8, patch=2, classes=10),
    }
    train, test = mnist(examples, shrink=shrink)
    standard = standardise(*moments(train, 'x'))
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, max(1, steps // 10), steps)
    opt = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.05, mask=decayed)
    )
    return Phase(
        classifier(modules[network], opt, classes=10, label_smoothing=0.1),
        train=shuffled(train, batch=batch, augment=compose(standard, shift(1))),
        tests={'test': Eval(in_order(test, batch=500, transform=standard), show=show_mistakes)},
        steps=steps,
        every=max(1, steps // 4),
    )


study = Study(
    question='How many images does a vision transformer need to catch up with a CNN?',
    trial=trial,
    arms={
        **{
            f'{network}_{size}': {'network': network, 'examples': examples}
            for size, examples in SIZES.items()
            for network in ('resnet', 'vit')
        },
        # A small rate: a key's bias has no gradient but rounding, and Adam makes whole steps of it.
    },
    tiny=dict(network='vit', shrink=7, width=8, depth=1, lr=1e-05, examples=40, steps=8, batch=16),
    seeds=3,
    claims=[
        *(better(f'resnet_{size}', f'vit_{size}', 'test/accuracy') for size in SIZES),
        larger_lead(('resnet_1k', 'vit_1k'), ('resnet_60k', 'vit_60k'), 'test/accuracy'),
    ],
)
