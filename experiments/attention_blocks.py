"""Does attention inside a convolutional network pay: squeeze-and-excitation, CBAM, or neither?

A ResNet-20 with each on the branches of its blocks, on 2,000 images of MNIST (TFDS `mnist`), shrunk
to 14x14. Hu et al. (2018, table 4) report for a ResNet-110 on CIFAR-10 5.21 % error instead of
6.37 % with squeeze-and-excitation; Woo et al. (2018, table 4) on ImageNet that CBAM does better
still.

    jaxdl run attention_blocks        a quarter of an hour on one CPU core

Expected: 97.4 % without, 96.7 % with either; five seeds decide none of the claims.
"""

from functools import partial
from typing import Literal

import optax

from jaxdl.claims import better
from jaxdl.data.augment import affine, compose, standardise
from jaxdl.data.sets.mnist import mnist
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import moments
from jaxdl.models.resnet import CifarResNet
from jaxdl.nn.attention_blocks import CBAM, SqueezeExcitation
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.optim import decayed
from jaxdl.study import BatchSize, Count, Eval, Examples, Phase, Rate, Steps, Study, each

# A reduction of 16 would leave the narrow first stages a single hidden unit.
BLOCKS = {
    'none': None,
    'se': partial(SqueezeExcitation, reduction=4),
    'cbam': partial(CBAM, reduction=4),
}


def trial(
    attention: Literal['none', 'se', 'cbam'] = 'none',
    examples: Examples = 2000,
    shrink: Count = 2,
    blocks: Count = 3,
    width: Count = 16,
    steps: Steps = 600,
    batch: BatchSize = 64,
    lr: Rate = 0.05,
) -> Phase:
    """A residual network of 6 * blocks + 2 layers.

    Args:
        attention: what weighs channels (and positions) at the end of each residual branch.
        shrink: how many times smaller height and width are made.
        blocks: in each of the three stages; 3 are 20 layers.
        width: channels of the first stage.
        lr: peak learning rate of SGD with momentum 0.9, falling to zero along a cosine.
    """
    train, test = mnist(examples, shrink=shrink)
    standard = standardise(*moments(train, 'x'))
    distort = affine(degrees=10, scale=(0.9, 1.1), translate=0.07)
    opt = optax.chain(
        optax.add_decayed_weights(5e-4, mask=decayed),
        optax.sgd(optax.cosine_decay_schedule(lr, steps), momentum=0.9, nesterov=True),
    )
    module = CifarResNet(
        (blocks,) * 3, widths=(width, 2 * width, 4 * width), attention=BLOCKS[attention]
    )
    return Phase(
        classifier(module, opt, classes=10),
        train=shuffled(train, batch=batch, augment=compose(standard, distort)),
        tests={'test': Eval(in_order(test, batch=500, transform=standard), show=show_mistakes)},
        steps=steps,
        every=max(1, steps // 4),
    )


study = Study(
    question='Does attention inside a convolutional network pay?',
    trial=trial,
    arms=each(attention=BLOCKS),
    tiny=dict(
        attention='se', blocks=1, width=4, shrink=4, lr=0.005, examples=40, steps=8, batch=16
    ),
    seeds=5,
    claims=[
        better('se', 'none', 'test/accuracy'),
        better('cbam', 'none', 'test/accuracy'),
        better('cbam', 'se', 'test/accuracy'),
    ],
)
