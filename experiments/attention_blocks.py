"""Does attention inside a convolutional network pay: squeeze-and-excitation, CBAM, or neither?

A ResNet-20 of 8, 16 and 32 maps with each on the branches of its blocks, on CIFAR-10 averaged to
16x16. Hu et al. (2018, table 4) report for a ResNet-110 on CIFAR-10 5.21 % error instead of 6.37 %
with squeeze-and-excitation; Woo et al. (2018, table 4) on ImageNet that CBAM does better still.

    jaxdl run attention_blocks        an hour on one CPU core

Seventeen seeds: where two arms differ by 0.6 points from seed to seed, as such networks do, they
show a difference of 0.4 points in eight of ten cases, and less than 0.3 points they cannot see.
TFDS `cifar10`; `--data cifar10_q75` takes JPEG copies of the images.
"""

from functools import partial
from typing import Literal

import optax

from jaxdl.claims import better
from jaxdl.data.augment import compose, crop, flip, standardise
from jaxdl.data.sets.cifar import Cifar10, cifar10
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import moments
from jaxdl.models.resnet import CifarResNet
from jaxdl.nn.attention_blocks import CBAM, SqueezeExcitation
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.optim import decayed
from jaxdl.study import BatchSize, Count, Eval, Examples, Peak, Phase, Steps, Study, each

# A reduction of 16 would leave the narrow first stages a single hidden unit.
BLOCKS = {
    'none': None,
    'se': partial(SqueezeExcitation, reduction=4),
    'cbam': partial(CBAM, reduction=4),
}


def trial(
    attention: Literal['none', 'se', 'cbam'] = 'none',
    data: Cifar10 = 'cifar10',
    examples: Examples = 50_000,
    shrink: Count = 2,
    blocks: Count = 3,
    width: Count = 8,
    steps: Steps = 1000,
    batch: BatchSize = 64,
    lr: Peak = 0.1,
) -> Phase:
    """A residual network of 6 * blocks + 2 layers, trained by SGD with momentum 0.9.

    Args:
        attention: what weighs channels (and positions) at the end of each residual branch.
        data: the TFDS dataset.
        shrink: how many times smaller height and width are made.
        blocks: in each of the three stages; 3 are 20 layers.
        width: channels of the first stage.
    """
    train, test = cifar10(data, examples, shrink=shrink)
    train, valid = train.split(seed=0, by='y', valid=0.1)
    standard = standardise(*moments(train, 'x'))
    opt = optax.chain(
        optax.add_decayed_weights(5e-4, mask=decayed),
        optax.sgd(optax.cosine_decay_schedule(lr, steps), momentum=0.9, nesterov=True),
    )
    module = CifarResNet(
        (blocks,) * 3, widths=(width, 2 * width, 4 * width), attention=BLOCKS[attention]
    )
    moved = compose(standard, crop(padding=4 // shrink), flip())
    return Phase(
        classifier(module, opt, classes=10),
        train=shuffled(train, batch=batch, augment=moved),
        valid=in_order(valid, batch=500, transform=standard),
        tests={
            'test': Eval(
                in_order(test, batch=500, transform=standard), every=steps, show=show_mistakes
            )
        },
        steps=steps,
        every=max(1, steps // 3),
    )


study = Study(
    question='Does attention inside a convolutional network pay?',
    trial=trial,
    arms=each(attention=BLOCKS),
    tune={'lr': (0.05, 0.2)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    tiny=dict(
        attention='se',
        data='cifar10_q75',
        blocks=1,
        width=4,
        shrink=4,
        lr=0.005,
        examples=40,
        steps=8,
        batch=16,
    ),
    seeds=17,
    claims=[
        better('se', 'none', 'test/accuracy').against(
            'Hu et al. 2018, table 4, ResNet-110: 5.21 % error, 6.37 % without'
        ),
        better('cbam', 'none', 'test/accuracy'),
        better('cbam', 'se', 'test/accuracy').against(
            'Woo et al. 2018, table 4, ImageNet: CBAM does better still'
        ),
    ],
)
