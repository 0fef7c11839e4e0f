"""Five kinds of task, an arm each, small and quick: what the soak kills and damages.

They are those that the laws run over, made longer, and one that draws pictures and keeps arrays.
"""

from typing import Literal

import jax.numpy as jnp
import optax
from kinds import gan, kept, player, ragged

from jaxdl.data.augment import as_float
from jaxdl.data.sets.digits import digits
from jaxdl.data.stream import in_order, shuffled
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.study import Count, Eval, Phase, Study, each

SAVES = 12  # of a phase


def pictures() -> tuple[Phase, ...]:
    """Rows of a table, sent as they are needed; pictures of mistakes and a confusion matrix."""
    train, test = digits().split(seed=0, by='y', test=1 / 3)
    scale = as_float(scale=1 / 16)

    def show(nets, batch, key):
        return show_mistakes(nets, {**batch, 'x': jnp.clip(batch['x'], 0, 1)}, key, count=8)

    tests = {'test': Eval(in_order(test, batch=200, transform=scale), show=show)}
    task = classifier(MLP((16, 10)), optax.adam(1e-3), classes=10)
    return (Phase(task, shuffled(train, batch=32, augment=scale), tests, steps=6),)


KINDS = {make.__name__: make for make in (ragged, gan, player, kept, pictures)}


def trial(
    kind: Literal['ragged', 'gan', 'player', 'kept', 'pictures'] = 'ragged', steps: Count = 1200
) -> tuple[Phase, ...]:
    """The phases of a kind, `steps` each, saved so often that a kill can come between any two."""
    every = max(1, steps // SAVES)

    def longer(phase: Phase) -> Phase:
        valid = phase.valid._replace(every=every) if isinstance(phase.valid, Eval) else None
        return phase._replace(steps=steps, every=every, valid=valid)

    return tuple(longer(phase) for phase in KINDS[kind]())


question = 'Does a run that is killed and damaged end as if it had never been?'
study = Study(question, trial, arms=each(kind=tuple(KINDS)), seeds=2, tiny={'steps': 24})
