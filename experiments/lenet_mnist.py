"""What makes LeNet good at digits: near pixels, shared weights, its pooling, or its age?

A convolution assumes two things, each of which can be taken from it alone: that near pixels belong
together, which the same network on images whose pixels are permuted (all in the same way) cannot
use; and that what is good to see in one place is good in another, which the same network without
shared weights (locally connected layers of the same shape, ten times the parameters) has to learn
place by place. Beside these maximum, average and no pooling, LeNet-5 of 1998 as published but for a
linear output (its radial basis units learn too slowly with AdamW), and the 300-100 perceptron, on
MNIST (TFDS `mnist`). 5,000 of the 60,000 images for training choose each network's rate.

    jaxdl run lenet_mnist       an hour on one CPU core

LeCun et al. (1998): LeNet-5 0.95 % error (0.8 % with distortions), 300-100 perceptron 3.05 %.
"""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxdl.claims import better, reaches
from jaxdl.data.augment import as_float, compose, shift
from jaxdl.data.sets.mnist import mnist
from jaxdl.data.stream import in_order, shuffled
from jaxdl.keys import Key
from jaxdl.models.lenet import LeNet, LeNet5, average_pool, max_pool, strided_conv
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.study import BatchSize, Eval, Examples, Fraction, Peak, Phase, Steps, Study, each
from jaxdl.task import Batch

NETWORKS = {
    'lenet': LeNet(pool=max_pool),
    'permuted': LeNet(pool=max_pool),
    'local': LeNet(pool=max_pool, conv=nn.ConvLocal),
    'average': LeNet(pool=average_pool),
    'strided': LeNet(pool=strided_conv),
    'lenet5': LeNet5(head=partial(nn.Dense, 10)),
    'mlp': MLP((300, 100, 10)),
}


def permuted(key: Key, batch: Batch) -> Batch:
    """The pixels of all images in another order, always the same one."""
    x = batch['x']
    order = np.random.default_rng(0).permutation(x[0].size)
    return {**batch, 'x': jax.lax.reshape(x.reshape(len(x), -1)[:, order], x.shape)}


def trial(
    network: Literal['lenet', 'permuted', 'local', 'average', 'strided', 'lenet5', 'mlp'] = 'lenet',
    examples: Examples = 60_000,
    steps: Steps = 2500,
    batch: BatchSize = 128,
    lr: Peak = 2e-3,
    smoothing: Fraction = 0.1,
) -> Phase:
    """One classifier, trained on images moved by up to two pixels.

    Args:
        network: what is trained; of the LeNets what is not as usual.
        smoothing: label smoothing.
    """
    train, test = mnist(examples)
    train, valid = train.split(seed=0, by='y', valid=1 / 12)
    opt = optax.adamw(optax.cosine_decay_schedule(lr, steps), weight_decay=1e-2)
    last = [permuted] if network == 'permuted' else []
    still = compose(as_float(), *last)
    return Phase(
        classifier(NETWORKS[network], opt, classes=10, label_smoothing=smoothing),
        train=shuffled(train, batch=batch, augment=compose(as_float(), shift(2), *last)),
        valid=in_order(valid, batch=500, transform=still),
        tests={
            'test': Eval(
                in_order(test, batch=500, transform=still), every=steps, show=show_mistakes
            )
        },
        steps=steps,
        every=max(1, steps // 5),
    )


study = Study(
    question='What makes LeNet good at digits: near pixels, shared weights, or its pooling?',
    trial=trial,
    arms=each(network=NETWORKS),
    tune={'lr': (1e-3, 4e-3)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    # A small rate: in its first steps Adam makes whole steps of what is only rounding.
    tiny=dict(examples=256, steps=4, batch=16, lr=0.0003),
    seeds=5,
    claims=[
        reaches('lenet', 'test/accuracy', at_least=0.9905),
        better('lenet', 'permuted', 'test/accuracy', text='Near pixels belong together'),
        better('lenet', 'local', 'test/accuracy', text='It helps to share weights'),
        better('local', 'mlp', 'test/accuracy'),
        better('lenet5', 'mlp', 'test/accuracy').against(
            'LeCun et al. 1998: 0.95 % error of LeNet-5, 3.05 % of a 300-100 perceptron'
        ),
        better('lenet', 'lenet5', 'test/accuracy'),
        better('lenet', 'average', 'test/accuracy'),
        better('lenet', 'strided', 'test/accuracy'),
    ],
)
