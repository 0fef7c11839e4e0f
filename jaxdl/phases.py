"""Phases that stand before others in several studies."""

from collections.abc import Sequence

import flax.linen as nn
import optax

from jaxdl.data.augment import Transform
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.game import Player
from jaxdl.objectives.classification import Inputs, classifier, read_x
from jaxdl.study import Phase


def judge_phase(
    module: nn.Module,
    train: Table,
    test: Table,
    *,
    steps: int,
    transform: Transform,
    classes: int | Sequence[str] = 10,
) -> Phase:
    """The phase 'judge': a classifier in whose eyes generators are compared in the next one.

    There it is a player without a loss: ``judges={'judge': watching(module)}``, which takes its
    weights by ``start=graft(nets={'judge': 'net'})``. It is trained by Adam, whose rate falls from
    0.003 to zero along a cosine, in batches of 64. All arms of a seed have the same judge.

    module: x -> logits, such as `jaxdl.models.judge.Judge`. transform: of images, to -1..1.
    """
    opt = optax.adam(optax.cosine_decay_schedule(3e-3, steps))
    return Phase(
        classifier(module, opt, classes=classes),
        train=shuffled(train, batch=min(64, len(train)), augment=transform),
        tests={'test': in_order(test, batch=500, transform=transform)},
        steps=steps,
        every=steps,
        name='judge',
    )


def watching(module: nn.Module, inputs: Inputs = read_x) -> Player:
    """A player without a loss: a judge, a teacher, a generator that was trained before.

    inputs(batch) -> tuple: what it sees, where it is not x.
    """
    return Player(module, None, None, inputs)
