"""What makes LeNet good at digits: its convolutions, its pooling, or its age?

LeNet-5 as published but for a linear output (its radial basis units learn too slowly with AdamW),
the network that goes by its name today with three kinds of pooling, and the 300-100 perceptron, on
MNIST (TFDS `mnist`, 60,000 / 10,000). LeCun et al. (1998): LeNet-5 0.95 % error (0.8 % with
distortions), 300-100 perceptron 3.05 %.

    jaxdl run lenet_mnist       half an hour on two CPU cores

Expected: 99.3 % with maximum pooling and with none, 99.2 % with average pooling, 99.0 % for the
network of 1998 and 98.8 % for the perceptron.
"""

from functools import partial
from typing import Literal

import flax.linen as nn
import optax

from jaxdl.claims import better, reaches
from jaxdl.data.augment import as_float, compose, shift
from jaxdl.data.sets.mnist import mnist
from jaxdl.data.stream import in_order, shuffled
from jaxdl.models.lenet import LeNet, LeNet5, average_pool, max_pool, strided_conv
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.study import BatchSize, Eval, Examples, Fraction, Peak, Phase, Steps, Study

NETWORKS = {
    'lenet5': LeNet5(head=partial(nn.Dense, 10)),
    'max': LeNet(pool=max_pool),
    'average': LeNet(pool=average_pool),
    'strided': LeNet(pool=strided_conv),
    'mlp': MLP((300, 100, 10)),
}


def trial(
    network: Literal['lenet5', 'max', 'average', 'strided', 'mlp'] = 'max',
    examples: Examples = 60_000,
    steps: Steps = 4000,
    batch: BatchSize = 128,
    lr: Peak = 2e-3,
    smoothing: Fraction = 0.1,
) -> Phase:
    """One classifier, trained on images moved by up to two pixels.

    Args:
        network: what is trained; the LeNets by their pooling.
        smoothing: label smoothing.
    """
    train, test = mnist(examples)
    opt = optax.adamw(optax.cosine_decay_schedule(lr, steps), weight_decay=1e-2)
    task = classifier(NETWORKS[network], opt, classes=10, label_smoothing=smoothing)
    return Phase(
        task,
        train=shuffled(train, batch=batch, augment=compose(as_float(), shift(2))),
        tests={'test': Eval(in_order(test, batch=500, transform=as_float()), show=show_mistakes)},
        steps=steps,
    )


study = Study(
    question='What makes LeNet good at digits: convolutions, pooling, or progress since 1998?',
    trial=trial,
    arms={
        'lenet5': {'network': 'lenet5'},
        'max_pooling': {},
        'average_pooling': {'network': 'average'},
        'no_pooling': {'network': 'strided'},
        'mlp': {'network': 'mlp'},
        # A small rate: in its first steps Adam makes whole steps of what is only rounding.
    },
    tiny=dict(examples=256, steps=4, batch=16, lr=0.0003),
    claims=[
        reaches('max_pooling', 'test/accuracy', at_least=0.9905),
        better('lenet5', 'mlp', 'test/accuracy'),
        better('max_pooling', 'lenet5', 'test/accuracy'),
        better('max_pooling', 'average_pooling', 'test/accuracy'),
        better('max_pooling', 'no_pooling', 'test/accuracy'),
    ],
)
