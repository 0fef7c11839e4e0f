"""Does depth degrade plain networks, and not residual ones?

He et al. 2015, section 4.2 and table 6: on CIFAR-10 a plain network of 56 layers has a higher error
than one of 20, on the training images too, while a residual network of 56 layers (6.97 % error) has
a lower one than that of 20 (8.75 %). Plain and residual networks have the same parameters. That is
a statement about optimisation, so the endpoint is the loss of training images, as they are and by
the networks as they will be used; 2,500 of 50,000 choose the learning rate.

    jaxdl run depth                                   an hour and a half on one CPU core
    jaxdl run depth --shrink 1 --width 16 --batch 128 --steps 64000      the paper's, on a GPU

By default the images of TFDS `cifar10` are averaged to 16x16 and the networks have half of the
paper's maps, which fits a CPU: the question is which networks can be trained, not how good they
are. `--data cifar10_q75` takes JPEG copies of the images.
"""

from typing import Literal

import optax

from jaxdl.claims import better, no_worse
from jaxdl.data.augment import compose, crop, flip, standardise
from jaxdl.data.sets.cifar import Cifar10, cifar10
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import moments
from jaxdl.errors import UsageError
from jaxdl.models.resnet import CifarResNet, padded, plain
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.optim import decayed
from jaxdl.study import BatchSize, Count, Eval, Examples, Phase, Rate, Steps, Study, each

SHORTCUTS = {'plain': plain, 'residual': padded}
LAYERS = (8, 20, 32, 56)


def trial(
    network: Literal['plain', 'residual'] = 'residual',
    layers: Count = 20,
    width: Count = 8,
    data: Cifar10 = 'cifar10',
    shrink: Count = 2,
    examples: Examples = 50_000,
    steps: Steps = 1200,
    batch: BatchSize = 64,
    lr: Rate = 0.05,
) -> Phase:
    """A network of 6 n + 2 layers, trained as in the paper.

    Args:
        network: with shortcuts or without.
        layers: 8, 14, 20, ...: of convolutions, and one dense.
        width: channels of the first stage; each of the two others has twice as many.
        data: the TFDS dataset.
        shrink: how many times smaller height and width are made.
        lr: learning rate; a tenth of it from half of the steps, a hundredth from three quarters.
    """
    blocks, rest = divmod(layers - 2, 6)
    if rest or not blocks:
        raise UsageError(f'layers={layers}; there are 6 n + 2: 8, 14, 20, 26, 32, ...')
    train, test = cifar10(data, examples, shrink=shrink)
    train, valid = train.split(seed=0, by='y', valid=0.05)
    standard = standardise(*moments(train, 'x'))
    module = CifarResNet(
        (blocks,) * 3, widths=(width, 2 * width, 4 * width), shortcut=SHORTCUTS[network]
    )
    rate = optax.piecewise_constant_schedule(lr, {steps // 2: 0.1, 3 * steps // 4: 0.1})
    opt = optax.chain(optax.add_decayed_weights(1e-4, mask=decayed), optax.sgd(rate, momentum=0.9))

    def still(table):
        return in_order(table, batch=500, transform=standard)

    return Phase(
        classifier(module, opt, classes=10),
        train=shuffled(
            train, batch=batch, augment=compose(standard, crop(padding=4 // shrink), flip())
        ),
        valid=still(valid),
        tests={
            'test': Eval(still(test), every=steps, show=show_mistakes),
            'seen': still(train.take(slice(2500))),
        },
        steps=steps,
        every=max(1, steps // 4),
    )


study = Study(
    question='Does depth degrade plain networks, and not residual ones?',
    trial=trial,
    arms=each(network=SHORTCUTS, layers=LAYERS),
    tune={'lr': (0.02, 0.1)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    tiny=dict(
        layers=8, width=4, data='cifar10_q75', shrink=4, lr=0.01, examples=256, steps=8, batch=16
    ),
    seeds=5,
    claims=[
        better('plain_20', 'plain_32', 'seen/loss'),
        better(
            'plain_20', 'plain_56', 'seen/loss', text='Depth makes a plain network worse'
        ).against(
            'He et al. 2015, figure 6: plain-56 has the higher training error, plain-20 the lower'
        ),
        better('plain_20', 'plain_56', 'test/accuracy'),
        no_worse('residual_32', 'residual_20', 'seen/loss', margin=0.02),
        no_worse('residual_56', 'residual_20', 'seen/loss', margin=0.02).against(
            'He et al. 2015, table 6: ResNet-56 6.97 % error, ResNet-20 8.75 %'
        ),
        better('residual_56', 'plain_56', 'seen/loss'),
    ],
)
