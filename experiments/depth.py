"""Does depth degrade plain networks, and not residual ones?

He et al. 2015, section 4.2 and table 6: on CIFAR-10 a plain network of 56 layers has a higher error
than one of 20, on the training images too, while a residual network of 56 layers (6.97 % error) has
a lower one than that of 20 (8.75 %). Plain and residual networks have the same parameters.

    jaxdl run depth                                              MNIST, an hour on one CPU core
    jaxdl run depth --data cifar10 --shrink 1 --steps 64000      the paper's own, on a GPU

MNIST (TFDS `mnist`), shrunk to 14x14, stands in by default because it is small: the question is
whether the networks can be trained, not how good they are. Expected after 600 steps: 98.8 % and
97.1 % of residual networks of 20 and 56 layers, 98.4 % and 43 % of plain ones. The deeper residual
network is still behind; so few steps cannot show whether it stays so. TFDS `cifar10` must have been
prepared.
"""

from typing import Literal

import optax

from jaxdl.claims import better, no_worse
from jaxdl.data.augment import compose, crop, flip, shift, standardise
from jaxdl.data.images import shrunk
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import moments
from jaxdl.data.tfds import tfds
from jaxdl.models.resnet import CifarResNet, padded, plain
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.optim import decayed
from jaxdl.study import BatchSize, Count, Eval, Examples, Phase, Rate, Steps, Study

SHORTCUTS = {'residual': padded, 'plain': plain}
AUGMENTATIONS = {'mnist': shift(1), 'cifar10': compose(crop(padding=4), flip())}


def trial(
    network: Literal['residual', 'plain'] = 'residual',
    blocks: Count = 3,
    width: Count = 16,
    data: Literal['mnist', 'cifar10'] = 'mnist',
    shrink: Count = 2,
    examples: Examples = 50_000,
    steps: Steps = 600,
    batch: BatchSize = 128,
    lr: Rate = 0.1,
) -> Phase:
    """A network of 6 * blocks + 2 layers, trained as in the paper.

    Args:
        network: with shortcuts or without.
        blocks: in each of the three stages; 3 are 20 layers, 9 are 56.
        width: channels of the first stage.
        data: the TFDS dataset.
        shrink: how many times smaller height and width are made.
        lr: learning rate; a tenth of it from half of the steps, a hundredth from three quarters.
    """
    columns = {'x': 'image', 'y': 'label'}
    smaller = {'x': shrunk(shrink)}
    train = tfds(data, f'train[:{examples}]', columns=columns).map(smaller).load()
    test = tfds(data, f'test[:{min(examples, 10_000)}]', columns=columns).map(smaller).load()
    standard = standardise(*moments(train, 'x'))
    stages = (blocks, blocks, blocks)
    module = CifarResNet(stages, widths=(width, 2 * width, 4 * width), shortcut=SHORTCUTS[network])
    rate = optax.piecewise_constant_schedule(lr, {steps // 2: 0.1, 3 * steps // 4: 0.1})
    opt = optax.chain(optax.add_decayed_weights(1e-4, mask=decayed), optax.sgd(rate, momentum=0.9))
    return Phase(
        classifier(module, opt, classes=10),
        train=shuffled(train, batch=batch, augment=compose(standard, AUGMENTATIONS[data])),
        tests={
            'test': Eval(in_order(test, batch=500, transform=standard), show=show_mistakes),
            'seen': in_order(train.take(slice(10_000)), batch=500, transform=standard),
        },
        steps=steps,
        every=max(1, steps // 4),
    )


study = Study(
    question='Does depth degrade plain networks, and not residual ones?',
    trial=trial,
    arms={
        'residual_20': {},
        'residual_56': {'blocks': 9},
        'plain_20': {'network': 'plain'},
        'plain_56': {'network': 'plain', 'blocks': 9},
    },
    tiny=dict(blocks=1, width=4, shrink=4, lr=0.01, examples=256, steps=8, batch=16),
    seeds=3,
    claims=[
        better('plain_20', 'plain_56', 'seen/accuracy', text='Depth makes a plain network worse'),
        better('plain_20', 'plain_56', 'test/accuracy'),
        no_worse('residual_56', 'residual_20', 'seen/accuracy', margin=0.005),
        better('residual_56', 'plain_56', 'test/accuracy'),
    ],
)
