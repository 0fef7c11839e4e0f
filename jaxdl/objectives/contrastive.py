"""Contrastive learning without labels: two views of an image against all other images."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import supervised
from jaxdl.keys import Key
from jaxdl.metrics.embeddings import Spread
from jaxdl.net import Net
from jaxdl.task import Batch, Metrics, Task


def simclr(
    module: nn.Module, opt: optax.GradientTransformation, *, temperature: float = 0.5
) -> Task:
    """SimCLR: two views of an image are alike, and unlike those of others (Chen et al. 2020).

    module(x, train=) -> projections z [B, D], of an encoder and a head, see `jaxdl.models.heads`.
    Descends `losses.nt_xent` (eq. 1) of the columns 'first' and 'second' that `augment.views` puts
    beside x. Measures the 'spread' of the projections of x itself, 0 where they have collapsed.

    temperature: divides cosines. Raises UsageError where it is not positive.
    """
    if not temperature > 0:
        raise UsageError(f'simclr: temperature is {temperature}, and must be positive')

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        # In one call: BatchNorm sees both views, as it does in the paper.
        z, net = net(jnp.concatenate((batch['first'], batch['second'])), key=key, train=True)
        first, second = jnp.split(z, 2)
        value = losses.nt_xent(first, second, temperature=temperature, weights=batch['mask'])
        return value, (net, {})

    return supervised(module, loss, opt, spread)


def spread(net: Net, batch: Batch, key: Key) -> Metrics:
    """The spread of what a network makes of x."""
    return {'spread': Spread.of(net(batch['x'])[0], batch['mask'])}
