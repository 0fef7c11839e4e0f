"""Is the order of frames seen, and learned?

Eight frames of 16x16 pixels in which a digit of MNIST circles, one way round or the other: a single
frame tells nothing of the direction, nor does the mean of all of them. The same small CNN looks at
each frame; above it an LSTM, a mean, or one frame alone. What the LSTM makes of frames in a random
order is the control. Digits of the test are not in training.

    jaxdl run video        half an hour on two CPU cores
"""

from typing import Literal

import optax

from jaxdl.claims import better, reaches
from jaxdl.data.sets.mnist import mnist
from jaxdl.data.sets.moving import DIRECTIONS, circling, shuffle_frames
from jaxdl.models.video import FrameCNN, FrameMean, FrameRNN, OneFrame
from jaxdl.objectives.classification import classifier
from jaxdl.study import BatchSize, Peak, Phase, Steps, Study

NETWORKS = {
    'rnn': FrameRNN(FrameCNN(), 2),
    'mean': FrameMean(FrameCNN(), 2),
    'one': OneFrame(FrameCNN(), 2),
}


def trial(
    network: Literal['rnn', 'mean', 'one'] = 'rnn',
    shuffled: bool = False,
    steps: Steps = 400,
    batch: BatchSize = 64,
    lr: Peak = 2e-3,
) -> Phase:
    """A classifier of directions.

    Args:
        network: what is above the CNN.
        shuffled: whether frames come in a random order.
    """
    train, test = mnist(shrink=4)
    train, valid = train.split(valid=5000, seed=0)
    order = shuffle_frames() if shuffled else None
    opt = optax.adam(optax.cosine_decay_schedule(lr, steps))
    return Phase(
        classifier(NETWORKS[network], opt, classes=DIRECTIONS),
        train=circling(train, batch=batch, transform=order),
        valid=circling(valid, batch=250, batches=4, transform=order),
        tests={'test': circling(test, batch=250, batches=8, transform=order)},
        steps=steps,
        every=max(1, steps // 5),
    )


study = Study(
    question='Is the order of frames seen, and learned?',
    trial=trial,
    seeds=5,
    arms={
        'rnn': {},
        'mean': {'network': 'mean'},
        'one': {'network': 'one'},
        'shuffled': {'shuffled': True},
    },
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 2},
    claims=[
        reaches('rnn', 'test/accuracy', at_least=0.95),
        better('rnn', 'mean', 'test/accuracy'),
        better('rnn', 'one', 'test/accuracy'),
        better('rnn', 'shuffled', 'test/accuracy'),
    ],
)
