"""How many images does a vision transformer need to catch up with a convolutional network?

A ViT and a ResNet-20 of equal size (68,962 and 68,290 parameters), each tuned for itself and
trained for the same number of steps on 1,000, 10,000 and 45,000 images of CIFAR-10, averaged to
16x16. Few images are balanced draws of each seed; 5,000 others choose the learning rate, which are
more than the smallest set has: they choose nothing else.

    jaxdl run vit_vs_cnn        an hour on one CPU core

Dosovitskiy et al. 2021 (section 4.3, figures 3 and 4): convolutional networks win when images are
few, because the transformer has to learn from them what convolution knows; with many it catches up.
That was with 9 to 300 million images of ImageNet and JFT; this study can see whether the lead
shrinks below that, where steps are few too. TFDS `cifar10`; `--data cifar10_q75` takes JPEG copies.
"""

from typing import Literal

import optax

from jaxdl.claims import better, larger_lead
from jaxdl.data.augment import compose, crop, flip, standardise
from jaxdl.data.draws import balanced
from jaxdl.data.sets.cifar import Cifar10, cifar10
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import moments
from jaxdl.models.resnet import CifarResNet
from jaxdl.models.vit import ViT
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.optim import decayed
from jaxdl.study import BatchSize, Count, Eval, Examples, Peak, Phase, Steps, Study

SIZES = {'1k': 100, '10k': 1000, '45k': 4500}


def trial(
    network: Literal['resnet', 'vit'] = 'resnet',
    each: Count = 4500,
    data: Cifar10 = 'cifar10',
    examples: Examples = 50_000,
    shrink: Count = 2,
    width: Count = 32,
    depth: Count = 3,
    steps: Steps = 1500,
    batch: BatchSize = 64,
    lr: Peak = 2e-3,
) -> Phase:
    """One classifier.

    Args:
        network: what is trained.
        each: training images of each class, drawn by each seed.
        data: the TFDS dataset.
        shrink: how many times smaller height and width are made.
        width: channels of the ResNet's last stage, and of the transformer's tokens.
        depth: blocks of each of the ResNet's three stages; the transformer has two more.
        lr: peak learning rate of AdamW, after a tenth of the steps; it falls along a cosine.
    """
    modules = {
        'resnet': CifarResNet((depth,) * 3, widths=(width // 4, width // 2, width)),
        'vit': ViT(width, depth + 2, heads=4, mlp=35 * width // 8, patch=2, classes=10),
    }
    train, test = cifar10(data, examples, shrink=shrink)
    train, valid = train.split(seed=0, by='y', valid=0.1)
    standard = standardise(*moments(train, 'x'))
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, max(1, steps // 10), steps)
    opt = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.05, mask=decayed)
    )
    moved = compose(standard, crop(padding=4 // shrink), flip())
    return Phase(
        classifier(modules[network], opt, classes=10, label_smoothing=0.1),
        train=shuffled(balanced(train, each=each), batch=batch, augment=moved),
        valid=in_order(valid, batch=500, transform=standard),
        tests={
            'test': Eval(
                in_order(test, batch=500, transform=standard), every=steps, show=show_mistakes
            )
        },
        steps=steps,
        every=max(1, steps // 4),
    )


study = Study(
    question='How many images does a vision transformer need to catch up with a CNN?',
    trial=trial,
    arms={
        f'{network}_{size}': {'network': network, 'each': each}
        for size, each in SIZES.items()
        for network in ('resnet', 'vit')
    },
    tune={'lr': (1e-3, 3e-3, 1e-2)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    # A small rate: a key's bias has no gradient but rounding, and Adam makes whole steps of it.
    tiny=dict(
        network='vit',
        each=4,
        data='cifar10_q75',
        shrink=4,
        width=8,
        depth=1,
        lr=1e-05,
        examples=200,
        steps=8,
        batch=16,
    ),
    seeds=5,
    claims=[
        *(better(f'resnet_{size}', f'vit_{size}', 'test/accuracy') for size in SIZES),
        larger_lead(('resnet_1k', 'vit_1k'), ('resnet_45k', 'vit_45k'), 'test/accuracy').against(
            'Dosovitskiy et al. 2021, figure 3: CNNs lead where images are few'
        ),
        larger_lead(('resnet_10k', 'vit_10k'), ('resnet_45k', 'vit_45k'), 'test/accuracy'),
    ],
)
