"""Bootstrap your own latent: a network that predicts its own slow copy, without negatives."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import ema, supervised
from jaxdl.keys import Key, key_for
from jaxdl.models.heads import Online
from jaxdl.net import Net
from jaxdl.objectives.contrastive import spread
from jaxdl.task import Batch, Metrics, Task


def byol(
    module: Online, opt: optax.GradientTransformation, *, steps: int, decay: float = 0.996
) -> Task:
    """BYOL: of one view a network predicts what its slow copy makes of another (Grill et al. 2020).

    Descends `losses.normalised_squared_error` (eq. 2) of the online network's prediction for one
    of the columns 'first' and 'second', which `augment.views` makes, and of the target's projection
    of the other, and the same with the views changed. The target is the player's shadow, whose
    decay rises along `target_decay`; no gradient reaches it. Measures the 'spread' of the
    predictions for x, 0 where they have collapsed.

    steps: of training, over which the decay rises. decay: at the beginning.
    """

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        target = net.shadow
        assert target is not None
        value = jnp.float32(0)
        for one, other in (('first', 'second'), ('second', 'first')):
            prediction, net = net(batch[one], key=key_for(key, one), train=True)
            # In training, too: the target normalises by the statistics of its own batch.
            projection, _ = target(
                batch[other], key=key_for(key, f'target {other}'), train=True, method='project'
            )
            value += losses.normalised_squared_error(
                prediction, jax.lax.stop_gradient(projection), weights=batch['mask']
            )
        return value, (net, {})

    return supervised(module, loss, opt, spread, shadow=ema(target_decay(decay, steps)))


def target_decay(decay: float, steps: int) -> Callable[[jax.Array], jax.Array]:
    """The schedule t -> 1 - (1 - decay) (cos(pi t / steps) + 1) / 2 (section 3.3), 1 at the end.

    Raises UsageError where the decay is not from 0 to 1, or there is no step.
    """
    if not 0 <= decay <= 1 or steps < 1:
        raise UsageError(f'byol: decay={decay}, steps={steps}; 0 <= decay <= 1, and 1 <= steps')

    def schedule(turn: jax.Array) -> jax.Array:
        done = jnp.minimum(turn / steps, 1.0)
        return 1 - (1 - decay) * (jnp.cos(jnp.pi * done) + 1) / 2

    return schedule
