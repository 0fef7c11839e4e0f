"""A study of seconds: long enough to be stopped in the middle, on a machine that is busy."""

import numpy as np
import optax

from jaxdl.claims import better
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import from_arrays
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier
from jaxdl.study import Count, Phase, Rate, Study

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 20)).astype(np.float32)
Y = (X[:, 0] + RNG.normal(size=600) > 0).astype(np.int32)
DATA = from_arrays({'x': X, 'y': Y}, name='halves')


def trial(width: Count = 8, lr: Rate = 0.01, steps: Count = 4000) -> Phase:
    """A perceptron of one hidden layer.

    Args:
        width: of its hidden layer
        lr: learning rate
        steps: optimizer steps
    """
    task = classifier(MLP((width, 2)), optax.adam(lr), classes=2)
    train, test = shuffled(DATA, batch=64), in_order(DATA, batch=200)
    return Phase(task, train, {'test': test}, steps=steps, every=100)


study = Study(
    question='Is wider better?',
    trial=trial,
    arms={'narrow': {}, 'wide': {'width': 64}},
    seeds=4,
    claims=[better('wide', 'narrow', 'test/accuracy')],
)
